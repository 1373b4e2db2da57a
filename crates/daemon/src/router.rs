use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::HashMap,
    fmt,
    hash::{BuildHasherDefault, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use common_tcp::{Failure, Packet, Unreadable, encode_err, in_one_line};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::{
    Guest,
    argument::Call,
    command::{Command, Declaration},
    common::Common,
    handler::{Later, Ran},
    login,
};

/// Name → command: finds what a packet asks for, runs it, and writes the one reply that it gets.
pub(crate) struct Router<S> {
    pub(crate) common: Common,
    pub(crate) state: S,
    pub(crate) commands: ByName<Entry<S>>,
}

/// Something by the name of a command. The names are ours, so the hash needs no protection against
/// names made to collide, and short ones are what it must be fast for.
pub(crate) type ByName<T> = HashMap<&'static str, T, BuildHasherDefault<Fnv>>;

/// FNV-1a.
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A command of every daemon, or of this one.
pub(crate) enum Entry<S> {
    Common(Command<Common>),
    Own(Command<S>),
}

/// What came of a packet.
pub(crate) enum Routed<'a> {
    /// The reply is written.
    Answered,
    /// What is written instead is a failure.
    Failed,
    /// The arguments are no JSON; the rest of the line is to be discarded.
    Unreadable(Unreadable),
    /// The command waits for something.
    Running(Running<'a>),
}

/// A command that waits, and what its reply needs.
pub(crate) struct Running<'a> {
    pub(crate) tag: Option<String>,
    pub(crate) future: Later<'a>,
    declaration: &'a Declaration,
}

impl Running<'_> {
    /// Whether it ends when its guest has gone.
    pub(crate) fn only_waits(&self) -> bool {
        self.declaration.only_waits
    }
}

impl<S: 'static> Entry<S> {
    pub(crate) fn declaration(&self) -> &Declaration {
        match self {
            Self::Common(command) => &command.declaration,
            Self::Own(command) => &command.declaration,
        }
    }
}

impl<S: 'static> Router<S> {
    /// Runs what `packet` asks for, and appends the reply to `out` unless it must be waited for.
    pub(crate) fn route<'a>(
        &'a self,
        guest: &Guest,
        packet: &Packet<'_>,
        out: &mut Vec<u8>,
    ) -> Routed<'a> {
        let Some(entry) = self.commands.get(packet.name) else {
            return self.refuse(packet, out, || self.unknown(packet.name));
        };
        let declaration = entry.declaration();
        if declaration.needs_auth && !guest.is_authenticated() {
            return self.refuse(packet, out, || self.auth_required(declaration.name));
        }
        if declaration.is_login
            && let Err(failure) = login::begin(guest)
        {
            return self.refuse(packet, out, || failure);
        }
        let (index, refused) = (Cell::new(0), RefCell::new(None));
        let call = Call { guest, tag: packet.tag, index, refused };
        if declaration.is_stream() {
            guest.outbox().take_ended(out);
        }
        let start = out.len();
        write_head(out, declaration.reply, packet.tag);
        let mut run = || match entry {
            Entry::Common(command) => command.run(&self.common, &call, packet.args, out),
            Entry::Own(command) => command.run(&self.state, &call, packet.args, out),
        };
        let run = || if declaration.is_login { login::guarded(guest, run()) } else { run() };
        let result = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ran::Done(result)) => result,
            Ok(Ran::Later(future)) => {
                out.truncate(start);
                let tag = packet.tag.map(str::to_owned);
                return Routed::Running(Running { tag, future, declaration });
            }
            Ok(Ran::Misfit(misfit)) => {
                out.truncate(start);
                guest.outbox().abandon(packet.tag);
                return self.refuse(packet, out, || {
                    let refused = call.refused.take();
                    refused.unwrap_or_else(|| misfit_of(declaration, &call, packet, &misfit))
                });
            }
            Err(panic) => Err(panicked(panic.as_ref())),
        };
        match self.complete(guest, declaration, packet.tag, start, result, out) {
            true => Routed::Answered,
            false => Routed::Failed,
        }
    }

    /// Appends the reply of a command that was waited for; false if it failed.
    pub(crate) fn finish(
        &self,
        guest: &Guest,
        running: &Running<'_>,
        result: Result<Vec<u8>, Failure>,
        out: &mut Vec<u8>,
    ) -> bool {
        let start = out.len();
        let tag = running.tag.as_deref();
        write_head(out, running.declaration.reply, tag);
        let result = result.map(|args| out.extend(args));
        self.complete(guest, running.declaration, tag, start, result, out)
    }

    /// Ends the reply whose arguments are written behind `start`, or replaces it by `err`: then
    /// false.
    fn complete(
        &self,
        guest: &Guest,
        declaration: &Declaration,
        tag: Option<&str>,
        start: usize,
        result: Result<(), Failure>,
        out: &mut Vec<u8>,
    ) -> bool {
        let limit = self.common.limits.result_bytes;
        let result = result.and_then(|()| match out.len() - start <= limit {
            true => Ok(()),
            false => {
                Err(Failure::new("too-large", format!("the result has more than {limit} bytes"))
                    .with("limit", limit))
            }
        });
        match result {
            Ok(()) => {
                in_one_line(&mut out[start..]);
                out.push(b'\n');
                if declaration.is_stream() {
                    guest.outbox().open(tag);
                }
                true
            }
            Err(failure) => {
                out.truncate(start);
                if declaration.is_stream() {
                    guest.outbox().abandon(tag);
                }
                encode_err(out, tag, &logged(failure).of_command(declaration.name));
                false
            }
        }
    }

    /// Answers with a failure, unless the arguments are no JSON: then that is what is wrong.
    fn refuse(
        &self,
        packet: &Packet<'_>,
        out: &mut Vec<u8>,
        failure: impl FnOnce() -> Failure,
    ) -> Routed<'static> {
        if let Err(why) = check_json(packet) {
            return Routed::Unreadable(why);
        }
        encode_err(out, packet.tag, &failure().of_command(packet.name));
        Routed::Failed
    }

    fn unknown(&self, name: &str) -> Failure {
        let failure = Failure::new("unknown-command", format!("no command is called `{name}`"));
        match crate::nearest::nearest(name, self.common.options.keys().copied()) {
            Some(hint) => failure.with("hint", hint),
            None => failure,
        }
    }

    fn auth_required(&self, name: &str) -> Failure {
        let form = if self.common.auth == "user" {
            "[\"<user>\",\"<password>\"]"
        } else {
            "[\"<token>\"]"
        };
        Failure::new("auth-required", format!("{name}: say `auth {form}` first"))
    }
}

