//! `cargo xtask up`: from a clone to a manager with our daemons in it.

use std::{
    env,
    ffi::OsString,
    fs,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    path::Path,
    process::Command,
};

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

/// The daemons that are installed, each with its program.
const DAEMONS: [(&str, &str); 3] = [("Sample", "sample"), ("State", "state"), (RELAY, "relay")];

/// The one with a door at a port that clients know.
const RELAY: &str = "Relay";
const RELAY_PORT: u16 = 9163;

/// Builds, starts the manager unless one runs, brings our daemons in it up to date, and says what
/// to type next.
pub(crate) fn up() -> Result<(), UpError> {
    announce("building release binaries");
    step::run(&mut cargo(["build", "--release", "--workspace", "--bins"]))?;
    match env::var_os("DAE_HOME") {
        Some(home) => announce(&format!("starting the manager of {}", home.display())),
        None => announce("starting the manager"),
    }
    step::run(&mut dae(["up"]))?;
    for (name, program) in DAEMONS {
        bring_up(name, &release(program))?;
    }
    announce("running now");
    step::run(&mut dae(["list"]))?;
    let port = |name| Ok::<_, UpError>(listed(name)?.and_then(|it| it.port));
    print_next(manager_port(), port("Sample")?, port("State")?, listed(RELAY)?);
    Ok(())
}

/// A daemon as the manager lists it.
#[derive(Debug, PartialEq)]
struct Listed {
    pid: Option<u64>,
    port: Option<u64>,
    /// Where the manager listens for it.
    doors: Vec<SocketAddr>,
}

/// What makes the manager run the program that was just built.
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
    fn new(listed: Option<&Listed>, running: Option<&Path>, program: &Path) -> Self {
        let mut replaced = OsString::from(program);
        replaced.push(" (deleted)");
        match (listed, running) {
            (None, _) => Self::Install,
            (Some(_), None) => Self::Restart,
            (Some(_), Some(running)) if running == program => Self::Keep,
            (Some(_), Some(running)) if running == Path::new(&replaced) => Self::Restart,
            (Some(_), Some(_)) => Self::Replace,
        }
    }
}

fn bring_up(name: &str, program: &Path) -> Result<(), UpError> {
    let listed = listed(name)?;
    let pid = listed.as_ref().and_then(|it| it.pid);
    let running = pid.and_then(|pid| fs::read_link(format!("/proc/{pid}/exe")).ok());
    let canonical = fs::canonicalize(program).unwrap_or_else(|_| program.to_owned());
    match Plan::new(listed.as_ref(), running.as_deref(), &canonical) {
        Plan::Install => {
            announce(&format!("installing {name}"));
            step::run(dae(["install", name]).arg(program).args(besides(name, &[])))?;
        }
        Plan::Replace => {
            announce(&format!("installing {name} from here over one from elsewhere"));
            let doors = listed.map(|it| it.doors).unwrap_or_default();
            let besides = besides(name, &doors);
            step::run(dae(["install", "--replace", name]).arg(program).args(besides))?;
        }
        Plan::Restart => {
            announce(&format!("restarting {name}"));
            step::run(&mut dae(["restart", name]))?;
        }
        Plan::Keep => announce(&format!("{name} is installed and up to date")),
    }
    Ok(())
}

/// What else is said to `install`: the manager holds the relay's door, as its clients do not
/// survive that it is closed while the relay restarts. Somebody else may be there already, and not
/// every machine has the second address of `localhost`.
fn besides(name: &str, held: &[SocketAddr]) -> Vec<String> {
    if name != RELAY {
        return Vec::new();
    }
    let can_be_had = |address| held.contains(&address) || TcpListener::bind(address).is_ok();
    if can_be_had((Ipv4Addr::LOCALHOST, RELAY_PORT).into()) {
        let second = SocketAddr::from((Ipv6Addr::LOCALHOST, RELAY_PORT));
        let second = can_be_had(second).then(|| format!("--socket=ws={second}"));
        return [format!("--socket=ws={RELAY_PORT}")].into_iter().chain(second).collect();
    }
    say(&format!("port {RELAY_PORT} is taken, so AceBase's clients get another"));
    ["--", "--listen", "127.0.0.1:0"].map(str::to_owned).into()
}

