use std::collections::BTreeMap;

use common_tcp::Reply;
use serde::Serialize;

use super::{Console, daemon::Daemon, table::Table};
use crate::{
    cli::Options,
    error::{Complaint, Done, Exit},
};

/// Commands, each with the number of its required arguments.
type Commands = BTreeMap<String, u64>;

#[derive(Serialize)]
struct Document {
    v: u8,
    commands: Commands,
}

pub(super) async fn run(args: Options, console: &mut Console) -> Done {
    let daemon = Daemon::find(&args.name, console).await?;
    let commands = read(&daemon.exchange("options", &[]).await?)?;
    if console.out.is_json {
        console.out.document(&Document { v: 1, commands })?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["COMMAND", "ARGUMENTS"]);
    for (command, arguments) in commands {
        table.row([Some(command), Some(arguments.to_string())]);
    }
    table.print(&mut console.out)?;
    Ok(Exit::Done)
}

fn read(reply: &Reply) -> Result<Commands, Complaint> {
    reply.result("options").map_err(|error| Complaint::of("unexpected", &error))
}
