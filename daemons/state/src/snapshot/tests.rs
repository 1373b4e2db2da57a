//! A state goes through bytes unharmed, and other bytes are refused.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    State,
    account::Quota,
    fixture::{World, path},
    history::History,
    model,
    operation::Operation,
    record::{Act, Change, Record},
};

fn written(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.write(&mut bytes).unwrap();
    bytes
}

fn read(bytes: &[u8]) -> Result<State, SnapshotError> {
    State::read(&mut &bytes[..])
}

fn world() -> World {
    let long = "ä".repeat(300);
    let value = json!({
        "numbers": [0, 127, 128, u64::MAX, -1, i64::MIN, 1.5, -0.0, 1e300],
        "others": [null, true, false, "", long, {}, []],
    });
    let mut world = World::with(value, &[("", "bob:4"), ("numbers", "*:2!")]);
    world.must("bob", json!(["create", "", "e", 1, {"ephemeral": true}]));
    world.must("bob", json!(["gc", "x", [{"on": "after", "ms": 5}]]));
    let quota = Some(Quota { bytes: 5000, nodes: 100 });
    for name in ["one", "two"] {
        let history = History::new(name.to_owned());
        let act = Act { change: Change::Begin { history }, src: None, req: None };
        world.state.apply(&Record::new(0, None, vec![act])).unwrap();
    }
    world.does("boss", Operation::SetQuota { path: path("others"), quota }).unwrap();
    world
}

#[test]
fn a_state_comes_back_with_all_that_it_has() {
    let state = world().state;
    let back = read(&written(&state)).unwrap();
    assert_eq!(format!("{back:?}"), format!("{state:?}"));
    assert_eq!(written(&back), written(&state));
}

#[test]
fn an_older_program_reads_what_has_nothing_new_and_knows_the_rest_as_newer() {
    assert!(written(&State::default()).starts_with(START));
    assert!(written(&world().state).starts_with(START_2));
}

#[test]
fn bytes_that_end_too_early_or_go_wrong_are_refused() {
    let bytes = written(&world().state);
    for len in 0..bytes.len() {
        assert!(read(&bytes[..len]).is_err(), "cut at {len}");
    }
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0xff;
        // Some other values are values as well: whether bytes are whole is not asked here.
        if let Ok(state) = read(&bytes) {
            written(&state);
        }
    }
    assert!(matches!(read(b"state snapshot 3\n"), Err(SnapshotError::Start)));
}

#[test]
fn members_out_of_order_and_missing_nodes_are_refused() {
    let tree = |keys: &[u8; 2], nodes: u8| {
        read(&[START, b"N", &[8, 2, 1, keys[0], 0, 1, keys[1], 0, nodes]].concat())
    };
    assert!(tree(b"ab", 3).is_ok());
    for damaged in [tree(b"ba", 3), tree(b"aa", 3), tree(b"ab", 4)] {
        assert!(matches!(damaged, Err(SnapshotError::Damaged(_))));
    }
}

proptest! {
    /// Whatever was done, the state read back goes on exactly as the one that was written.
    #[test]
    fn any_state_comes_back(commits in prop::collection::vec(model::commit(), 1..20)) {
        let mut world = World::with(json!({}), &[("", "*:3"), ("", "bob:4")]);
        for (user, commands) in commits {
            let before = read(&written(&world.state)).unwrap();
            let mut other = World { state: before, ..world.clone() };
            drop(world.batch(user, json!(commands)));
            drop(other.batch(user, json!(commands)));
            prop_assert_eq!(written(&other.state), written(&world.state));
        }
    }

    /// No bytes make it panic.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = [START, b"N", &bytes].concat();
        drop(read(&bytes));
    }
}
