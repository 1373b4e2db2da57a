//! What is installed: `registry.toml`, which people may read, compare and edit while the manager is
//! down.
//!
//! ```toml
//! version = 1
//!
//! [daemon.Sample]
//! program = "/usr/local/bin/sample"
//! grace = "2s"
//! ```
//!
//! Only what was told stands there; what is absent has its default. Keys that this version does not
//! know are kept, comments too; daemons are written by name. Each accepted change is one atomic,
//! durable replacement of the file; the version before it is `registry.toml.prev`. Calls wait for
//! the disk, some milliseconds each.

mod document;
mod replace;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub(crate) use self::document::Document;
pub use self::document::Problem;
use self::{
    document::Entry,
    replace::{Replacement, beside},
};
use crate::{definition::Definition, name::Name};

/// The installed daemons, as they are on disk.
#[derive(Debug)]
pub struct Registry {
    path: PathBuf,
    document: Document,
    recovery: Option<Recovery>,
}

/// That the registry was not readable, and the version before it was taken.
#[derive(Debug)]
pub struct Recovery {
    /// What was wrong with it; without it, it was gone.
    pub problem: Option<Problem>,
    /// Where the unreadable one lies now.
    pub moved_to: Option<PathBuf>,
}

impl Registry {
    /// Reads the registry at `path`; an empty one if there never was any.
    ///
    /// If it is broken or gone, the version before it is put in its place, the broken one is kept
    /// beside it, and [`recovery`](Self::recovery) says so. Only the holder of the manager's lock
    /// may call this.
    ///
    /// # Errors
    /// [`LoadError`]; then no file has been touched but by the recovery that failed.
    pub fn load(path: PathBuf) -> Result<Self, LoadError> {
        let previous = beside(&path, "prev");
        match read(&path)? {
            Found::Sound(document) => Ok(Self { path, document, recovery: None }),
            Found::Nothing if !previous.exists() => {
                Ok(Self { path, document: Document::default(), recovery: None })
            }
            Found::Nothing => Self::recover(path, &previous, None),
            Found::Broken(problem) => Self::recover(path, &previous, Some(problem)),
        }
    }

    fn recover(
        path: PathBuf,
        previous: &Path,
        problem: Option<Problem>,
    ) -> Result<Self, LoadError> {
        let document = match (read(previous)?, problem.as_ref()) {
            (Found::Sound(document), _) => document,
            (Found::Broken(prev), None) => {
                return Err(LoadError::Broken { path: previous.to_owned(), source: prev });
            }
            (Found::Broken(_) | Found::Nothing, _) => {
                return Err(match problem {
                    Some(source) => LoadError::Broken { path, source },
                    None => LoadError::Gone { path },
                });
            }
        };
        let failed = |source| LoadError::Recover { path: path.clone(), source };
        let moved_to = problem.is_some().then(|| move_aside(&path)).transpose().map_err(failed)?;
        fs::hard_link(previous, &path).map_err(failed)?;
        let recovery = Some(Recovery { problem, moved_to });
        Ok(Self { path, document, recovery })
    }

    /// What had to be done to load it, for `doctor`, `status` and the log.
    pub fn recovery(&self) -> Option<&Recovery> {
        self.recovery.as_ref()
    }

    /// The daemon of that name, case ignored, and how it is shown.
    pub fn get(&self, name: &Name) -> Option<(&Name, &Arc<Definition>)> {
        self.document.entries.get_key_value(name).map(|(name, it)| (name, &it.definition))
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Arc<Definition>)> {
        self.document.entries.iter().map(|(name, it)| (name, &it.definition))
    }

    /// Installs `name`, or replaces its definition. On disk when it returns.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn put(&mut self, name: Name, definition: Arc<Definition>) -> Result<(), StoreError> {
        self.change(vec![(name, Some(definition))])
    }

    /// Forgets `name`; nothing if it is not there. On disk when it returns.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn remove(&mut self, name: &Name) -> Result<(), StoreError> {
        if self.get(name).is_none() {
            return Ok(());
        }
        self.change(vec![(name.clone(), None)])
    }

    /// Puts and removes several daemons in one write: all or none.
    ///
    /// # Errors
    /// [`StoreError`]; then the registry is as it was, here and on disk.
    pub fn change(
        &mut self,
        edits: Vec<(Name, Option<Arc<Definition>>)>,
    ) -> Result<(), StoreError> {
        let mut next = self.document.clone();
        for (name, definition) in edits {
            let old = next.entries.remove(&name);
            if let Some(definition) = definition {
                let entry = Entry::new(&name, definition, old.as_ref());
                next.entries.insert(name, entry);
            }
        }
        Replacement::new(&self.path, next.to_string()).run()?;
        self.document = next;
        Ok(())
    }
}

enum Found {
    Nothing,
    Sound(Document),
    Broken(Problem),
}

