//! The supervisors that ours is measured beside: taken from where they come from into a folder of
//! ours, since installing them would bring up services that nobody asked for.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    step::{self, StepError, announce, say},
    tools::{self, Tool, ToolError},
    workspace::target,
};

/// Unpacks packages, downloads them.
const DEBIAN: [Tool; 1] = [Tool { program: "dpkg-deb", package: "dpkg" }];

/// What a rival from another registry needs. A fixed version: figures are compared over months.
const NODE: [Tool; 2] =
    [Tool { program: "node", package: "nodejs" }, Tool { program: "npm", package: "npm" }];
const PM2: &str = "pm2@7.0.4";

/// Knows where it is installed; its package has no service.
const S6: Tool = Tool { program: "s6-svscan", package: "s6" };

const PYTHON: [Tool; 1] = [Tool { program: "python3", package: "python3-minimal" }];

/// Where their programs lie.
pub(crate) struct Rivals {
    folder: PathBuf,
    versions: Vec<(&'static str, Result<String, ToolError>)>,
}

impl Rivals {
    /// Fetches what is missing. One that cannot be had is left out, and the reason is shown.
    pub(crate) fn ensure() -> Self {
        let mut rivals = Self { folder: target().join("bench/rivals"), versions: vec![] };
        let packages: [(_, &[Tool], &[_]); 3] = [
            ("daemontools", &[], &["daemontools"]),
            ("runit", &[], &["runit"]),
            ("supervisord", &PYTHON, &["supervisor", "python3-pkg-resources"]),
        ];
        for (rival, tools, packages) in packages {
            let version = tools::ensure(tools).and_then(|_| rivals.debian(rival, packages));
            rivals.versions.push((rival, version));
        }
        rivals.versions.push(("s6", s6()));
        let version = rivals.pm2();
        rivals.versions.push(("pm2", version));
        rivals
    }

    /// Whether `rival` can be measured.
    pub(crate) fn has(&self, rival: &str) -> bool {
        self.versions.iter().any(|(name, version)| *name == rival && version.is_ok())
    }

    /// The folder that `rival` was put into.
    pub(crate) fn root(&self, rival: &str) -> PathBuf {
        self.folder.join(rival)
    }

    pub(crate) fn say(&self) {
        for (rival, version) in &self.versions {
            match version {
                Ok(version) => say(&format!("  {rival} {version}")),
                Err(error) => say(&format!("  {rival} left out: {}", crate::chain(error))),
            }
        }
    }

    /// The version of the first of `packages`, all of which are unpacked.
    fn debian(&self, rival: &str, packages: &[&str]) -> Result<String, ToolError> {
        tools::ensure(&DEBIAN)?;
        let root = self.root(rival);
        let marker = root.join("version");
        if let Ok(version) = fs::read_to_string(&marker) {
            return Ok(version);
        }
        announce(&format!("fetching {rival}"));
        let archives = made(self.folder.join(format!("{rival}.download")))?;
        if download(packages, &archives).is_err() {
            update()?;
            download(packages, &archives)?;
        }
        made(root.clone())?;
        let mut version = String::new();
        for package in packages {
            let archive = archive_of(package, &archives)?;
            step::run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&root))?;
            if version.is_empty() {
                let mut ask = Command::new("dpkg-deb");
                let printed = step::output(ask.arg("--field").arg(&archive).arg("Version"))?;
                version = String::from_utf8_lossy(&printed).trim().to_owned();
            }
        }
        // Last: what is there without it is not whole.
        fs::write(marker, &version).map_err(unusable)?;
        Ok(version)
    }

    fn pm2(&self) -> Result<String, ToolError> {
        tools::ensure(&NODE)?;
        let root = self.root("pm2");
        let program = root.join("node_modules/pm2/bin/pm2");
        if !program.exists() {
            announce("fetching pm2");
            made(root.clone())?;
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--silent", "--prefix"]);
            step::run(npm.arg(&root).arg(PM2).stdout(Stdio::null()))?;
        }
        let node = step::output(Command::new("node").arg("--version"))?;
        let node = String::from_utf8_lossy(&node).trim().to_owned();
        Ok(format!("{} on node {node}", PM2.trim_start_matches("pm2@")))
    }
}

fn s6() -> Result<String, ToolError> {
    tools::ensure(&[S6])?;
    let mut ask = Command::new("dpkg-query");
    let version = step::output(ask.args(["--show", "--showformat=${Version}", S6.package]))?;
    Ok(String::from_utf8_lossy(&version).into_owned())
}

fn download(packages: &[&str], folder: &Path) -> Result<(), StepError> {
    let mut apt = Command::new("apt-get");
    // Of the user that asks: the one that apt would become may not write here.
    apt.args(["download", "--quiet=2", "-o", "APT::Sandbox::User=root"]).args(packages);
    step::run(apt.current_dir(folder).stdout(Stdio::null()))
}

fn update() -> Result<(), ToolError> {
    let missing = || "the list of packages".to_owned();
    let mut apt =
        tools::as_root("apt-get").ok_or_else(|| ToolError::NoRoot { missing: missing() })?;
    Ok(step::run(apt.args(["update", "--quiet=2"]))?)
}

fn archive_of(package: &str, folder: &Path) -> Result<PathBuf, ToolError> {
    let start = format!("{package}_");
    let files = fs::read_dir(folder).map_err(unusable)?;
    let found = files
        .flatten()
        .map(|it| it.path())
        .find(|it| it.file_name().is_some_and(|it| it.to_string_lossy().starts_with(&start)));
    found.ok_or_else(|| unusable(std::io::ErrorKind::NotFound.into()))
}

fn made(folder: PathBuf) -> Result<PathBuf, ToolError> {
    fs::create_dir_all(&folder).map_err(unusable)?;
    Ok(folder)
}

fn unusable(source: std::io::Error) -> ToolError {
    ToolError::Install(StepError::Start { command: "unpack".to_owned(), source })
}
