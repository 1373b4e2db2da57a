//! `cargo xtask up`: from a clone to a manager with Sample in it.

use std::{env, ffi::OsString, fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    step::{self, StepError, announce, say},
    workspace::{cargo, release},
};

/// Why it is not up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpError {
    #[error(transparent)]
    Step(#[from] StepError),

    #[error("cannot read what `{command}` printed")]
    Unreadable { command: &'static str, source: serde_json::Error },
}

/// Builds, starts the manager unless one runs, brings Sample in it up to date, and says what to
/// type next.
pub(crate) fn up() -> Result<(), UpError> {
    announce("building release binaries");
    step::run(&mut cargo(["build", "--release", "--workspace", "--bins"]))?;
    match env::var_os("DAE_HOME") {
        Some(home) => announce(&format!("starting the manager of {}", home.display())),
        None => announce("starting the manager"),
    }
    step::run(&mut dae(["up"]))?;
    bring_up_sample(&release("sample"))?;
    announce("running now");
    step::run(&mut dae(["list"]))?;
    print_next(manager_port(), sample()?.and_then(|sample| sample.port));
    Ok(())
}

/// Sample as the manager lists it.
#[derive(Debug, PartialEq)]
struct Listed {
    pid: Option<u64>,
    port: Option<u64>,
}

/// What makes the manager run the Sample that was just built.
#[derive(Debug, PartialEq)]
enum Plan {
    Install,
    Replace,
    Restart,
    Keep,
}

impl Plan {
    /// `running` is the target of `/proc/PID/exe`: the kernel marks a program that was built anew
    /// since.
    fn new(sample: Option<&Listed>, running: Option<&Path>, program: &Path) -> Self {
        let mut replaced = OsString::from(program);
        replaced.push(" (deleted)");
        match (sample, running) {
            (None, _) => Self::Install,
            (Some(_), None) => Self::Restart,
            (Some(_), Some(running)) if running == program => Self::Keep,
            (Some(_), Some(running)) if running == Path::new(&replaced) => Self::Restart,
            (Some(_), Some(_)) => Self::Replace,
        }
    }
}

fn bring_up_sample(program: &Path) -> Result<(), UpError> {
    let sample = sample()?;
    let pid = sample.as_ref().and_then(|sample| sample.pid);
    let running = pid.and_then(|pid| fs::read_link(format!("/proc/{pid}/exe")).ok());
    let canonical = fs::canonicalize(program).unwrap_or_else(|_| program.to_owned());
    match Plan::new(sample.as_ref(), running.as_deref(), &canonical) {
        Plan::Install => {
            announce("installing Sample");
            step::run(dae(["install", "Sample"]).arg(program))?;
        }
        Plan::Replace => {
            announce("installing Sample from here over one from elsewhere");
            step::run(dae(["install", "--replace", "Sample"]).arg(program))?;
        }
        Plan::Restart => {
            announce("restarting Sample");
            step::run(&mut dae(["restart", "Sample"]))?;
        }
        Plan::Keep => announce("Sample is installed and up to date"),
    }
    Ok(())
}

fn sample() -> Result<Option<Listed>, UpError> {
    let listing = step::output(&mut dae(["list", "--json"]))?;
    find_sample(&listing)
        .map_err(|source| UpError::Unreadable { command: "dae list --json", source })
}

/// Our Sample in a listing; one started by hand is none of ours.
fn find_sample(listing: &[u8]) -> serde_json::Result<Option<Listed>> {
    let listing: Value = serde_json::from_slice(listing)?;
    let daemons = listing.get("daemons").unwrap_or(&listing).as_array();
    let is_ours = |daemon: &&Value| {
        daemon["name"].as_str().is_some_and(|name| name.eq_ignore_ascii_case("Sample"))
            && daemon["foreign"] != true
    };
    let sample = daemons.into_iter().flatten().find(is_ours);
    Ok(sample.map(|it| Listed { pid: it["pid"].as_u64(), port: it["port"].as_u64() }))
}

/// The manager's own port; without it there is one line less to print.
fn manager_port() -> Option<u64> {
    let status = step::output(&mut dae(["status", "--json"])).ok()?;
    let status: Value = serde_json::from_slice(&status).ok()?;
    ["/port", "/manager/port"].iter().find_map(|path| status.pointer(path)?.as_u64())
}

fn print_next(manager: Option<u64>, sample: Option<u64>) {
    let dae = release("dae");
    let dae = dae.display();
    say("");
    if let Some(port) = manager {
        say(&format!("The manager listens on port {port}: nc 127.0.0.1 {port}, then type: list"));
    }
    if let Some(port) = sample {
        say(&format!(
            "Sample listens on port {port}: nc 127.0.0.1 {port}, then type a line at a time:"
        ));
        say("    dae");
        say("    options");
        say("    set [\"k\",1]");
        say("    get [\"k\"]");
    }
    say("The same from the shell, and the end of it:");
    say(&format!("    {dae} call Sample set key 5"));
    say(&format!("    {dae} call Sample get key"));
    say(&format!("    {dae} down"));
}

fn dae<const N: usize>(arguments: [&str; N]) -> Command {
    let mut dae = Command::new(release("dae"));
    dae.args(arguments);
    dae
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_is_found_in_a_listing_of_either_form() {
        let sample = Some(Listed { pid: Some(7), port: Some(4000) });
        for listing in [
            r#"{"v":1,"daemons":[{"name":"Other"},{"name":"sample","pid":7,"port":4000}]}"#,
            r#"[{"name":"Sample","pid":7,"port":4000,"foreign":false}]"#,
            r#"[{"name":"Sample","pid":8,"foreign":true},{"name":"Sample","pid":7,"port":4000}]"#,
        ] {
            assert_eq!(find_sample(listing.as_bytes()).unwrap(), sample, "{listing}");
        }
        assert_eq!(find_sample(br#"{"v":1,"daemons":[]}"#).unwrap(), None);
        assert!(find_sample(b"dae: no manager").is_err());
    }

    #[test]
    fn only_a_sample_that_runs_what_was_built_is_kept() {
        let program = Path::new("/p/sample");
        let listed = Listed { pid: Some(7), port: None };
        for (sample, running, plan) in [
            (None, None, Plan::Install),
            (Some(&listed), None, Plan::Restart),
            (Some(&listed), Some("/p/sample"), Plan::Keep),
            (Some(&listed), Some("/p/sample (deleted)"), Plan::Restart),
            (Some(&listed), Some("/q/sample"), Plan::Replace),
        ] {
            assert_eq!(Plan::new(sample, running.map(Path::new), program), plan, "{running:?}");
        }
    }
}