fn read(path: &Path) -> Result<Found, LoadError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(source) => return Err(LoadError::Read { path: path.to_owned(), source }),
    };
    match Document::parse(&bytes) {
        Ok(document) => Ok(Found::Sound(document)),
        Err(Problem::Newer { version }) => Err(LoadError::Newer { path: path.to_owned(), version }),
        Err(problem) => Ok(Found::Broken(problem)),
    }
}

/// Gives the broken file a name of its own, so that nothing a person wrote is lost.
fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let mut names = (1..).map(|it: u64| beside(path, &format!("broken-{it}")));
    let free = names.find(|it| !it.exists()).expect("the numbers do not end");
    fs::rename(path, &free)?;
    Ok(free)
}

/// Why the manager cannot start with the registry.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum LoadError {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },

    #[error("`{}` was written by a newer `dae` (version {version}, this one knows 1)", path.display())]
    Newer { path: PathBuf, version: i64 },

    #[error("`{}` is broken, and so is what it was before", path.display())]
    Broken { path: PathBuf, source: Problem },

    #[error("`{}` is gone, and so is what it was before", path.display())]
    Gone { path: PathBuf },

    #[error("cannot put the registry before `{}` in its place", path.display())]
    Recover { path: PathBuf, source: io::Error },
}

impl LoadError {
    /// What to do about it, as a line for people.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Newer { .. } => {
                Some("start it with the newer `dae`; the file has not been touched")
            }
            Self::Broken { .. } => {
                Some("mend it by hand, or move it away to begin with no daemons")
            }
            _ => None,
        }
    }
}