fn listed(name: &str) -> Result<Option<Listed>, UpError> {
    let listing = step::output(&mut dae(["list", "--json"]))?;
    find(name, &listing)
        .map_err(|source| UpError::Unreadable { command: "dae list --json", source })
}

/// Our daemon of a name in a listing; one started by hand is none of ours.
fn find(name: &str, listing: &[u8]) -> serde_json::Result<Option<Listed>> {
    let listing: Value = serde_json::from_slice(listing)?;
    let daemons = listing.get("daemons").unwrap_or(&listing).as_array();
    let is_ours = |daemon: &&Value| {
        daemon["name"].as_str().is_some_and(|it| it.eq_ignore_ascii_case(name))
            && daemon["foreign"] != true
    };
    let found = daemons.into_iter().flatten().find(is_ours);
    Ok(found.map(Listed::of))
}

impl Listed {
    fn of(daemon: &Value) -> Self {
        let doors = daemon["sockets"].as_array().into_iter().flatten();
        Self {
            pid: daemon["pid"].as_u64(),
            port: daemon["port"].as_u64(),
            doors: doors.filter_map(|it| it["address"].as_str()?.parse().ok()).collect(),
        }
    }
}

/// The manager's own port; without it there is one line less to print.
fn manager_port() -> Option<u64> {
    let status = step::output(&mut dae(["status", "--json"])).ok()?;
    let status: Value = serde_json::from_slice(&status).ok()?;
    ["/port", "/manager/port"].iter().find_map(|path| status.pointer(path)?.as_u64())
}

fn print_next(
    manager: Option<u64>,
    sample: Option<u64>,
    state: Option<u64>,
    relay: Option<Listed>,
) {
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
    if let Some(port) = state {
        say(&format!("State listens on port {port}; daemons/state/README.md shows a session."));
    }
    if let Some(Listed { port: Some(port), doors, .. }) = relay {
        say(&format!("Relay listens on port {port}; daemons/relay/README.md shows a session."));
        match doors.first() {
            Some(door) => say(&format!("    AceBase's clients connect to port {}.", door.port())),
            None => say("    Where AceBase's clients connect is told by `whois`."),
        }
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
        let sample = Some(Listed { pid: Some(7), port: Some(4000), doors: vec![] });
        for listing in [
            r#"{"v":1,"daemons":[{"name":"Other"},{"name":"sample","pid":7,"port":4000}]}"#,
            r#"[{"name":"Sample","pid":7,"port":4000,"foreign":false}]"#,
            r#"[{"name":"Sample","pid":8,"foreign":true},{"name":"Sample","pid":7,"port":4000}]"#,
        ] {
            assert_eq!(find("Sample", listing.as_bytes()).unwrap(), sample, "{listing}");
        }
        assert_eq!(find("Sample", br#"{"v":1,"daemons":[]}"#).unwrap(), None);
        assert!(find("Sample", b"dae: no manager").is_err());
    }

    #[test]
    fn a_door_that_is_held_for_it_already_can_be_had() {
        let door = SocketAddr::from((Ipv4Addr::LOCALHOST, RELAY_PORT));
        let listing = br#"[{"name":"Relay","sockets":[{"label":"ws","address":"127.0.0.1:9163","held":true}]}]"#;
        assert_eq!(find(RELAY, listing).unwrap().unwrap().doors, [door]);
        assert_eq!(besides(RELAY, &[door])[0], "--socket=ws=9163");
        assert!(besides("Sample", &[door]).is_empty());
    }

    #[test]
    fn only_a_sample_that_runs_what_was_built_is_kept() {
        let program = Path::new("/p/sample");
        let listed = Listed { pid: Some(7), port: None, doors: vec![] };
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
