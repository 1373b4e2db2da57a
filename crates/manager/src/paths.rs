//! Where everything lies: one table of files, for the manager, the keeper and the command line
//! alike.

use std::{
    env, fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use directories::ProjectDirs;
use nix::unistd::geteuid;

use crate::{identity::Identity, keeper, name::Name};

/// The longest path of a Unix socket: `sun_path` has 108 bytes, the last is NUL.
const LONGEST_SOCKET: usize = 107;

/// The directories of one manager, and the files in them.
///
/// Making one touches no file; [`create`](Self::create) does. Files named after a daemon take the
/// name as the registry shows it, since a file system may tell capitals apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    home: Option<PathBuf>,
    config: PathBuf,
    data: PathBuf,
    state: PathBuf,
    runtime: PathBuf,
}

impl Paths {
    /// The directories below `home` (`--home` or `DAE_HOME`; made absolute), or without it those of
    /// the user.
    ///
    /// # Errors
    /// [`PathsError::NoHome`] if the user has none; [`PathsError::TooLong`] if the manager's
    /// sockets would not fit.
    pub fn find(home: Option<&Path>) -> Result<Self, PathsError> {
        let paths = match home {
            Some(home) => Self::below(home)?,
            None => Self::of_user()?,
        };
        for socket in [paths.socket(), paths.keeper_socket()] {
            short_enough(socket)?;
        }
        Ok(paths)
    }

    fn below(home: &Path) -> Result<Self, PathsError> {
        let absolute = std::path::absolute(home);
        let home = absolute.map_err(|_| PathsError::NotAPath { home: home.to_owned() })?;
        let [config, data, state, runtime] =
            ["config", "data", "state", "run"].map(|it| home.join(it));
        Ok(Self { home: Some(home), config, data, state, runtime })
    }

    fn of_user() -> Result<Self, PathsError> {
        let user = ProjectDirs::from("", "", "dae").ok_or(PathsError::NoHome)?;
        let data = user.data_dir().to_owned();
        // macOS has neither of the two; they lie with the data then.
        let state = user.state_dir().map_or_else(|| data.clone(), Path::to_owned);
        let runtime = user_runtime().map_or_else(|| state.join("run"), |it| it.join("dae"));
        Ok(Self { home: None, config: user.config_dir().to_owned(), data, state, runtime })
    }

    /// Makes what is missing, for the user alone (0700), and sees that nobody else may write what
    /// is there.
    ///
    /// # Errors
    /// [`PathsError::Create`], or [`PathsError::Open`] for a directory that others may write or
    /// own.
    pub fn create(&self) -> Result<(), PathsError> {
        let inner = [self.running(), self.logs(), self.events(), self.daemons()];
        let outer = [&self.config, &self.data, &self.state, &self.runtime];
        let all = self.home.iter().chain(outer).chain(&inner);
        all.into_iter().try_for_each(|it| create(it))
    }

    /// Makes the data directory of one daemon, and the one for its logs.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_for(&self, name: &Name) -> Result<(), PathsError> {
        create(&self.daemon_data(name))?;
        create(&self.daemon_logs(name))
    }

    /// What the user has set for the manager; optional.
    pub fn config(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// What is installed.
    pub fn registry(&self) -> PathBuf {
        self.data.join("registry.toml")
    }

    /// The secret that opens the manager over TCP.
    pub fn token(&self) -> PathBuf {
        self.state.join("token")
    }

    /// Whose lock makes a process the manager.
    pub fn lock(&self) -> PathBuf {
        self.state.join("manager.lock")
    }

    /// What manager and keeper have to do with each other.
    pub fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// The directory of the identities of running children.
    pub fn running(&self) -> PathBuf {
        Identity::directory(&self.runtime)
    }

    /// Where the command line finds the manager.
    pub fn socket(&self) -> PathBuf {
        self.runtime.join("Dae.sock")
    }

    /// Where the manager finds the keeper.
    pub fn keeper_socket(&self) -> PathBuf {
        keeper::socket(&self.runtime)
    }

    /// Where a daemon may put a socket of its own.
    ///
    /// # Errors
    /// [`PathsError::TooLong`]: the name and the directory together do not fit.
    pub fn daemon_socket(&self, name: &Name) -> Result<PathBuf, PathsError> {
        short_enough(self.runtime.join(format!("{name}.sock")))
    }

    /// The directory of all logs.
    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// The directory of one daemon's logs.
    pub fn daemon_logs(&self, name: &Name) -> PathBuf {
        self.logs().join(name.as_str())
    }

    /// What is about to be removed.
    pub fn purged(&self) -> PathBuf {
        self.state.join("purged")
    }

    /// The directory of the history: transitions and commands.
    pub fn events(&self) -> PathBuf {
        self.state.join("events")
    }

    /// A daemon's own data.
    pub fn daemon_data(&self, name: &Name) -> PathBuf {
        self.daemons().join(name.as_str())
    }

    fn daemons(&self) -> PathBuf {
        self.data.join("daemons")
    }
}

/// The user's runtime directory: as the environment has it, else where logins have it. So a shell
/// without a login session, as `su` or `cron` give it, finds the manager that was started in one.
fn user_runtime() -> Option<PathBuf> {
    let told = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let usual = Path::new("/run/user").join(geteuid().to_string());
    told.into_iter().chain([usual]).find(|it| it.is_absolute() && is_ours(it))
}

