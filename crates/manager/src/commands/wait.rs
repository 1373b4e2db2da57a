use clap::ValueEnum;

use super::{Console, many::Many};
use crate::{
    cli::{Awaited, Wait},
    error::{Done, Exit},
};

pub(super) async fn run(args: Wait, console: &mut Console) -> Done {
    let state = args.state.to_possible_value();
    let state = state.as_ref().map_or("ready", |it| it.get_name());
    let many = Many::new("wait", args.names.iter()).with("for", state);
    let report = many.ask(console).await?;
    let is_vain = args.state == Awaited::Ready && !report.daemons.iter().all(|it| it.is_up());
    let exit = report.tell(console, ToString::to_string)?;
    Ok(if is_vain { exit.max(Exit::NotUp) } else { exit })
}
