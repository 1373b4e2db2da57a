//! Which registrations are due, and when the next one is.
//!
//! What is due is then done by [`Operation::Fire`](crate::Operation::Fire), many in a commit, each
//! decided with the permissions of that moment. The end of an account is not here: the commit that
//! ends it makes what waited for that due by time.

use crate::{
    account::Time,
    actor::SessionId,
    name::UserName,
    state::State,
    trigger::{RegistrationId, Trigger},
};

/// Something that may fire triggers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// It is this late.
    Time(Time),
    /// A session has ended.
    Disconnected(SessionId),
    /// A free message was sent.
    Emitted {
        /// What it was called.
        name: String,
        /// Who sent it.
        src: UserName,
    },
    /// The server starts: no session of before is left, and time has passed.
    Started(Time),
}

impl State {
    /// The registrations that `occasion` fires, each once.
    pub fn due(&self, occasion: &Occasion) -> Vec<RegistrationId> {
        if !self.has_registrations() {
            return Vec::new();
        }
        let mut due = match occasion {
            Occasion::Time(now) => self.overdue(*now),
            Occasion::Disconnected(session) => self.fired_by(&Trigger::Disconnect(session.clone())),
            Occasion::Emitted { name, src } => {
                self.fired_by(&Trigger::Event(name.clone(), src.clone()))
            }
            Occasion::Started(now) => {
                let mut due = self.overdue(*now);
                due.extend(self.left_by_sessions());
                due
            }
        };
        let mut known = std::collections::BTreeSet::new();
        due.retain(|it| known.insert(*it));
        due
    }

    /// When [`Occasion::Time`] fires something next, at `from` or later.
    pub fn next_time(&self, from: Time) -> Option<Time> {
        let from = (Trigger::At(from), 0);
        match self.triggers.iter_from(&from).next()?.0 {
            (Trigger::At(time), _) => Some(*time),
            _ => None,
        }
    }

    /// Which registration is due first by time, or was.
    pub fn first_timed(&self) -> Option<RegistrationId> {
        match self.triggers.iter().next()?.0 {
            (Trigger::At(_), id) => Some(*id),
            _ => None,
        }
    }

    fn overdue(&self, now: Time) -> Vec<RegistrationId> {
        let is_due = |trigger: &Trigger| matches!(trigger, Trigger::At(time) if *time <= now);
        self.triggers.iter().map_while(|it| is_due(&it.0.0).then_some(it.0.1)).collect()
    }

    fn left_by_sessions(&self) -> Vec<RegistrationId> {
        let from = (Trigger::Disconnect("".into()), 0);
        let triggers = self.triggers.iter_from(&from).map(|it| it.0);
        triggers.map_while(|(it, id)| matches!(it, Trigger::Disconnect(_)).then_some(*id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixture::{World, user};

    fn world() -> World {
        let mut world = World::with(json!({"a": 1}), &[("", "bob:4"), ("", "carol:4")]);
        for (who, triggers) in [
            ("bob", json!([{"on": "after", "ms": 50}, {"on": "disconnect"}])),
            ("bob#2", json!([{"on": "disconnect"}])),
            ("bob", json!([{"on": "at", "time": 1020}, {"on": "at", "time": 1030}])),
            ("bob", json!([{"on": "event", "name": "done"}])),
            ("bob", json!([{"on": "event", "name": "done", "src": "carol"}])),
        ] {
            world.must(who, json!(["gc", "a", triggers]));
        }
        world
    }

    fn emitted(name: &str, src: &str) -> Occasion {
        Occasion::Emitted { name: name.into(), src: user(src) }
    }

    #[test]
    fn each_occasion_fires_what_waits_for_it() {
        let state = world().state;
        let cases = [
            (Occasion::Time(1019), vec![]),
            (Occasion::Time(1020), vec![3]),
            (Occasion::Time(1040), vec![3]),
            (Occasion::Time(1050), vec![3, 1]),
            (Occasion::Disconnected("bob".into()), vec![1]),
            (Occasion::Disconnected("bob#2".into()), vec![2]),
            (Occasion::Disconnected("bo".into()), vec![]),
            (emitted("done", "bob"), vec![4]),
            (emitted("done", "carol"), vec![5]),
            (emitted("other", "bob"), vec![]),
            (Occasion::Started(1020), vec![3, 1, 2]),
            (Occasion::Started(0), vec![1, 2]),
        ];
        for (occasion, expected) in cases {
            assert_eq!(state.due(&occasion), expected, "{occasion:?}");
        }
    }

    #[test]
    fn when_the_first_fires_all_of_a_registration_are_gone() {
        let mut world = world();
        assert_eq!([0, 1021].map(|it| world.state.next_time(it)), [Some(1020), Some(1030)]);
        world.does("", crate::Operation::Fire { id: 3 }).unwrap();
        assert_eq!(world.state.next_time(0), Some(1050));
        world.does("", crate::Operation::Fire { id: 1 }).unwrap();
        assert_eq!(world.state.next_time(0), None);
        assert!(world.state.due(&Occasion::Disconnected("bob".into())).is_empty());
    }
}