fn is_ours(directory: &Path) -> bool {
    fs::metadata(directory).is_ok_and(|it| it.is_dir() && it.uid() == geteuid().as_raw())
}

fn create(directory: &Path) -> Result<(), PathsError> {
    let failed = |source| PathsError::Create { directory: directory.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let found = fs::metadata(directory).map_err(failed)?;
    let mode = found.mode() & 0o7777;
    if found.uid() != geteuid().as_raw() || mode & 0o022 != 0 {
        let owner = found.uid();
        return Err(PathsError::Open { directory: directory.to_owned(), mode, owner });
    }
    Ok(())
}

fn short_enough(socket: PathBuf) -> Result<PathBuf, PathsError> {
    let length = socket.as_os_str().len();
    if length > LONGEST_SOCKET {
        return Err(PathsError::TooLong { socket, length });
    }
    Ok(socket)
}

/// Why there is no place for the manager's files.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PathsError {
    #[error("this user has no home directory")]
    NoHome,

    #[error("`{}` is no directory to put files in", home.display())]
    NotAPath { home: PathBuf },

    #[error("`{}` is too long for a socket: at most {LONGEST_SOCKET} bytes, got {length}", socket.display())]
    TooLong { socket: PathBuf, length: usize },

    #[error("cannot create `{}`", directory.display())]
    Create { directory: PathBuf, source: io::Error },

    #[error("`{}` could be written by other users (mode {mode:04o}, owner {owner})", directory.display())]
    Open { directory: PathBuf, mode: u32, owner: u32 },
}

impl PathsError {
    /// What to do about it, as a line for people.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoHome | Self::TooLong { .. } | Self::NotAPath { .. } => {
                Some("set DAE_HOME to a directory with a short path".to_owned())
            }
            Self::Open { directory, owner, .. } if *owner == geteuid().as_raw() => {
                Some(format!("close it: `chmod go-w {}`", directory.display()))
            }
            Self::Open { .. } => Some("set DAE_HOME to a directory of your own".to_owned()),
            Self::Create { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn everything_lies_below_a_home_that_is_given() {
        let paths = Paths::find(Some(Path::new("/h"))).unwrap();
        let sample = Name::new("Sample").unwrap();
        for (path, expected) in [
            (paths.config(), "/h/config/config.toml"),
            (paths.registry(), "/h/data/registry.toml"),
            (paths.daemon_data(&sample), "/h/data/daemons/Sample"),
            (paths.token(), "/h/state/token"),
            (paths.lock(), "/h/state/manager.lock"),
            (paths.daemon_logs(&sample), "/h/state/logs/Sample"),
            (paths.events(), "/h/state/events"),
            (paths.purged(), "/h/state/purged"),
            (Identity::path(paths.runtime(), "Sample"), "/h/run/running/Sample.json"),
            (paths.socket(), "/h/run/Dae.sock"),
            (paths.keeper_socket(), "/h/run/.keeper.sock"),
            (paths.daemon_socket(&sample).unwrap(), "/h/run/Sample.sock"),
        ] {
            assert_eq!(path, Path::new(expected));
        }
        assert!(Paths::find(Some(Path::new("here"))).unwrap().lock().is_absolute());
        assert!(Paths::find(Some(Path::new(""))).is_err());
    }

    #[test]
    fn a_user_has_directories_too() {
        let paths = Paths::find(None).unwrap();
        assert!(paths.registry().ends_with("dae/registry.toml"));
        assert!(paths.socket().is_absolute());
    }

    #[test]
    fn what_is_made_is_for_the_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("a/home");
        let paths = Paths::find(Some(&home)).unwrap();
        let sample = Name::new("Sample").unwrap();
        paths.create().unwrap();
        paths.create().unwrap();
        paths.create_for(&sample).unwrap();
        for made in [&home, &home.join("run"), &paths.running(), &paths.daemon_data(&sample)] {
            assert_eq!(mode(made), 0o700, "{}", made.display());
        }
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::find(Some(folder.path())).unwrap();
        paths.create().unwrap();
        let state = folder.path().join("state");
        set_mode(&state, 0o755);
        paths.create().unwrap();
        for open in [0o770, 0o702, 0o1777] {
            set_mode(&state, open);
            let error = paths.create().unwrap_err();
            assert!(error.to_string().contains(&format!("mode {open:04o}")), "{error}");
            assert_eq!(error.hint(), Some(format!("close it: `chmod go-w {}`", state.display())));
        }
        fs::remove_dir_all(&state).unwrap();
        fs::write(&state, "").unwrap();
        assert!(matches!(paths.create(), Err(PathsError::Create { .. })));
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused_with_a_hint() {
        let home = |length: usize| PathBuf::from(format!("/{}", "x".repeat(length - 1)));
        // `/run/.keeper.sock` is 17 bytes.
        assert!(Paths::find(Some(&home(90))).is_ok());
        let error = Paths::find(Some(&home(91))).unwrap_err();
        assert!(error.to_string().ends_with("at most 107 bytes, got 108"), "{error}");
        assert!(error.hint().unwrap().contains("DAE_HOME"));
        let paths = Paths::find(Some(&home(90))).unwrap();
        assert!(paths.daemon_socket(&Name::new("a-longer-name").unwrap()).is_err());
    }
}
