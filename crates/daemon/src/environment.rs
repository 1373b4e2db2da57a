use std::{env, net::TcpListener, path::PathBuf};

use crate::Inherited;

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
    /// Listening sockets that whoever started the daemon holds for it.
    pub sockets: Inherited,
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
            sockets: Inherited::of_process(),
        }
    }

    /// Takes the listening socket that is held under a label: `--socket ws=9163` of `dae install`,
    /// or `FileDescriptorName=ws` of a unit. Where nobody holds one the daemon binds its own.
    ///
    /// It listens already, also while no process of the daemon lives; so no guest is refused
    /// between two of them. It does not block, as tokio wants it, and is closed on exec. Dropping
    /// it refuses nobody: guests wait for whoever takes it next. Several of one label come one
    /// after the other. The socket without a label is the Common TCP port, which
    /// [`Daemon::bind`](crate::Daemon::bind) takes by itself.
    ///
    /// ```no_run
    /// # fn main() -> std::io::Result<()> {
    /// let listener = match daemon::Environment::read().take_socket("ws") {
    ///     Some(held) => held,
    ///     None => std::net::TcpListener::bind("127.0.0.1:9163")?,
    /// };
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn take_socket(&self, label: &str) -> Option<TcpListener> {
        self.sockets.take(label)
    }
}
