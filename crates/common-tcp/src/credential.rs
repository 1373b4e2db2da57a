use serde::{Deserialize, Serialize};

/// Who a daemon is: the four values of `credential ["<name>",<pid>,<port>,<secret or null>]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub struct Credential {
    /// The name by which others find it.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// Its Common TCP port on this machine.
    pub port: u16,
    /// Which spawn of the manager it is, 128 random bits in hex; none when started by hand. It is
    /// told to whoever asks, so it opens nothing.
    pub secret: Option<String>,
}

type Wire = (String, u32, u16, Option<String>);

impl From<Wire> for Credential {
    fn from((name, pid, port, secret): Wire) -> Self {
        Self { name, pid, port, secret }
    }
}

impl From<Credential> for Wire {
    fn from(Credential { name, pid, port, secret }: Credential) -> Self {
        (name, pid, port, secret)
    }
}
