//! What the user has set for the manager in `config.toml`. All of it may be absent, and so may the
//! file.

use std::{collections::HashSet, fs, io, path::Path};

use serde::Deserialize;

use crate::definition::printable;

/// The settings of the manager.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether to look for daemons that the manager did not start.
    pub scan: Scan,
    /// Ports that a look never touches.
    pub scan_ignore: HashSet<u16>,
}

/// Whether to look for foreign daemons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scan {
    /// Among the sockets of this user.
    #[default]
    Own,
    /// Nowhere, whoever asks.
    Off,
}

/// Why the settings are not known.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there and can't be read.
    #[error("cannot read the settings")]
    Read(#[from] io::Error),
    /// It is not what it should be.
    #[error("the settings are wrong: {0}")]
    Wrong(String),
}

impl Config {
    /// Reads the file; without one everything is as usual.
    ///
    /// # Errors
    /// [`ConfigError`]: a setting that is not understood would be one that is not in force.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        toml_edit::de::from_str(text).map_err(|error| {
            // The message alone, which is one line: the whole error shows the file.
            ConfigError::Wrong(printable(error.message()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_is_as_usual() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        assert_eq!(Config::load(&path).unwrap(), Config::default());
        fs::write(&path, "# nothing\n").unwrap();
        assert_eq!(Config::load(&path).unwrap(), Config::default());
        fs::write(&path, "scan = \"off\"\nscan_ignore = [80, 443]\n").unwrap();
        let scan_ignore = HashSet::from([80, 443]);
        assert_eq!(Config::load(&path).unwrap(), Config { scan: Scan::Off, scan_ignore });
    }

    #[test]
    fn what_is_not_understood_is_told() {
        for (text, told) in [
            ("scan = \"all\"", "all"),
            ("scann = \"off\"", "scann"),
            ("scan_ignore = [70000]", "70000"),
            ("scan_ignore", ""),
            ("scan = \"\"\"o\nff\"\"\"", "o\\nff"),
        ] {
            let error = Config::parse(text).unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains('\n'), "{text}: {error}");
        }
    }
}
