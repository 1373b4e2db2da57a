//! Who is attacked: a manager with a home of its own, its keeper, and Sample. Ends with its owner.

use std::{
    env, fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{self, Command, Output, Stdio},
};

use serde_json::Value;

use crate::{
    step::{self, StepError, announce},
    workspace::{cargo, release},
};

pub(crate) struct House {
    home: PathBuf,
    pub(crate) port: u16,
    pub(crate) sample_port: u16,
    pid: u32,
    keeper: u32,
    sample: u32,
}

/// Why there is nobody to attack.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HouseError {
    #[error(transparent)]
    Build(#[from] StepError),

    #[error("cannot make a home in `{}`", home.display())]
    Home { home: PathBuf, source: io::Error },

    #[error("`dae {command}` failed: {said}")]
    Dae { command: String, said: String },

    #[error("`dae` does not tell {0}")]
    Untold(&'static str),
}

impl House {
    /// Starts all of them, as release builds.
    pub(crate) fn build(is_stale: bool) -> Result<Self, HouseError> {
        if is_stale {
            announce("building the manager and the sample");
            let build = ["build", "--release", "--package", "manager", "--package", "sample"];
            step::run(&mut cargo(build))?;
        }
        let home = PathBuf::from(format!("/tmp/dae-hostile-{}", process::id()));
        let made = fs::DirBuilder::new().mode(0o700).create(&home);
        made.map_err(|source| HouseError::Home { home: home.clone(), source })?;
        let mut house = Self { home, port: 0, sample_port: 0, pid: 0, keeper: 0, sample: 0 };
        // Daemons of others on this machine would come and go among our descriptors.
        let config = house.home.join("config");
        fs::create_dir(&config)
            .and_then(|()| fs::write(config.join("config.toml"), "scan = \"off\"\n"))
            .map_err(|source| HouseError::Home { home: house.home.clone(), source })?;
        house.dae(&["up"])?;
        let sample = release("sample");
        house.dae(&["install", "Sample", &sample.to_string_lossy()])?;
        house.dae(&["install", "Sleeper", "/bin/sleep", "--no-start", "--", "9"])?;
        house.learn()?;
        Ok(house)
    }

    /// Asks who they are and where they listen.
    fn learn(&mut self) -> Result<(), HouseError> {
        let manager = self.json(&["status", "--json"])?;
        self.pid = number(&manager, "pid").ok_or(HouseError::Untold("its pid"))?;
        self.port = number(&manager, "port").ok_or(HouseError::Untold("its port"))?;
        let sample = self.json(&["status", "Sample", "--json"])?;
        self.sample = number(&sample, "pid").ok_or(HouseError::Untold("Sample's pid"))?;
        self.sample_port = number(&sample, "port").ok_or(HouseError::Untold("Sample's port"))?;
        let parent = parent_of(self.sample);
        self.keeper = parent.ok_or(HouseError::Untold("its keeper"))?;
        Ok(())
    }

    pub(crate) fn processes(&self) -> [(&'static str, u32); 3] {
        [("manager", self.pid), ("keeper", self.keeper), ("Sample", self.sample)]
    }

    /// Every port and socket, as the attacker takes them.
    pub(crate) fn targets(&self) -> Vec<String> {
        let run = self.home.join("run");
        let mut targets = vec![
            format!("tcp:127.0.0.1:{}", self.port),
            format!("tcp:[::1]:{}", self.port),
            format!("tcp:127.0.0.1:{}", self.sample_port),
            format!("keeper:{}", run.join(".keeper.sock").display()),
        ];
        let sockets = ["Dae.sock", "Sample.sock"].map(|it| run.join(it));
        let there = sockets.iter().filter(|it| it.exists());
        targets.extend(there.map(|it| format!("unix:{}", it.display())));
        targets
    }

    /// Whether the owner's command line still reaches the manager.
    pub(crate) fn owner_gets_in(&self) -> bool {
        self.dae(&["list"]).is_ok()
    }

    /// Lines of all logs that tell of a panic.
    pub(crate) fn panics(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect_panics(&self.home, &mut found);
        found
    }

    fn json(&self, arguments: &[&str]) -> Result<Value, HouseError> {
        let output = self.dae(arguments)?;
        serde_json::from_slice(&output.stdout).map_err(|_| HouseError::Untold("JSON"))
    }

    fn dae(&self, arguments: &[&str]) -> Result<Output, HouseError> {
        let failed = |said| HouseError::Dae { command: arguments.join(" "), said };
        let mut command = Command::new(release("dae"));
        for (name, _) in env::vars_os().filter(|it| it.0.to_string_lossy().starts_with("DAE")) {
            command.env_remove(name);
        }
        let command = command.args(arguments).env("DAE_HOME", &self.home).stdin(Stdio::null());
        let output = command.output().map_err(|it| failed(it.to_string()))?;
        match output.status.success() {
            true => Ok(output),
            false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if self.dae(&["down"]).is_ok() {
            fs::remove_dir_all(&self.home).ok();
        }
    }
}

/// The member `key`, wherever in the document it is first.
fn number<T: TryFrom<u64>>(document: &Value, key: &str) -> Option<T> {
    match document {
        Value::Object(members) => members
            .get(key)
            .and_then(|it| it.as_u64()?.try_into().ok())
            .or_else(|| members.values().find_map(|it| number(it, key))),
        _ => None,
    }
}

fn parent_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|it| it.strip_prefix("PPid:")?.trim().parse().ok())
}

fn collect_panics(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect_panics(&path, found),
            Ok(kind) if kind.is_file() => {
                let text = fs::read(&path).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                found.extend(text.lines().filter(|it| it.contains("panicked")).map(str::to_owned));
            }
            _ => {}
        }
    }
}
