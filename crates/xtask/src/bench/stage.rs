//! One contender with its services and its witness: opened once, launched and ended as often as is
//! measured.

use std::{
    collections::HashMap,
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{
    clock::now,
    error::MeasureError,
    rivals::Rivals,
    scratch::{self, Scratch},
    supervisor::{Kind, Service, Supervisor},
    witness::{Witness, Word},
};
use crate::workspace::release;

/// How long all services may take to begin: minutes for the slowest of the rivals with a thousand.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Stage {
    pub(crate) kind: Kind,
    pub(crate) supervisor: Box<dyn Supervisor>,
    pub(crate) witness: Witness,
    /// What runs, by name, as it was seen last.
    pub(crate) running: HashMap<String, Word>,
    folder: PathBuf,
    count: usize,
}

impl Stage {
    /// All of `kinds` with `count` sleepers each, prepared.
    pub(crate) fn all_with_sleepers(
        kinds: &[Kind],
        rivals: &Rivals,
        scratch: &Scratch,
        count: usize,
    ) -> Result<Vec<Self>, MeasureError> {
        let open = |kind: &Kind| {
            kind.unless_rival(Self::with_sleepers(*kind, rivals, scratch, count)).transpose()
        };
        kinds.iter().filter_map(open).collect()
    }

    /// Those of `stages` that can be launched, which now run.
    pub(crate) fn launch_all(stages: Vec<Self>) -> Result<Vec<Self>, MeasureError> {
        let launch = |mut stage: Self| {
            let launched = stage.launch();
            let launched = stage.kind.unless_rival(launched).transpose()?;
            Some(launched.map(|_| stage))
        };
        stages.into_iter().filter_map(launch).collect()
    }

    /// A contender with `count` sleepers.
    fn with_sleepers(
        kind: Kind,
        rivals: &Rivals,
        scratch: &Scratch,
        count: usize,
    ) -> Result<Self, MeasureError> {
        Self::open(kind, rivals, scratch, &format!("{}-{count}", kind.name()), |witness| {
            (0..count).map(|number| sleeper(number, witness)).collect()
        })
    }

    /// A contender that lives in the folder `name` of `scratch` and has what `services` makes for a
    /// witness.
    pub(crate) fn open(
        kind: Kind,
        rivals: &Rivals,
        scratch: &Scratch,
        name: &str,
        services: impl FnOnce(&Path) -> Vec<Service>,
    ) -> Result<Self, MeasureError> {
        let folder = scratch.folder(name)?;
        let path = folder.join("witness");
        let witness = Witness::listen(path.clone()).map_err(MeasureError::io("hear at", &path))?;
        let mut supervisor = kind.open(rivals, folder.clone());
        let services = services(&path);
        supervisor.prepare(&services)?;
        let (running, count) = (HashMap::new(), services.len());
        Ok(Self { kind, supervisor, witness, running, folder, count })
    }

    /// Starts the supervisor and returns how long it took until the last of its services began.
    pub(crate) fn launch(&mut self) -> Result<Duration, MeasureError> {
        self.witness.forget();
        let started = now();
        self.supervisor.launch()?;
        self.running = self.witness.first_of(self.count, PATIENCE);
        let missing = self.count - self.running.len();
        if missing > 0 {
            return Err(self.silent(missing, PATIENCE));
        }
        let last = self.running.values().map(|it| it.at).max().unwrap_or(started);
        Ok(last.saturating_sub(started))
    }

    /// The processes that supervise: all that run but the services.
    pub(crate) fn supervisors(&self) -> Vec<u32> {
        let services = [probe(), release("sample")];
        let is_service = |pid: &u32| {
            let program = std::fs::read_link(format!("/proc/{pid}/exe"));
            // One that ends just now is neither.
            program.map_or(true, |it| services.contains(&it))
        };
        let all = scratch::processes(&self.folder);
        let all = all.into_iter().map(|it| it.as_raw_nonzero().get().cast_unsigned());
        all.filter(|it| !is_service(it)).collect()
    }

    pub(crate) fn silent(&self, missing: usize, waited: Duration) -> MeasureError {
        MeasureError::Silent { who: self.kind.name(), missing, count: self.count, waited }
    }

    /// How long its command that lists everything takes.
    pub(crate) fn time_of_list(&self) -> Result<Option<Duration>, MeasureError> {
        let Some(mut list) = self.supervisor.list() else { return Ok(None) };
        let started = now();
        finish(&mut list)?;
        Ok(Some(now() - started))
    }

    /// Ends all of it, now.
    pub(crate) fn end(&mut self) {
        scratch::sweep(&self.folder);
        self.running.clear();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.end();
    }
}

/// The program that everybody runs.
pub(crate) fn probe() -> PathBuf {
    env::current_exe().unwrap_or_default().with_file_name("probe")
}

fn sleeper(number: usize, witness: &Path) -> Service {
    let name = name(number);
    let arguments = vec!["sleep".to_owned(), witness.display().to_string(), name.clone()];
    Service { name, program: probe(), arguments, is_logged: false }
}

/// The name of the service with this number.
pub(crate) fn name(number: usize) -> String {
    format!("S{number:04}")
}

fn finish(command: &mut Command) -> Result<(), MeasureError> {
    use crate::step::{StepError, run};
    match run(command) {
        // Some say by it that not all are up.
        Ok(()) | Err(StepError::Failed { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
