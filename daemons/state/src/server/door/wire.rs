//! One object a message: `{"id","name","args"}` becomes a line, a line becomes `{"id","result"}`,
//! `{"id","error"}` or an event. Arguments and results go through as they are.

use std::borrow::Cow;

use daemon::{Failure, Packet, in_one_line, is_name};
use serde::Deserialize;
use serde_json::value::RawValue;
use websocket::Frame;

/// A request as it came.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) id: &'a RawValue,
    name: Cow<'a, str>,
    /// An array; without any there are no arguments.
    args: Option<&'a RawValue>,
}

/// A request that no line can be made of.
#[derive(Debug)]
pub(super) struct Unreadable<'a> {
    /// As far as it had one.
    pub(super) id: Option<&'a RawValue>,
    pub(super) why: Failure,
}

/// Members one by one, so that a request with a wrong one still is answered under its id.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

/// What a daemon says without being asked, or at the end of an answer that is an error.
pub(super) const EVENT: &str = "event";
pub(super) const END: &str = "end";
pub(super) const ERR: &str = "err";

/// The longest id: it is kept until the answer.
const ID_BYTES: usize = 256;

impl<'a> Request<'a> {
    /// Reads a message.
    pub(super) fn read(text: &'a str) -> Result<Self, Unreadable<'a>> {
        let without_id = |code, message: &str| {
            let why = Failure::new(code, message.to_owned());
            Unreadable { id: None, why }
        };
        // Serde would take an array for the members in order.
        if !text.trim_ascii_start().starts_with('{') {
            let message = "a request is an object: {\"id\",\"name\",\"args\"}";
            return Err(without_id("bad-args", message));
        }
        let Members { id, name, args } =
            serde_json::from_str(text).map_err(|it| without_id("bad-json", &it.to_string()))?;
        let id = id.filter(|it| is_id(it.get())).ok_or_else(|| {
            let message = format!("`id` is a number or a string, of at most {ID_BYTES} bytes");
            without_id("bad-args", &message)
        })?;
        let refused = |code, message| Unreadable { id: Some(id), why: Failure::new(code, message) };
        let name: Option<Cow<'a, str>> = name.and_then(|it| serde_json::from_str(it.get()).ok());
        let name = name.ok_or_else(|| refused("bad-args", "`name` is a string"))?;
        if name.is_empty() || !is_name(name.as_bytes()) {
            let message = "a name is a letter and up to 63 of letters, digits and `_-.:/`";
            return Err(refused("bad-name", message));
        }
        if args.is_some_and(|it| !it.get().starts_with('[')) {
            return Err(refused("bad-args", "`args` is an array"));
        }
        Ok(Self { id, name, args })
    }

    /// Appends the line of it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.name.as_bytes());
        out.push(b' ');
        let start = out.len();
        out.extend_from_slice(self.args.map_or("[]", RawValue::get).as_bytes());
        in_one_line(&mut out[start..]);
        out.push(b'\n');
    }
}

fn is_id(json: &str) -> bool {
    let is_kind = |first: &u8| *first == b'"' || *first == b'-' || first.is_ascii_digit();
    json.len() <= ID_BYTES && json.as_bytes().first().is_some_and(is_kind)
}

/// The answer to what was asked under `id`; an error without id is about the connection.
pub(super) fn answer(id: Option<&RawValue>, packet: &Packet<'_>) -> Frame {
    let kind = if packet.name == ERR { "error" } else { "result" };
    object(id, kind, only(packet.args))
}

/// Why something that was asked could not be passed on.
pub(super) fn refusal(unreadable: &Unreadable<'_>) -> Frame {
    let error = serde_json::to_string(&unreadable.why.to_wire());
    object(unreadable.id, "error", &error.unwrap_or_default())
}

/// What came unasked; none if it is not as a daemon says it.
pub(super) fn event(packet: &Packet<'_>) -> Option<Frame> {
    if packet.name == END {
        return Some(framed(&["{\"event\":\"end\",\"data\":", only(packet.args), "}"]));
    }
    let (topic, data, seq): (&RawValue, &RawValue, &RawValue) = packet.parse().ok()?;
    let pieces = ["{\"event\":", topic.get(), ",\"data\":", data.get(), ",\"seq\":", seq.get()];
    Some(framed(&[&pieces[..], &["}"]].concat()))
}

fn object(id: Option<&RawValue>, kind: &str, value: &str) -> Frame {
    let id = id.map_or("null", RawValue::get);
    framed(&["{\"id\":", id, ",\"", kind, "\":", value, "}"])
}

fn framed(pieces: &[&str]) -> Frame {
    Frame::text_with(|out| pieces.iter().for_each(|it| out.extend_from_slice(it.as_bytes())))
}

/// The one argument of a reply; null if there is none, and all of them if there are more.
fn only(args: &str) -> &str {
    let several: Result<Vec<&RawValue>, _> = serde_json::from_str(args);
    match several.as_deref() {
        Ok([]) => "null",
        Ok([one]) => one.get(),
        _ => args,
    }
}
