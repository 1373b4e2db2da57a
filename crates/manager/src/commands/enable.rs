use super::{Console, many::Many};
use crate::{cli::Switch, error::Done};

pub(super) async fn run(args: Switch, console: &mut Console) -> Done {
    let many = Many::new("enable", args.names.iter()).with("now", args.now);
    let report = many.ask(console).await?;
    report.tell(console, |it| format!("{}  enabled  {}", it.name, it.state))
}
