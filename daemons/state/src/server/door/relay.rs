//! One WebSocket and the guest it is inside: messages into lines, lines into messages.

use std::{
    collections::VecDeque,
    future::{pending, poll_fn},
    pin::pin,
    task::{Context, Poll},
};

use daemon::{Connection, Entrance, Packet};
use serde_json::value::RawValue;
use websocket::{CloseCode, Frame, Message, Sender, Socket, code};

use super::wire::{self, END, ERR, EVENT, Request};

/// Everything of one WebSocket. It holds what is under way and no more: while its peer does not
/// read, nothing is taken out of the daemon, where what waits has its bounds.
#[derive(Debug)]
pub(super) struct Relay {
    socket: Socket,
    sender: Sender,
    inside: Connection,
    entrance: Entrance,
    /// Untagged requests are answered in order, so this is all there is to know of them.
    waiting: VecDeque<Waiting>,
    stage: Stage,
    /// How many messages in a row were no requests.
    unreadable: u32,
    /// The daemon has let go of the guest: what it said before is all that there is.
    is_let_go: bool,
    /// The code of an error that may have been the daemon's last word.
    last_error: Option<CloseCode>,
}

/// What is to be answered next.
#[derive(Debug)]
enum Waiting {
    /// What the daemon says, under this id.
    Reply(Box<RawValue>),
    /// What could not be asked at all.
    Refused(Frame),
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Requests are taken.
    Open,
    /// Nothing more is taken; what was asked is answered, and then it is closed with this.
    Closing(CloseCode),
    /// The peer has gone; what it asked for is done all the same.
    Gone,
}

/// How it went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Some,
    None,
    /// The daemon says nothing more.
    Over,
}

/// Requests that may wait for their answers; beyond it nothing more is read.
const WAITING: usize = 256;

/// Bytes of requests that the daemon has not taken; beyond it nothing more is read.
const UNTAKEN_BYTES: usize = 32 << 10;

/// Bytes that the peer has not read; beyond it nothing is taken out of the daemon. What is taken
/// then is one packet more.
const UNREAD_BYTES: usize = 64 << 10;

/// Messages in a row that are no requests; then the peer is sent away, as with Common TCP.
const UNREADABLE: u32 = 16;

impl Relay {
    pub(super) fn new(socket: Socket, inside: Connection, entrance: Entrance) -> Self {
        let sender = socket.sender();
        Self {
            socket,
            sender,
            inside,
            entrance,
            waiting: VecDeque::new(),
            stage: Stage::Open,
            unreadable: 0,
            is_let_go: false,
            last_error: None,
        }
    }

