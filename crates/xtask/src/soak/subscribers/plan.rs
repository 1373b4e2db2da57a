//! Who is who: users, what each subscribes to, and from whom something is taken away.

use serde_json::{Value, json};

/// How many users there are; as many sessions of each as State allows where all are there.
pub(super) const USERS: usize = 100;

/// Parts of the tree; half of all subscribe to one of them, the others to everything.
pub(super) const ROOMS: usize = 20;

/// The room that is taken away from some.
pub(super) const TAKEN: usize = 5;

/// What it has while they may not read it.
pub(super) const HIDDEN: &str = "hidden";

/// Nobody of the crowd is this user: they do not hear all that is sent to them.
pub(super) const DEAF: usize = 9;
pub(super) const RETURNING: usize = 19;

pub(super) fn name(user: usize) -> String {
    format!("script:root/u{user}")
}

/// Who subscriber `number` is; every tenth is nobody.
pub(super) fn user(number: usize) -> Option<usize> {
    (number % 10 != 9).then_some(number % USERS)
}

/// What subscriber `number` subscribes to.
pub(super) fn prefix(number: usize) -> Vec<String> {
    match (number / USERS).is_multiple_of(2) {
        true => vec!["doc".into()],
        false => vec!["doc".into(), room(number / 7)],
    }
}

/// The name of a room.
pub(super) fn room(number: usize) -> String {
    format!("room{:02}", number % ROOMS)
}

/// Whether the room is taken away from `user`, and whether he gets it back.
pub(super) fn is_shut_out(user: usize) -> bool {
    user % 10 < 3
}

pub(super) fn is_let_in_again(user: usize) -> bool {
    user.is_multiple_of(10)
}

/// What there is at first: `end` comes to be true when nothing more will change.
pub(super) fn doc() -> Value {
    let rooms = (0..ROOMS).map(|it| (room(it), json!({ "v": 0, "end": false, "items": {} })));
    let mut doc: serde_json::Map<String, Value> = rooms.collect();
    doc.insert("end".into(), false.into());
    doc.into()
}
