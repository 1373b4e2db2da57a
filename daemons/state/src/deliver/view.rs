//! What one subscriber can see of a change.

use crate::{
    deliver::place::{Place, PlaceKind},
    event::{Event, Happening},
    level::Level,
    node::Node,
    path::{Path, Segment},
    permission::Subject,
    record::Change,
    state::State,
    subscription::{Subscriber, Subscription},
};

/// One subscriber between two states.
pub(super) struct View<'a> {
    before: Side<'a>,
    after: Side<'a>,
}

/// One subscriber at one state.
struct Side<'a> {
    subject: Subject,
    state: &'a State,
}

impl Side<'_> {
    fn level(&self, path: &[Segment]) -> Level {
        self.subject.level(&self.state.root, path)
    }

    /// What may be read at `path`, in what is told of a prefix of `len` segments.
    fn visible(&self, len: usize, path: &[Segment]) -> Option<Node> {
        self.state.root.at(path)?;
        let sees = self.subject.sees(&self.state.root, len, path);
        if sees { self.subject.readable(&self.state.root, path) } else { None }
    }
}

impl<'a> View<'a> {
    pub(super) fn new(subscriber: &Subscriber, before: &'a State, after: &'a State) -> Self {
        let side = |state: &'a State| Side { subject: subscriber.subject(state), state };
        Self { before: side(before), after: side(after) }
    }

    /// Whether the subscriber is ROOT in one state and not in the other, or loses all entries.
    pub(super) fn has_other_rank(&self) -> bool {
        let account = |side: &Side<'_>| {
            side.subject.user.as_ref().is_some_and(|it| side.state.account(it).is_some())
        };
        self.before.subject != self.after.subject || account(&self.before) != account(&self.after)
    }

    /// What a subscription is told of a place; nothing, one event, or one with `updatePerms`.
    pub(super) fn events(&self, place: &Place<'_>, subscription: &Subscription) -> Vec<Event> {
        let prefix = subscription.pattern.prefix();
        if !subscription.pattern.agrees(&place.reach) {
            return Vec::new();
        }
        let mut events = self.permits(place, subscription, &prefix);
        events.extend(self.change(place, subscription, prefix));
        events
    }

    /// The `updatePerms` events of a place: for owners who see the node.
    fn permits(&self, place: &Place<'_>, subscription: &Subscription, prefix: &Path) -> Vec<Event> {
        let mut events = Vec::new();
        for act in &place.permits {
            let Change::Permit { path, who, entry } = &act.change else { continue };
            let is_about = path.len() >= prefix.len() && subscription.pattern.leads_along(path);
            let is_owner = self.after.level(path) == Level::Owner;
            if is_about && is_owner && self.after.visible(prefix.len(), path).is_some() {
                let (path, who, entry) = (path.clone(), who.clone(), *entry);
                let event = event(Happening::UpdatePerms { path, who, entry });
                events.push(Event { origin: Some((*act).into()), ..event });
            }
        }
        events
    }

    fn change(
        &self,
        place: &Place<'_>,
        subscription: &Subscription,
        prefix: Path,
    ) -> Option<Event> {
        if place.is_of_others(self.after.subject.user.as_ref()) {
            return None;
        }
        let is_by_perms = place.kind == PlaceKind::Perms || !place.permits.is_empty();
        let is_above = place.is_above(&prefix);
        let (happening, is_sync) = if is_above || is_by_perms && place.path == prefix {
            self.at_prefix(prefix, is_by_perms).map(|it| (it, is_above))?
        } else {
            self.in_scope(place, subscription, &prefix, is_by_perms)?
        };
        let is_sync = is_sync && !matches!(happening, Happening::Revoked { .. });
        let origin = Some(place.act.into());
        Some(Event { is_sync, is_by_perms, origin, ..event(happening) })
    }

    /// What changed at the prefix by something above it, or by permissions.
    fn at_prefix(&self, path: Path, is_by_perms: bool) -> Option<Happening> {
        let could_read = self.before.level(&path) >= Level::Viewer;
        let can_read = self.after.level(&path) >= Level::Viewer;
        if is_by_perms && could_read && !can_read {
            return Some(Happening::Revoked { path });
        }
        self.difference(path.len(), path)
    }

    /// What changed at `path` as it is seen from a prefix of `len` segments.
    fn difference(&self, len: usize, path: Path) -> Option<Happening> {
        match (self.before.visible(len, &path), self.after.visible(len, &path)) {
            (Some(before), Some(after)) if before.is_same(&after) => None,
            (_, Some(value)) => Some(Happening::Update { path, value }),
            (Some(_), None) => Some(Happening::Delete { path }),
            (None, None) => None,
        }
    }

    /// What a change at or below the prefix is told as, and whether that is a `sync`.
    fn in_scope(
        &self,
        place: &Place<'_>,
        subscription: &Subscription,
        prefix: &Path,
        is_by_perms: bool,
    ) -> Option<(Happening, bool)> {
        let (pattern, len, path) = (&subscription.pattern, prefix.len(), place.path.clone());
        // Who watches what contains a new node is told of it.
        let holds_new = place.kind == PlaceKind::Create && path.len() == pattern.steps().len() + 1;
        let is_about = pattern.leads_along(&path) || holds_new && pattern.agrees(&path);
        if path.len() < len || !is_about {
            return None;
        }
        let is_new = place.kind == PlaceKind::Create;
        if is_new && path == *prefix {
            let value = self.after.visible(len, &path)?;
            return Some((Happening::Update { path, value }, true));
        }
        if is_by_perms {
            return self.difference(len, path).map(|it| (as_creation(it, is_new), false));
        }
        let happening = match self.after.visible(len, &path) {
            Some(value) if place.kind != PlaceKind::Delete => Happening::Update { path, value },
            _ => {
                self.before.visible(len, &path)?;
                Happening::Delete { path }
            }
        };
        Some((as_creation(happening, is_new), false))
    }
}

/// What is told of a new node.
fn as_creation(happening: Happening, is_new: bool) -> Happening {
    match happening {
        Happening::Update { path, value } if is_new => match path.split() {
            Some((parent, name)) => Happening::Create { path: parent, name: name.clone(), value },
            None => Happening::Update { path, value },
        },
        other => other,
    }
}

fn event(happening: Happening) -> Event {
    Event::new(Vec::new(), 0, happening)
}
