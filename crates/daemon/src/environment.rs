use std::{env, path::PathBuf};

/// What the manager hands a child in its environment; all absent when a daemon is started by hand.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `DAE_NAME`: what the daemon is installed as.
    pub name: Option<String>,
    /// `DAE_SECRET`: which spawn it is, 128 random bits in hex.
    pub secret: Option<String>,
    /// `DAE_PORT`: the manager's Common TCP port on `DAE_HOST`.
    pub manager_port: Option<u16>,
    /// `DAE_SOCKET`: where the daemon's Unix socket goes.
    pub socket: Option<PathBuf>,
    /// `DAE_TOKEN_FILE`: the file with the token that opens commands that need authorisation.
    pub token_file: Option<PathBuf>,
}

impl Environment {
    /// Reads it; what is there but makes no sense is as if it were absent.
    #[must_use]
    pub fn read() -> Self {
        let text = |key| env::var(key).ok().filter(|value| !value.is_empty());
        Self {
            name: text("DAE_NAME"),
            secret: text("DAE_SECRET"),
            manager_port: text("DAE_PORT").and_then(|port| port.parse().ok()),
            socket: text("DAE_SOCKET").map(PathBuf::from),
            token_file: text("DAE_TOKEN_FILE").map(PathBuf::from),
        }
    }
}
