//! The flags that only this daemon has, and its bounds.

use std::{fs, io, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum, builder::RangedU64ValueParser};
use daemon::flags::parse_duration;
use relay::{Bounds, LargeBounds, Pattern, Token, Tokens};
use websocket::{
    DecoderLimits, HostName, Hosts, Origin, Overflow, Pace, Pages, Ping, Rules, SocketLimits,
    Stale, code,
};

use super::{legacy, listen::Place};

/// What can be set besides the flags of every daemon.
#[derive(Args, Clone, Debug)]
pub(crate) struct Own {
    /// Settings of the relay that AceBase clusters used before, such as PORT=9163; flags, typed or
    /// in a file, go before them
    #[arg(value_name = "NAME=VALUE", value_parser = legacy::parse)]
    legacy: Vec<String>,

    /// Where AceBase clients connect; other addresses than loopback need a token, and TLS
    #[arg(long, value_name = "ADDRESS:PORT", value_delimiter = ',', default_values = ["127.0.0.1:9163", "[::1]:9163"])]
    pub(super) listen: Vec<Place>,

    /// File that the port of the first of these is written to
    #[arg(long, value_name = "FILE")]
    pub(super) port_file: Option<PathBuf>,

    /// Let other machines connect without TLS: whoever is between reads everything
    #[arg(long)]
    pub(super) insecure: bool,

    /// Whose pages may connect, such as `https://app.example`; without it none
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    origins: Vec<Origin>,

    /// Names of this machine besides `localhost` and addresses; of use where there is no token
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    hosts: Vec<HostName>,

    /// What clients must know; each of several is good. Others of this machine can read what is
    /// typed here: `--token-file` hides it
    #[arg(long, value_name = "TOKEN", value_parser = token)]
    token: Vec<String>,

    /// File with such tokens, one a line; lines that begin with `#` are none
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Token of one database
    #[arg(long, value_name = "DB=TOKEN", value_parser = parse_pair)]
    tokens: Vec<(String, String)>,

    /// Databases that are served, as names in which `*` stands for anything
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "*")]
    dbs: Vec<Pattern>,

    /// Where `/metrics` and `/healthz` are; its port is in `whois`
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0", value_parser = address)]
    pub(super) admin: SocketAddr,

    /// Say `hello` for newcomers, which AceBase's own client forgets: false turns it off
    #[arg(long, value_name = "BOOL", default_value = "true", action = clap::ArgAction::Set)]
    assist_hello: bool,

    /// In which databases
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_values = ["*_data", "*_transaction"])]
    assist_dbs: Vec<Pattern>,

    /// How large messages arrive: `inline` in a frame, or to be fetched (`get`), which the released
    /// client can't
    #[arg(long, value_name = "HOW", default_value = "inline")]
    large_delivery: Delivery,

    /// Directory for large messages that wait beyond `--large-memory` [default: that for temporary
    /// files]
    #[arg(long, value_name = "DIR")]
    large_dir: Option<PathBuf>,

    /// Speak TLS or do not start; what `SSL=1` sets
    #[arg(long, help_heading = "TLS")]
    pub(super) tls: bool,

    /// Certificate and those that vouch for it, in PEM
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(super) tls_cert: Option<PathBuf>,

    /// Key of the certificate, in PEM
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(super) tls_key: Option<PathBuf>,

    /// What the key is encrypted with
    #[arg(long, value_name = "PASSWORD", help_heading = "TLS")]
    pub(super) tls_key_password: Option<String>,

    /// Certificate and key in one file (PKCS#12), instead of those
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(super) tls_pfx: Option<PathBuf>,

    /// What that is encrypted with
    #[arg(long, value_name = "PASSPHRASE", help_heading = "TLS")]
    pub(super) tls_passphrase: Option<String>,

    /// Oldest version that is spoken
    #[arg(long, value_name = "VERSION", default_value = "1.2", help_heading = "TLS")]
    pub(super) tls_min: TlsVersion,

    /// Longest message over a WebSocket, in bytes, 1 KiB to 64 MiB; clients post longer ones
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 10, value_parser = payload, help_heading = "Limits")]
    max_payload: usize,

    /// The same where TLS is spoken, so that clients never post: they would do so without TLS
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20, value_parser = payload, help_heading = "Limits")]
    max_payload_tls: usize,

    /// Longest message that is posted, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 32 << 20, help_heading = "Limits")]
    max_post: usize,

    /// Bytes of messages that are being posted, all together
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20, help_heading = "Limits")]
    post_total: usize,

    /// Peers
    #[arg(long, value_name = "PEERS", default_value_t = 10_000, help_heading = "Limits")]
    max_peers: usize,

    /// Peers of one database
    #[arg(long, value_name = "PEERS", default_value_t = 2_000, help_heading = "Limits")]
    max_peers_per_db: usize,

    /// Databases with peers
    #[arg(long, value_name = "DBS", default_value_t = 1_000, help_heading = "Limits")]
    max_dbs: usize,

    /// Bytes that may wait for one peer; one that leaves more unread is closed
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20, value_parser = RangedU64ValueParser::<usize>::new().range(1..), help_heading = "Limits")]
    queue_bytes: usize,

    /// How long the oldest of what waits for a peer may wait, if it is more than 256 KiB
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration, help_heading = "Limits")]
    queue_age: Duration,

    /// Bytes that may wait for all peers over WebSockets; beyond it senders wait, and then those
    /// with most are closed. For guests of Common TCP it is `--waiting-bytes`
    #[arg(long, value_name = "BYTES", default_value_t = 512 << 20, help_heading = "Limits")]
    queue_total: usize,

    /// Bytes of messages over WebSockets that have begun to come and are not whole, all together;
    /// beyond it who has been at one for longest is closed
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20, help_heading = "Limits")]
    unfinished_total: usize,

    /// Bytes of messages to be fetched that are kept in memory
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, help_heading = "Limits")]
    large_memory: usize,

    /// Bytes of such messages in files, beyond that
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30, help_heading = "Limits")]
    large_disk: usize,

    /// Bytes of the last messages, kept in all databases in which somebody has listened, for who
    /// comes back; the oldest go first
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, help_heading = "Limits")]
    history_total: usize,

    /// Messages of one peer in a second; who sends more waits. 0 for any number
    #[arg(long, value_name = "MESSAGES", default_value_t = 0, help_heading = "Limits")]
    limit_msgs: u32,

    /// Bytes of one peer in a second. 0 for any number
    #[arg(long, value_name = "BYTES", default_value_t = 0, help_heading = "Limits")]
    limit_bytes: u32,

    /// How long a peer whose id somebody else wants is given to show that it lives
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_duration, help_heading = "Limits")]
    dup_probe: Duration,

    /// How long an end waits for peers to take what they were sent, and as long again for their
    /// answer; AceBase's clients end after 5 s before a door that does not open
    #[arg(long, value_name = "TIME", default_value = "1500ms", value_parser = parse_duration, help_heading = "Limits")]
    drain_time: Duration,

    /// Write the text of messages into the log, at `debug`; never tokens
    #[arg(long)]
    log_bodies: bool,
}

