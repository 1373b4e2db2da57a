use manager::doctor::{self, Check};
use serde::Serialize;

use super::Console;
use crate::error::{Done, Error, Exit};

#[derive(Serialize)]
struct Document<'a> {
    v: u8,
    checks: &'a [Check],
}

pub(super) async fn run(console: &mut Console) -> Done {
    let checks = doctor::run(&console.paths()?).await;
    if console.out.is_json {
        console.out.document(&Document { v: 1, checks: &checks })?;
    } else {
        checks.iter().try_for_each(|it| print(it, console))?;
    }
    Ok(if checks.iter().all(|it| it.ok) { Exit::Done } else { Exit::Failed })
}

fn print(check: &Check, console: &mut Console) -> Result<(), Error> {
    let Check { name, ok, detail, fix } = check;
    let verdict = if *ok { "ok  " } else { "FAIL" };
    console.out.line(format_args!("{verdict}  {name:11}  {detail}"))?;
    fix.iter().try_for_each(|it| console.out.line(format_args!("      mend it: {it}")))
}