impl Running<'_> {
    /// The failure of a command that panicked while it was waited for.
    pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Failure {
        panicked(panic)
    }
}

impl fmt::Debug for Running<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{:?}", self.declaration.name, self.tag)
    }
}

pub(crate) fn write_head(out: &mut Vec<u8>, name: &str, tag: Option<&str>) {
    out.extend_from_slice(name.as_bytes());
    if let Some(tag) = tag {
        out.push(b'#');
        out.extend_from_slice(tag.as_bytes());
    }
    out.push(b' ');
}

/// Says which argument doesn't fit, or that their number doesn't.
fn misfit_of(
    declaration: &Declaration,
    call: &Call<'_>,
    packet: &Packet<'_>,
    misfit: &serde_json::Error,
) -> Failure {
    let (name, min, max) = (declaration.name, declaration.min(), declaration.max());
    let got = packet.parse::<Vec<&RawValue>>().map_or(0, |args| args.len());
    if got < min || max.is_some_and(|max| got > max) {
        let wanted = match max {
            Some(max) if max == min => format!("{min} argument{}", if min == 1 { "" } else { "s" }),
            Some(max) => format!("{min} to {max} arguments"),
            None => format!("at least {min} arguments"),
        };
        return Failure::new("bad-arity", format!("{name}: expected {wanted}, got {got}"))
            .with("min", min)
            .with("max", max)
            .with("got", got);
    }
    let index = call.index.get();
    let said = misfit.to_string();
    let said = said.split(" at line ").next().unwrap_or(&said);
    let message = format!("{name}: `{}`: {said}", declaration.arg(index));
    Failure::bad_argument(index, declaration.kind(index), message)
}

/// Whether the arguments are JSON, and where they are not.
fn check_json(packet: &Packet<'_>) -> Result<(), Unreadable> {
    match packet.parse::<Vec<IgnoredAny>>() {
        Ok(_) => Ok(()),
        Err(error) => {
            let what = error.to_string();
            let what = what.split(" at line ").next().unwrap_or(&what).to_owned();
            // Arguments have no line feed, so the column is the offset.
            let at = packet.args_at + error.column().saturating_sub(1);
            Err(Unreadable::BadJson { at, what })
        }
    }
}

/// Writes to the log what the guest must not see, and gives the guest the reference to it.
fn logged(failure: Failure) -> Failure {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let Some(detail) = failure.detail() else { return failure };
    let id = format!("{:x}-{}", std::process::id(), LAST.fetch_add(1, Relaxed) + 1);
    tracing::error!(id, detail, "a command failed inside");
    failure.with("id", id)
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Failure::internal(format!("panicked: {}", text.unwrap_or("without a text")))
}