/// Why a change was not stored. Code `storage` on the wire.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StoreError {
    #[error("no space left for `{}`", path.display())]
    Full { path: PathBuf, source: io::Error },

    #[error("cannot {step} `{}`", path.display())]
    Failed { step: &'static str, path: PathBuf, source: io::Error },
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn sample() -> Arc<Definition> {
        let mut definition = Definition::new("/bin/sample".into());
        definition.args = vec!["--x".into(), "say \"hi\"\n".into()];
        definition.env = [("KEY".to_owned(), "värde".to_owned())].into();
        definition.port = Some(8080);
        definition.enabled = false;
        definition.needs = vec![name("State")];
        Arc::new(definition)
    }

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("registry.toml")
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.0.path().join(name), text).unwrap();
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.0.path().join(name)).unwrap()
        }

        fn load(&self) -> Result<Registry, LoadError> {
            Registry::load(self.path())
        }

        fn names(&self) -> Vec<String> {
            self.load().unwrap().iter().map(|it| it.0.to_string()).collect()
        }
    }

    #[test]
    fn what_is_put_is_there_after_a_restart() {
        let folder = Folder::new();
        let mut registry = folder.load().unwrap();
        registry.put(name("Sample"), sample()).unwrap();
        registry.put(name("plain"), Arc::new(Definition::new("/p".into()))).unwrap();

        let registry = folder.load().unwrap();
        assert_eq!(registry.get(&name("sample")).unwrap().0.to_string(), "Sample");
        assert_eq!(registry.get(&name("sample")).unwrap().1, &sample());
        assert!(registry.recovery().is_none());
        assert!(folder.read("registry.toml").starts_with("version = 1\n"));
        assert!(folder.read("registry.toml").contains("[daemon.plain]\nprogram = \"/p\"\n"));
        let mode = fs::metadata(folder.path()).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_removed_stays_away() {
        let folder = Folder::new();
        let mut registry = folder.load().unwrap();
        registry.put(name("Sample"), sample()).unwrap();
        registry.put(name("State"), sample()).unwrap();
        registry.remove(&name("SAMPLE")).unwrap();
        registry.remove(&name("Gone")).unwrap();
        assert_eq!(folder.names(), ["State"]);
        assert!(folder.read("registry.toml.prev").contains("[daemon.Sample]"));
    }

    #[test]
    fn another_spelling_replaces_the_name() {
        let folder = Folder::new();
        let mut registry = folder.load().unwrap();
        registry.put(name("sample"), sample()).unwrap();
        registry.put(name("Sample"), sample()).unwrap();
        assert_eq!(folder.names(), ["Sample"]);
    }

    #[test]
    fn m_2_4_unknown_keys_and_comments_survive_a_rewrite() {
        let folder = Folder::new();
        let text = "# mine\nversion = 1\nfuture = [1, 2]\n\n[other]\ny = 2\n\n# first\n[daemon.Sample] # the one\nprogram = \"/a\" # here\n\
                    colour = \"red\"\ngrace = \"1s\"\n\n[daemon.Sample.env]\nA = \"1\"\n\n[daemon.Sample.box]\nx = 1\n";
        folder.write("registry.toml", text);
        let mut registry = folder.load().unwrap();
        let mut definition = (**registry.get(&name("Sample")).unwrap().1).clone();
        assert_eq!(definition.env["A"], "1");
        definition.grace = std::time::Duration::from_secs(2);
        registry.put(name("Sample"), Arc::new(definition)).unwrap();
        assert_eq!(folder.read("registry.toml"), text.replace("1s", "2s"));
    }

    #[test]
    fn a_newer_version_is_refused_and_left_alone() {
        let folder = Folder::new();
        let text = "version = 2\n[daemon]\n";
        folder.write("registry.toml", text);
        folder.write("registry.toml.prev", "version = 1\n");
        let error = folder.load().unwrap_err();
        assert!(matches!(error, LoadError::Newer { version: 2, .. }), "{error:?}");
        assert_eq!(folder.read("registry.toml"), text);
    }

    #[test]
    fn a_broken_file_gives_way_to_the_one_before() {
        let problems = [
            "version = 1\n[daemon.Sam",
            "",
            "[daemon]\n",
            "version = \"1\"\n",
            "version = 1\n[daemon.Sample]\n",
            "version = 1\n[daemon.Sample]\nprogram = \"/p\"\nrestart = \"sometimes\"\n",
            "version = 1\ndaemon = 5\n",
            "version = 1\n[daemon.\"a b\"]\nprogram = \"/p\"\n",
            "version = 1\n[daemon.a]\nprogram = \"/p\"\n[daemon.A]\nprogram = \"/p\"\n",
        ];
        for broken in problems {
            let folder = Folder::new();
            folder.write("registry.toml", broken);
            folder.write("registry.toml.prev", "version = 1\n[daemon.Old]\nprogram = \"/p\"\n");
            let mut registry = folder.load().unwrap();
            let recovery = registry.recovery().unwrap();
            assert!(recovery.problem.is_some());
            assert_eq!(fs::read_to_string(recovery.moved_to.as_ref().unwrap()).unwrap(), broken);
            assert_eq!(folder.names(), ["Old"], "from then on all is well");
            registry.put(name("New"), sample()).unwrap();
            assert_eq!(folder.names(), ["New", "Old"]);
        }
    }

    #[test]
    fn a_lost_file_gives_way_to_the_one_before() {
        let folder = Folder::new();
        folder.write("registry.toml.prev", "version = 1\n[daemon.Old]\nprogram = \"/p\"\n");
        let registry = folder.load().unwrap();
        assert!(registry.recovery().unwrap().problem.is_none());
        assert_eq!(folder.names(), ["Old"]);
    }

    #[test]
    fn nothing_readable_is_never_an_empty_list() {
        let folder = Folder::new();
        folder.write("registry.toml", "version = 1\n[");
        assert!(matches!(folder.load(), Err(LoadError::Broken { .. })));
        folder.write("registry.toml.prev", "\u{0}");
        assert!(matches!(folder.load(), Err(LoadError::Broken { .. })));
        assert_eq!(folder.read("registry.toml"), "version = 1\n[");
        fs::remove_file(folder.path()).unwrap();
        assert!(matches!(folder.load(), Err(LoadError::Broken { .. })));
    }

    #[test]
    fn a_crash_between_any_two_steps_leaves_a_readable_file() {
        for steps in 0..=replace::STEPS.len() {
            let folder = Folder::new();
            let mut registry = folder.load().unwrap();
            registry.put(name("A"), sample()).unwrap();
            registry.put(name("B"), sample()).unwrap();
            let next = folder.read("registry.toml").replace("daemon.B", "daemon.C");
            let mut replacement = Replacement::new(&registry.path, next);
            for (_, step) in &replace::STEPS[..steps] {
                step(&mut replacement).unwrap();
            }
            drop(replacement);

            let names = folder.names();
            assert!(names == ["A", "B"] || names == ["A", "C"], "{names:?} after {steps}");
            assert!(Document::parse(folder.read("registry.toml.prev").as_bytes()).is_ok());
            let mut registry = folder.load().unwrap();
            assert!(registry.recovery().is_none());
            registry.put(name("D"), sample()).unwrap();
            assert!(folder.names().contains(&"D".to_owned()), "nothing left over is in the way");
        }
    }

    #[test]
    fn a_change_that_cannot_be_stored_did_not_happen() {
        let folder = Folder::new();
        let mut registry = folder.load().unwrap();
        registry.put(name("Sample"), sample()).unwrap();
        let before = registry.document.to_string();
        // A directory in the way of the new file; permissions would not stop root.
        let obstacle = beside(&registry.path, "new");
        fs::create_dir(&obstacle).unwrap();
        fs::set_permissions(&obstacle, fs::Permissions::from_mode(0o700)).unwrap();

        let edits = vec![(name("SAMPLE"), None), (name("New"), Some(sample()))];
        let error = registry.change(edits).unwrap_err();
        assert!(matches!(error, StoreError::Failed { .. }), "{error:?}");
        assert_eq!(registry.document.to_string(), before);
        assert_eq!(folder.names(), ["Sample"]);
        fs::remove_dir(obstacle).unwrap();
        registry.put(name("New"), sample()).unwrap();
        assert_eq!(folder.names(), ["New", "Sample"]);
    }

    #[test]
    fn no_space_is_told_apart() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = replace::failed("write", Path::new("/r"), full);
        assert!(matches!(error, StoreError::Full { .. }));
    }
}
