use serde_json::{Map, Value, json};

use crate::{
    argument::{Call, Role},
    handler::{Handler, Ran},
};

/// What a command is to those who ask for it.
#[derive(Clone, Debug)]
pub(crate) struct Declaration {
    pub(crate) name: &'static str,
    pub(crate) reply: &'static str,
    pub(crate) help: &'static str,
    pub(crate) needs_auth: bool,
    /// Whether a guest proves by it who it is, so that attempts are counted.
    pub(crate) is_login: bool,
    /// Whether nothing comes of it but its reply, so that it ends when nobody is there to hear
    /// that.
    pub(crate) only_waits: bool,
    parameters: Vec<Parameter>,
    has_rest: bool,
    pub(crate) is_stream: bool,
}

#[derive(Clone, Debug)]
struct Parameter {
    name: String,
    kind: &'static str,
    optional: bool,
}

/// A command with what it does.
pub(crate) struct Command<S> {
    pub(crate) declaration: Declaration,
    run: Box<Run<S>>,
}

type Run<S> = dyn for<'a> Fn(&'a S, &Call<'_>, &str, &mut Vec<u8>) -> Ran<'a> + Send + Sync;

impl<S: 'static> Command<S> {
    pub(crate) fn new<M>(name: &'static str, handler: impl Handler<S, M>) -> Self {
        fn roles<S, M, H: Handler<S, M>>(_: &H) -> Vec<Role> {
            H::roles()
        }
        let declaration = Declaration::new(name, &roles(&handler));
        // The router, and the handlers in it, live as long as the daemon.
        let handler: &'static _ = Box::leak(Box::new(handler));
        Self {
            declaration,
            run: Box::new(|state, call, args, out| handler.run(state, call, args, out)),
        }
    }

    pub(crate) fn run<'a>(
        &self,
        state: &'a S,
        call: &Call<'_>,
        args: &str,
        out: &mut Vec<u8>,
    ) -> Ran<'a> {
        (self.run)(state, call, args, out)
    }
}

impl Declaration {
    fn new(name: &'static str, roles: &[Role]) -> Self {
        let mut parameters: Vec<Parameter> = Vec::new();
        for role in roles {
            if let Role::Wire { kind, optional } = *role {
                let name = format!("argument{}", parameters.len() + 1);
                parameters.push(Parameter { name, kind, optional });
            }
        }
        Self {
            name,
            reply: name,
            help: "",
            needs_auth: false,
            is_login: false,
            only_waits: false,
            parameters,
            has_rest: roles.contains(&Role::Rest),
            is_stream: roles.contains(&Role::Stream),
        }
    }

    /// Names the arguments.
    ///
    /// # Panics
    /// When there is not one name for each: the daemon's author is told at the first start.
    pub(crate) fn name_args(&mut self, names: &[&str]) {
        assert_eq!(
            names.len(),
            self.parameters.len(),
            "`{}` takes {} arguments, but {names:?} are named",
            self.name,
            self.parameters.len(),
        );
        for (parameter, &name) in self.parameters.iter_mut().zip(names) {
            name.clone_into(&mut parameter.name);
        }
    }

    /// How many arguments must be given.
    pub(crate) fn min(&self) -> usize {
        self.parameters.iter().rposition(|it| !it.optional).map_or(0, |last| last + 1)
    }

    /// How many arguments may be given; no limit if `None`.
    pub(crate) fn max(&self) -> Option<usize> {
        (!self.has_rest).then_some(self.parameters.len())
    }

    /// Whether the command starts a stream.
    pub(crate) fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// What argument `index` must be.
    pub(crate) fn kind(&self, index: usize) -> &'static str {
        self.parameters.get(index).map_or("any", |parameter| parameter.kind)
    }

    /// The argument's name, for messages.
    pub(crate) fn arg(&self, index: usize) -> &str {
        self.parameters.get(index).map_or("argument", |parameter| &parameter.name)
    }

    /// What `help` shows.
    pub(crate) fn to_value(&self) -> Value {
        let required = self.min();
        let mut args: Vec<Value> = self
            .parameters
            .iter()
            .enumerate()
            .map(|(index, parameter)| parameter.to_value(index >= required))
            .collect();
        if self.has_rest {
            args.push(json!({ "name": "rest", "type": "any", "rest": true }));
        }
        json!({
            "doc": self.help,
            "args": args,
            "reply": self.reply,
            "auth": self.needs_auth,
            "stream": self.is_stream,
        })
    }
}

impl Parameter {
    fn to_value(&self, optional: bool) -> Value {
        let mut members = Map::new();
        members.insert("name".to_owned(), self.name.as_str().into());
        members.insert("type".to_owned(), self.kind.into());
        if optional {
            members.insert("optional".to_owned(), true.into());
        }
        Value::Object(members)
    }
}