/// How a message arrives that is longer than a WebSocket's may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Delivery {
    /// As any other.
    Inline,
    /// It is told of, and fetched.
    Get,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TlsVersion {
    /// RFC 5246.
    #[value(name = "1.2")]
    Tls12,
    /// RFC 8446.
    #[value(name = "1.3")]
    Tls13,
}

/// What holds while the relay runs, until it is told otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) tokens: Tokens,
    pub(crate) dbs: Vec<Pattern>,
    pub(crate) max_payload: usize,
    pub(crate) max_payload_tls: usize,
    pub(crate) max_post: usize,
    pub(crate) post_total: usize,
    pub(crate) delivery: Delivery,
    pub(crate) large_dir: PathBuf,
    pub(crate) queue_total: usize,
    pub(crate) limit_msgs: u32,
    pub(crate) limit_bytes: u32,
    pub(crate) dup_probe: Duration,
    pub(crate) logs_bodies: bool,
    pub(crate) socket: SocketLimits,
}

/// How long large messages wait to be fetched.
const LARGE_TIME: Duration = Duration::from_secs(60);

/// With less waiting, nobody is slow.
const STALE_BYTES: usize = 256 << 10;

/// Connections that are no peers: they post, fetch, or have just come.
const OTHERS: usize = 1024;

/// How long a client may take to say what it wants, and how long to begin with a body.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who is silent is asked after so much time, and is gone after as much again.
const SILENCE: Duration = Duration::from_secs(15);