    /// Carries to and fro until one side is over.
    pub(super) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        // Who has gone is told by what is dropped here, which knows why.
        if self.stage != Stage::Gone {
            self.sender.close(self.close_code(), "");
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let took = self.take_messages(cx);
            let read = self.poll_inside(cx);
            let handed = self.hand_back();
            if read == Progress::Over && !handed {
                return Poll::Ready(());
            }
            // The daemon counts it, as it counts what a guest of its own has not read.
            let kept = self.sender.queued_bytes() + self.inside.decoder().held_bytes();
            self.inside.keep(kept);
            if !took && read == Progress::None && !handed {
                return Poll::Pending;
            }
        }
    }

    /// Takes what the peer has sent, as far as there is room; writes to it in any case.
    fn take_messages(&mut self, cx: &mut Context<'_>) -> bool {
        let mut has_taken = false;
        while self.may_take() {
            match self.socket.poll_read(cx) {
                Poll::Pending => return has_taken,
                Poll::Ready(None) => self.stage = Stage::Gone,
                Poll::Ready(Some(Message::Binary(_))) => {
                    self.stage = Stage::Closing(code::UNSUPPORTED)
                }
                Poll::Ready(Some(Message::Text(text))) => {
                    let out = self.inside.halves().1;
                    let waiting = ask(text, out, &mut self.unreadable);
                    self.waiting.push_back(waiting);
                    if self.unreadable >= UNREADABLE {
                        self.stage = Stage::Closing(code::POLICY);
                    }
                }
            }
            has_taken = true;
        }
        if self.stage != Stage::Gone {
            // It wakes when there is room again, and never is done.
            let _ = pin!(self.socket.during(pending::<()>())).poll(cx);
            if self.socket.end().is_some() {
                self.stage = Stage::Gone;
                has_taken = true;
            }
        }
        has_taken
    }

    fn may_take(&self) -> bool {
        self.stage == Stage::Open
            && self.waiting.len() < WAITING
            && self.inside.unsent_bytes() < UNTAKEN_BYTES
    }

    /// Passes on what was taken, and reads what comes back as far as the peer has room.
    fn poll_inside(&mut self, cx: &mut Context<'_>) -> Progress {
        let before = self.inside.unsent_bytes();
        let has_written_all = match self.inside.poll_write(cx) {
            Poll::Ready(Ok(())) => true,
            // What the daemon said before it left is still there to be read.
            Poll::Ready(Err(_)) => {
                self.inside.forget_unsent();
                true
            }
            Poll::Pending => false,
        };
        if has_written_all && self.stage != Stage::Open {
            // Within a process it is done at once, and can't fail.
            drop(pin!(self.inside.finish()).poll(cx));
        }
        let has_written = self.inside.unsent_bytes() < before;
        // Who is sent away for what he keeps is so when he takes no more of it.
        self.is_let_go |= !self.has_room() && self.inside.poll_gone(cx).is_ready();
        if !self.has_room() {
            return if has_written { Progress::Some } else { Progress::None };
        }
        match self.inside.poll_read(cx, usize::MAX) {
            Poll::Ready(Ok(1..)) => Progress::Some,
            Poll::Ready(_) => Progress::Over,
            Poll::Pending if has_written => Progress::Some,
            Poll::Pending => Progress::None,
        }
    }

    fn has_room(&self) -> bool {
        self.stage == Stage::Gone || self.is_let_go || self.sender.queued_bytes() < UNREAD_BYTES
    }

    /// Gives the peer what has been read, as far as it has room.
    fn hand_back(&mut self) -> bool {
        let mut has_handed = self.refuse_first();
        while self.has_room()
            && let Some(read) = self.inside.next()
        {
            has_handed = true;
            // The daemon writes nothing else.
            let Ok(packet) = read else { continue };
            if self.stage == Stage::Gone {
                continue;
            }
            let frame = match packet.name {
                EVENT | END => wire::event(&packet),
                _ => {
                    self.last_error = close_code_of(&packet);
                    let id = match self.waiting.pop_front() {
                        Some(Waiting::Reply(id)) => Some(id),
                        _ => None,
                    };
                    Some(wire::answer(id.as_deref(), &packet))
                }
            };
            if let Some(frame) = frame {
                self.sender.reply(frame);
            }
            self.refuse_first();
        }
        has_handed
    }

    /// Answers what needs no daemon, once it is its turn.
    fn refuse_first(&mut self) -> bool {
        let mut has_refused = false;
        while let Some(Waiting::Refused(_)) = self.waiting.front()
            && let Some(Waiting::Refused(frame)) = self.waiting.pop_front()
        {
            self.sender.reply(frame);
            has_refused = true;
        }
        has_refused
    }

    fn close_code(&self) -> CloseCode {
        match self.stage {
            Stage::Closing(code) => code,
            _ if self.entrance.is_closed() => code::GOING_AWAY,
            _ => self.last_error.unwrap_or(code::NORMAL),
        }
    }
}

/// Passes on what `text` asks for, and says what is to be answered.
fn ask(text: &str, out: &mut Vec<u8>, unreadable: &mut u32) -> Waiting {
    match Request::read(text) {
        Ok(request) => {
            *unreadable = 0;
            request.write(out);
            Waiting::Reply(request.id.to_owned())
        }
        Err(why) => {
            *unreadable += 1;
            Waiting::Refused(wire::refusal(&why))
        }
    }
}

/// How a connection is closed after which the daemon said nothing more but this.
fn close_code_of(packet: &Packet<'_>) -> Option<CloseCode> {
    if packet.name != ERR {
        return None;
    }
    #[derive(serde::Deserialize)]
    struct Code {
        code: String,
    }
    let (Code { code },) = packet.parse().ok()?;
    match code.as_str() {
        "too-large" => Some(code::TOO_BIG),
        "busy" => Some(code::TRY_AGAIN),
        "timeout" | "denied" => Some(code::POLICY),
        _ => None,
    }
}
