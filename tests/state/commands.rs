//! The table of commands in the page is what `help` says.

use std::{env, fs};

use serde_json::{Value, json};

use super::StateServer;
use crate::harness::workspace;

const PAGE: &str = "daemons/state/README.md";

/// With this variable set the test writes the table anew.
const REWRITE: &str = "REWRITE_PAGES";

const BEGIN: &str =
    "<!-- commands: written by `REWRITE_PAGES=1 cargo test -p tests commands` -->\n";
const END: &str = "<!-- end of commands -->\n";

#[test]
fn the_table_of_commands_is_what_help_says() {
    let help = StateServer::start(&[]).connect().ask("help", &json!([]));
    let table = table(&help);
    let path = workspace().join(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("a place for the table");
    let (shown, after) = rest.split_once(END).expect("an end of the table");
    if env::var_os(REWRITE).is_some() {
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(shown, table, "{PAGE}; {REWRITE}=1 writes it anew");
}

fn table(help: &Value) -> String {
    let rows = help.as_object().unwrap().iter().map(|(name, command)| {
        let doc = command["doc"].as_str().unwrap().replace('|', "\\|");
        let args: String = command["args"].as_array().unwrap().iter().map(argument).collect();
        let stream = if command["stream"] == true { " · stream" } else { "" };
        format!("| `{name}{args}`{stream} | {doc} |\n")
    });
    let head = "\n| command, `[optional]` | what it does |\n|---|---|\n".to_owned();
    rows.fold(head, |table, row| table + &row) + "\n"
}

fn argument(argument: &Value) -> String {
    let name = argument["name"].as_str().unwrap();
    if argument["optional"] == true { format!(" [{name}]") } else { format!(" {name}") }
}