impl Own {
    /// What holds from now on.
    ///
    /// # Errors
    /// When the file with tokens can't be read, or the directory for large messages not be written
    /// to.
    pub(crate) fn terms(&self) -> Result<Terms, TermsError> {
        self.check_large_dir()?;
        Ok(Terms {
            tokens: self.read_tokens()?,
            dbs: self.dbs.clone(),
            max_payload: self.max_payload,
            max_payload_tls: self.max_payload_tls,
            max_post: self.max_post,
            post_total: self.post_total,
            delivery: self.large_delivery,
            large_dir: self.large_dir.clone().unwrap_or_else(std::env::temp_dir),
            queue_total: self.queue_total,
            limit_msgs: self.limit_msgs,
            limit_bytes: self.limit_bytes,
            dup_probe: self.dup_probe,
            logs_bodies: self.log_bodies,
            socket: self.socket(),
        })
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            peers: self.max_peers,
            peers_per_db: self.max_peers_per_db,
            dbs: self.max_dbs,
            history: self.history_total,
            greeted: if self.assist_hello { self.assist_dbs.clone() } else { Vec::new() },
        }
    }

    pub(crate) fn large(&self) -> LargeBounds {
        LargeBounds { memory: self.large_memory, disk: self.large_disk, time: LARGE_TIME }
    }

    /// The bounds of the door.
    pub(crate) fn door(&self) -> websocket::Limits {
        websocket::Limits {
            handshake: PATIENCE,
            connections: self.max_peers.saturating_add(OTHERS),
            files_percent: 45,
            connections_per_address: self.max_peers.saturating_add(OTHERS),
            unfinished_bytes: self.unfinished_total,
            socket: self.socket(),
            ping: Some(Ping { interval: SILENCE, most_lost: 1 }),
            end_code: code::RESTART,
            closing: self.drain_time,
            pace: Pace { patience: PATIENCE, bytes_per_second: 1 << 10 },
            ..websocket::Limits::default()
        }
    }

    /// Which pages may come in. A page that knows the token may come from anywhere it is let in
    /// from; without a token a name that is made to mean this machine must not be one of ours.
    pub(crate) fn rules(&self, has_token: bool) -> Rules {
        let hosts = if has_token { Hosts::Any } else { Hosts::Named(self.hosts.clone()) };
        let origins = self.origins.iter().cloned().map(Pages::Of).collect();
        Rules { hosts, origins, requires_origin: false }
    }

    fn socket(&self) -> SocketLimits {
        SocketLimits {
            incoming: DecoderLimits { message_bytes: self.max_payload, ..DecoderLimits::default() },
            queue_bytes: self.queue_bytes,
            queue_messages: usize::MAX,
            overflow: Overflow::Close,
            // Who sends is not who must read.
            pause_bytes: usize::MAX,
            stale: Some(Stale { age: self.queue_age, bytes: STALE_BYTES }),
        }
    }

    /// Else it would be seen when the first message has no room in memory, and is lost by that.
    fn check_large_dir(&self) -> Result<(), TermsError> {
        let Some(path) = &self.large_dir else { return Ok(()) };
        let failed = |source| TermsError::LargeDir { path: path.clone(), source };
        tempfile::tempfile_in(path).map(drop).map_err(failed)
    }

    fn read_tokens(&self) -> Result<Tokens, TermsError> {
        let mut all: Vec<_> = self.token.iter().map(|it| Token::new(it)).collect();
        if let Some(path) = &self.token_file {
            let read = |source| TermsError::Tokens { path: path.clone(), source };
            let text = fs::read_to_string(path).map_err(read)?;
            let is_token = |it: &&str| !it.is_empty() && !it.starts_with('#');
            let lines: Vec<_> = text.lines().map(str::trim).filter(is_token).collect();
            if lines.is_empty() {
                return Err(TermsError::NoToken(path.clone()));
            }
            all.extend(lines.into_iter().map(Token::new));
        }
        let of_db = self.tokens.iter().map(|(db, it)| (db.clone(), Token::new(it))).collect();
        Ok(Tokens { all, of_db })
    }
}

/// Why it is not known who may come in, and what becomes of what is large.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TermsError {
    #[error("cannot read tokens from `{}`", path.display())]
    Tokens { path: PathBuf, source: io::Error },

    #[error("`{}` holds no token", .0.display())]
    NoToken(PathBuf),

    #[error("cannot write large messages to `{}` (`--large-dir`)", path.display())]
    LargeDir { path: PathBuf, source: io::Error },
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "wanted ADDRESS:PORT, as in 127.0.0.1:9164 or [::1]:0")
}

fn token(text: &str) -> Result<String, String> {
    // As an unset variable makes it: nobody who names a token wants none.
    let is_empty = text.is_empty();
    let none = "a token has a character at least; without `--token` everybody here may come in";
    if is_empty { Err(none.to_owned()) } else { Ok(text.to_owned()) }
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(db, token)| !db.is_empty() && !token.is_empty());
    let (db, token) = pair.ok_or("wanted DB=TOKEN")?;
    Ok((db.to_owned(), token.to_owned()))
}

fn payload(text: &str) -> Result<usize, String> {
    let wanted = || format!("`{text}` is no number of bytes from 1024 to 67108864");
    let bytes = text.parse().map_err(|_| wanted())?;
    if (1 << 10..=64 << 20).contains(&bytes) { Ok(bytes) } else { Err(wanted()) }
}
