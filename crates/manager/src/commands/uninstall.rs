use super::{Console, many::Many};
use crate::{cli::Uninstall, error::Done};

pub(super) async fn run(args: Uninstall, console: &mut Console) -> Done {
    let many = Many::new("uninstall", args.names.iter()).with("purge", args.purge);
    let report = many.ask(console).await?;
    report.tell(console, |it| format!("{}  uninstalled", it.name))
}
