//! One subscriber: what it hears, and whether that was right.

use rustix::fd::OwnedFd;
use serde_json::Value;

use super::{
    faults::Faults,
    mirror::{Mirror, strings},
    plan,
};

pub(super) struct Reader {
    pub(super) number: usize,
    pub(super) socket: OwnedFd,
    /// A line that is not whole yet.
    rest: Vec<u8>,
    user: Option<usize>,
    mirror: Mirror,
    /// Of the last event, and of the last change.
    seq: u64,
    pub(super) rev: u64,
    /// Messages that came.
    pub(super) news: u64,
    pub(super) syncs: usize,
    /// It was told that it may not read the room any more.
    is_shut_out: bool,
    /// It was told that it may not read what it subscribed to.
    pub(super) is_revoked: bool,
    /// What it asked last is answered.
    pub(super) is_answered: bool,
}

impl Reader {
    pub(super) fn new(number: usize, user: Option<usize>, socket: OwnedFd) -> Self {
        Self {
            number,
            socket,
            rest: Vec::new(),
            user,
            mirror: Mirror::of(plan::prefix(number)),
            seq: 0,
            rev: 0,
            news: 0,
            syncs: 0,
            is_shut_out: false,
            is_revoked: false,
            is_answered: false,
        }
    }

    /// Comes back over another connection, with what it knows.
    pub(super) fn come_back(&mut self, socket: OwnedFd) {
        (self.socket, self.seq) = (socket, 0);
        self.rest.clear();
    }

    pub(super) fn prefix(&self) -> &[String] {
        self.mirror.prefix()
    }

    /// Whether it has heard all that there was to hear.
    pub(super) fn is_done(&self) -> bool {
        let end = self.mirror.value().and_then(|it| it.get("end"));
        self.is_revoked || end == Some(&Value::Bool(true))
    }

    /// Takes what came, line by line.
    pub(super) fn take(&mut self, bytes: &[u8], faults: &mut Faults) {
        self.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut self.rest);
        let mut lines = rest.split_inclusive(|it| *it == b'\n').peekable();
        while let Some(line) = lines.next_if(|it| it.ends_with(b"\n")) {
            self.hear(line, faults);
        }
        self.rest = lines.next().unwrap_or_default().to_vec();
    }

    fn hear(&mut self, line: &[u8], faults: &mut Faults) {
        let line = String::from_utf8_lossy(line);
        let (name, args) = line.trim_end().split_once(' ').unwrap_or_default();
        let mut args: Value = serde_json::from_str(args).unwrap_or_default();
        match name {
            "event" if faults.loses_this() => {}
            "event" => self.hear_event(&line, &mut args, faults),
            "get" if !self.is_revoked => self.compare(&args[0], faults),
            // Who was let in again is not told so: its subscription had ended.
            "get" if self.user.is_some_and(plan::is_let_in_again) => self.is_answered = true,
            "err" if self.is_revoked && args[0]["code"] == "not-found" => self.is_answered = true,
            "auth" | "subscribe" => {}
            _ => faults.note(self.number, "was told what nobody asked for", &line),
        }
    }

    fn hear_event(&mut self, line: &str, args: &mut Value, faults: &mut Faults) {
        let seq = args[2].as_u64().unwrap_or_default();
        if seq != self.seq + 1 {
            faults.note(self.number, "has a gap in its stream", line);
        }
        self.seq = seq;
        if self.user.is_some_and(plan::is_shut_out) && line.contains(plan::HIDDEN) {
            faults.note(self.number, "was told what it may not read", line);
        }
        match args[0].as_str() {
            Some("change") => self.hear_change(line, &mut args[1], faults),
            _ => {
                self.news += 1;
                if args[1]["payload"] != self.news {
                    faults.note(self.number, "has lost a message", line);
                }
            }
        }
    }

    fn hear_change(&mut self, line: &str, change: &mut Value, faults: &mut Faults) {
        let rev = change["rev"].as_u64().unwrap_or_default();
        if rev < self.rev {
            faults.note(self.number, "was told of an older revision", line);
        }
        self.rev = rev;
        self.syncs += usize::from(change["sync"] == true && change["reason"] != "perms");
        if change["lagged"] == true {
            faults.note(self.number, "was left behind, though it reads", line);
        }
        if self.is_unreadable(change) {
            faults.note(self.number, "was told of what it may not read", line);
        }
        if change["name"] == "revoked" {
            self.is_revoked = true;
        } else if let Err(why) = self.mirror.take(change) {
            faults.note(self.number, "cannot follow", &why);
        }
    }

    /// Whether it was told before that it may not read this; keeps in mind what it is told of that.
    fn is_unreadable(&mut self, change: &Value) -> bool {
        let path = strings(&change["path"]);
        let is_taken = path.get(1).is_some_and(|it| *it == plan::room(plan::TAKEN));
        if is_taken && change["reason"] == "perms" {
            self.is_shut_out = change["name"] == "delete";
        }
        let is_first = is_taken && change["reason"] == "perms";
        self.is_revoked || (is_taken && self.is_shut_out && !is_first)
    }

    /// Compares its mirror with what there is.
    fn compare(&mut self, found: &Value, faults: &mut Faults) {
        self.is_answered = true;
        let mirrored = self.mirror.value();
        if mirrored != Some(found) {
            let what = format!("{mirrored:?} where there is {found}");
            faults.note(self.number, "has a wrong mirror", &what);
        }
    }
}
