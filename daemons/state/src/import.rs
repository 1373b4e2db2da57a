//! Changes from outside into a state: everything is checked, since nobody has decided it here.

use crate::{
    account::Time,
    apply::ApplyError,
    entry::Who,
    name::UserName,
    node::Kind,
    path::{DEPTH, Path},
    record::{Act, Change, Record},
    state::State,
};

/// A state on the way to another, with the records that lead there.
#[derive(Debug)]
pub struct Import {
    state: State,
    /// Nothing is changed elsewhere.
    below: Path,
    now: Time,
    acts: Vec<Act>,
    bytes: usize,
    /// Registrations that were there before: those that come are called by higher numbers.
    registered: u64,
}

/// Why a change is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Misfit {
    /// There is something already that would be lost.
    #[error("there is something at {0:?} already")]
    Occupied(Path),
    /// There is an account of that name already.
    #[error("there is a user `{0}` already")]
    User(UserName),
    /// It is about a user who is not there.
    #[error("there is no user `{0}`")]
    NoUser(UserName),
    /// There is a token of that name already.
    #[error("there is a token `{0}` already")]
    Token(String),
    /// It is about another part of the tree.
    #[error("{0:?} is outside of what is imported")]
    Outside(Path),
    /// It lies too deep.
    #[error("{0:?} is deeper than {DEPTH}")]
    Deep(Path),
    /// The tree can't hold it there.
    #[error("{path:?} does not fit")]
    Tree {
        /// Where.
        path: Path,
        /// Why.
        source: ApplyError,
    },
    /// The root would be no object.
    #[error("the root is an object")]
    Root,
    /// It is no part of what an export tells.
    #[error("it is no part of an export")]
    Foreign,
}

/// As large as a record becomes, about.
const RECORD_BYTES: usize = 1 << 20;

impl Import {
    /// Begins on `before`, for what is at and below `path`.
    ///
    /// # Errors
    /// [`Misfit::Occupied`] if there is more than an empty object.
    pub fn new(before: &State, path: Path, now: Time) -> Result<Self, Misfit> {
        if before.root().at(&path).is_some_and(|it| it.totals().nodes > 1) {
            return Err(Misfit::Occupied(path));
        }
        let registered = before.next_registration.saturating_sub(1);
        let mut state = before.clone();
        state.advance();
        Ok(Self { state, below: path, now, acts: Vec::new(), bytes: 0, registered })
    }

    /// Takes a change, and gives a record when enough have gathered.
    ///
    /// # Errors
    /// Why it can't be made; then the import is to be given up.
    pub fn take(&mut self, change: Change) -> Result<Option<Record>, Misfit> {
        let change = self.checked(change)?;
        self.state.change(&change).map_err(|source| match place(&change) {
            Some(path) => Misfit::Tree { path: path.clone(), source },
            None => Misfit::Foreign,
        })?;
        self.bytes += bytes(&change);
        self.acts.push(Act { change, src: None, req: None });
        Ok(if self.bytes >= RECORD_BYTES { self.record() } else { None })
    }

    /// The record of what has gathered since the last one.
    pub fn record(&mut self) -> Option<Record> {
        if self.acts.is_empty() {
            return None;
        }
        self.state.advance();
        self.bytes = 0;
        Some(Record::new(self.now, None, std::mem::take(&mut self.acts)))
    }

    /// The state with all that was taken.
    pub fn state(&self) -> &State {
        &self.state
    }

    fn checked(&self, mut change: Change) -> Result<Change, Misfit> {
        match &mut change {
            Change::Account { user, .. } if self.has(user) => {
                return Err(Misfit::User(user.clone()));
            }
            Change::Account { .. } | Change::Quota { .. } => {}
            Change::Token { id, token } => {
                self.must_have(&token.user)?;
                if self.state.token(id).is_some() {
                    return Err(Misfit::Token(id.clone()));
                }
            }
            Change::Register { id, registration } => {
                self.must_have(&registration.user)?;
                *id = id.saturating_add(self.registered);
            }
            Change::Update { path, value } => {
                self.must_be_inside(path)?;
                if path.is_empty() && !matches!(value.kind(), Kind::Object(_)) {
                    return Err(Misfit::Root);
                }
                if path.len() + value.depth() > DEPTH {
                    return Err(Misfit::Deep(path.clone()));
                }
            }
            Change::Permit { path, who, .. } => {
                self.must_be_inside(path)?;
                if let Who::User(user) = who {
                    self.must_have(user)?;
                }
            }
            _ => return Err(Misfit::Foreign),
        }
        let is_whole = matches!(change, Change::Update { .. } | Change::Permit { .. });
        if is_whole || self.below.is_empty() { Ok(change) } else { Err(Misfit::Foreign) }
    }

