use super::{Console, many::Many};
use crate::{cli::Names, error::Done};

pub(super) async fn run(args: Names, console: &mut Console) -> Done {
    let report = Many::new("restart", args.iter()).ask(console).await?;
    report.tell(console, ToString::to_string)
}
