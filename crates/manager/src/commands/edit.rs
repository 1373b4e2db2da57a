use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Console,
    entry::Entry,
    install::{current_dir, program},
    manager::read,
};
use crate::{
    cli::Edit,
    error::{Complaint, Done, Exit},
};

#[derive(Deserialize)]
struct Edited {
    daemon: Entry,
}

pub(super) async fn run(args: Edit, console: &mut Console) -> Done {
    let attempt = format!("edit `{}`", args.name);
    let failed = |it: Complaint| it.when(&attempt).with("name", args.name.as_str());
    let change = change(&args).map_err(failed)?;
    let answer = console.look().await?.ask("edit", &(args.name.as_str(), change)).await;
    let answer = answer.map_err(failed)?;
    let edited: Edited = read(&answer)?;
    if console.out.is_json {
        console.out.document(&answer)?;
    } else {
        console.out.note(edited.daemon)?;
    }
    Ok(Exit::Done)
}

/// The keys that change, as a JSON merge patch.
fn change(args: &Edit) -> Result<Map<String, Value>, Complaint> {
    let cwd = current_dir()?;
    let mut change = args.definition.members(&cwd);
    if let Some(given) = &args.program {
        change.insert("program".to_owned(), json!(program(given, &cwd)?));
    }
    if !args.args.is_empty() {
        change.insert("args".to_owned(), json!(args.args));
    }
    for key in &args.unset {
        if change.insert(key.clone(), Value::Null).is_some_and(|it| !it.is_null()) {
            return Err(Complaint::new("bad-argument", format!("`{key}` is both set and unset")));
        }
    }
    if change.is_empty() {
        let nothing = Complaint::new("bad-argument", "nothing is to be changed");
        return Err(nothing.hint("give a flag, for instance `--grace 2s`"));
    }
    Ok(change)
}
