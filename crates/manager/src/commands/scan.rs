use serde::Deserialize;
use serde_json::json;

use super::{Console, entry::Entry, list, manager::read};
use crate::error::{Done, Exit};

#[derive(Deserialize)]
struct Scanned {
    own: Vec<Entry>,
    foreign: Vec<Entry>,
}

pub(super) async fn run(console: &mut Console) -> Done {
    let answer = console.look().await?.ask("scan", &json!([])).await;
    let answer = answer.map_err(|it| it.when("scan"))?;
    if console.out.is_json {
        console.out.document(&answer)?;
        return Ok(Exit::Done);
    }
    let Scanned { mut own, foreign } = read(&answer)?;
    own.extend(foreign);
    list::print(&own, false, &mut console.out)?;
    if own.is_empty() {
        console.out.aside("no daemon was found");
    }
    Ok(Exit::Done)
}