    fn has(&self, user: &UserName) -> bool {
        self.state.account(user).is_some()
    }

    fn must_have(&self, user: &UserName) -> Result<(), Misfit> {
        if self.has(user) { Ok(()) } else { Err(Misfit::NoUser(user.clone())) }
    }

    fn must_be_inside(&self, path: &Path) -> Result<(), Misfit> {
        if path.starts_with(&self.below) { Ok(()) } else { Err(Misfit::Outside(path.clone())) }
    }
}

fn place(change: &Change) -> Option<&Path> {
    match change {
        Change::Update { path, .. } | Change::Permit { path, .. } => Some(path),
        _ => None,
    }
}

/// About what it takes in a record.
fn bytes(change: &Change) -> usize {
    const AROUND: usize = 100;
    let steps: usize = place(change).map_or(0, |it| it.iter().map(|it| it.len() + 3).sum());
    match change {
        Change::Update { value, .. } => AROUND + steps + value.totals().bytes,
        _ => AROUND + steps,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        Node,
        fixture::{World, node, path, user},
    };

    fn exported(state: &State, path: &Path) -> Vec<Change> {
        let mut changes = Vec::new();
        let each = |it| {
            changes.push(it);
            Ok::<_, ()>(())
        };
        state.export(path, each).unwrap();
        changes
    }

    fn imported(before: &State, path: Path, changes: Vec<Change>) -> Result<State, Misfit> {
        let mut import = Import::new(before, path, 1)?;
        let mut state = before.clone();
        for change in changes {
            if let Some(record) = import.take(change)? {
                state.apply(&record).unwrap();
            }
        }
        import.record().into_iter().for_each(|it| state.apply(&it).unwrap());
        Ok(state)
    }

    #[test]
    fn what_was_exported_makes_the_same_state_elsewhere() {
        let tree = json!({"many": [], "small": {"a": [1, {}]}});
        let mut world = World::with(tree, &[("small", "bob:4"), ("small/a", "*:2")]);
        for n in 0..40 {
            let large = json!({"n": n, "long": "x".repeat(50_000)});
            world.must("boss", json!(["update", format!("many/{n}"), large]));
        }
        let state = &world.state;
        let changes = exported(state, &Path::ROOT);
        assert!(changes.len() > 40);
        let after = imported(&State::default(), Path::ROOT, changes.clone()).unwrap();
        assert!(after.root().is_same(state.root()));
        assert!(after.revision() > 1, "several records");
        assert_eq!(exported(&after, &Path::ROOT).len(), changes.len());
        let bob = after.subject(Some(&user("bob")));
        assert_eq!(bob.level(after.root(), &path("small")), crate::level::Level::Owner);
    }

    #[test]
    fn a_part_of_the_tree_is_put_where_nothing_is() {
        let world = World::with(json!({"a": {"b": {"c": 1}}}), &[("a/b", "bob:4")]);
        let changes = exported(&world.state, &path("a/b"));
        assert_eq!(changes.len(), 2);
        let into = World::with(json!({"a": {"b": {}, "x": 1}}), &[("", "bob:2")]);
        let after = imported(&into.state, path("a/b"), changes.clone()).unwrap();
        let expected = node(json!({"b": {"c": 1}, "x": 1}));
        assert!(after.root().at(&path("a")).unwrap().is_same(&expected));

        let occupied = imported(&after, path("a/b"), changes.clone());
        assert!(matches!(occupied, Err(Misfit::Occupied(_))));
        let outside = imported(&into.state, path("z"), changes.clone());
        assert!(matches!(outside, Err(Misfit::Outside(_))));
        let nobody = imported(&State::default(), path("a/b"), changes);
        assert!(matches!(nobody, Err(Misfit::NoUser(_))));
    }

    #[test]
    fn what_no_export_tells_is_refused() {
        let refused = |change| Import::new(&State::default(), Path::ROOT, 1).unwrap().take(change);
        assert!(matches!(refused(Change::Delete { path: path("a") }), Err(Misfit::Foreign)));
        let value = (0..60)
            .fold(Node::object(), |it, _| Node::try_from(&json!([Value::from(&it)])).unwrap());
        let deep = Change::Update { path: path("a/b/c/d/e/f"), value };
        assert!(matches!(refused(deep), Err(Misfit::Deep(_))));
        let number = Change::Update { path: path("a"), value: node(json!(1)) };
        let mut import = Import::new(&State::default(), Path::ROOT, 1).unwrap();
        import.take(number).unwrap();
        let below = Change::Update { path: path("a/b"), value: node(json!(1)) };
        assert!(matches!(import.take(below), Err(Misfit::Tree { .. })));
        let root = Change::Update { path: Path::ROOT, value: node(json!(1)) };
        assert!(matches!(import.take(root), Err(Misfit::Root)));
    }
}
