//! Something for each session, by its id and by whose it is.

use std::collections::HashMap;

use state::{actor::SessionId, name::UserName};

/// All of a user are gone through without looking up any: each message goes to all of them.
#[derive(Debug)]
pub(super) struct BySession<T> {
    slots: Vec<Option<Slot<T>>>,
    free: Vec<usize>,
    by_id: HashMap<SessionId, usize>,
    /// Nobody is in it without a session.
    by_user: HashMap<UserName, Vec<usize>>,
}

/// Where a session is found without looking it up, as long as it is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(usize);

#[derive(Debug)]
struct Slot<T> {
    session: SessionId,
    user: Option<UserName>,
    value: T,
}

impl<T> BySession<T> {
    /// Adds a session of `user`, over what it had.
    pub(super) fn insert(&mut self, session: SessionId, user: Option<UserName>, value: T) -> Place {
        self.remove(&session);
        let at = self.free.pop().unwrap_or(self.slots.len());
        if let Some(user) = &user {
            self.by_user.entry(user.clone()).or_default().push(at);
        }
        self.by_id.insert(session.clone(), at);
        let slot = Some(Slot { session, user, value });
        match self.slots.get_mut(at) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        Place(at)
    }

    pub(super) fn remove(&mut self, session: &SessionId) -> Option<T> {
        let at = self.by_id.remove(session)?;
        let Slot { user, value, .. } = self.slots[at].take()?;
        self.free.push(at);
        if let Some(user) = user
            && let Some(own) = self.by_user.get_mut(&user)
        {
            own.retain(|it| *it != at);
            if own.is_empty() {
                self.by_user.remove(&user);
            }
        }
        Some(value)
    }

    pub(super) fn get(&self, session: &SessionId) -> Option<&T> {
        self.slots[*self.by_id.get(session)?].as_ref().map(|it| &it.value)
    }

    pub(super) fn get_mut(&mut self, session: &SessionId) -> Option<&mut T> {
        self.slots[*self.by_id.get(session)?].as_mut().map(|it| &mut it.value)
    }

    /// What is at `place`, if that is still the session's.
    pub(super) fn at_mut(&mut self, place: Place, session: &SessionId) -> Option<&mut T> {
        let slot = self.slots.get_mut(place.0)?.as_mut();
        slot.filter(|it| it.session == *session).map(|it| &mut it.value)
    }

    /// How many sessions of `user` there are.
    pub(super) fn count_of(&self, user: &UserName) -> usize {
        self.by_user.get(user).map_or(0, Vec::len)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&SessionId, &T)> {
        self.slots.iter().flatten().map(|it| (&it.session, &it.value))
    }

    /// Shows `visit` all sessions of `user`.
    pub(super) fn each_of(&mut self, user: &UserName, mut visit: impl FnMut(&SessionId, &mut T)) {
        for at in self.by_user.get(user).into_iter().flatten() {
            if let Some(slot) = &mut self.slots[*at] {
                visit(&slot.session, &mut slot.value);
            }
        }
    }
}

impl<T> Default for BySession<T> {
    fn default() -> Self {
        let (by_id, by_user) = (HashMap::new(), HashMap::new());
        Self { slots: Vec::new(), free: Vec::new(), by_id, by_user }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is there of `user`.
    fn of(sessions: &mut BySession<u32>, user: &str) -> Vec<u32> {
        let mut found = Vec::new();
        sessions.each_of(&UserName::new(user).unwrap(), |_, value| found.push(*value));
        found
    }

    #[test]
    fn each_session_is_found_by_its_id_and_by_whose_it_is_as_long_as_it_is_there() {
        let mut sessions = BySession::default();
        let user = |name| Some(UserName::new(name).unwrap());
        for (id, name, value) in [("a", "ann", 1), ("b", "bob", 2), ("c", "ann", 3)] {
            sessions.insert(id.into(), user(name), value);
        }
        sessions.insert("d".into(), None, 4);
        assert_eq!((of(&mut sessions, "ann"), of(&mut sessions, "bob")), (vec![1, 3], vec![2]));
        assert_eq!((sessions.remove(&"a".into()), sessions.remove(&"a".into())), (Some(1), None));
        // In the place of another one, and over itself.
        sessions.insert("e".into(), user("bob"), 5);
        sessions.insert("b".into(), user("ann"), 6);
        assert_eq!((of(&mut sessions, "ann"), of(&mut sessions, "bob")), (vec![3, 6], vec![5]));
        assert_eq!((sessions.get(&"d".into()), sessions.get(&"a".into())), (Some(&4), None));
        let place = sessions.insert("d".into(), None, 4);
        assert_eq!(sessions.at_mut(place, &"d".into()), Some(&mut 4));
        assert_eq!(sessions.at_mut(place, &"a".into()), None, "it is not its place any more");
        let mut left: Vec<u32> = sessions.iter().map(|it| *it.1).collect();
        left.sort_unstable();
        assert_eq!(left, [3, 4, 5, 6]);
        for id in ["b", "c", "d", "e"] {
            assert!(sessions.remove(&id.into()).is_some());
        }
        assert!(sessions.is_empty() && sessions.by_user.is_empty() && sessions.slots.len() == 4);
    }
}
