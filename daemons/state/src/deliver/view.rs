//! What one subscriber can see of a change.

use crate::{
    deliver::{
        changed_rank,
        place::{Numbered, Place, PlaceKind, places},
    },
    entry::Who,
    event::{Event, Happening},
    level::Level,
    node::Node,
    path::{Path, Segment},
    pattern::Pattern,
    permission::Subject,
    record::Change,
    state::State,
    subscription::Subscriber,
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
        if self.sees(len, path) { self.subject.readable(&self.state.root, path) } else { None }
    }

    /// Whether something may be read there.
    fn sees(&self, len: usize, path: &[Segment]) -> bool {
        self.state.root.at(path).is_some() && self.subject.sees(&self.state.root, len, path)
    }
}

/// An event with the number of the act that it comes from, by which events are sorted. What is
/// told of permissions follows all values.
pub(super) type Placed = ((bool, usize), Event);

impl<'a> View<'a> {
    pub(super) fn new(subscriber: &Subscriber, before: &'a State, after: &'a State) -> Self {
        let side = |state: &'a State| Side { subject: subscriber.subject(state), state };
        Self { before: side(before), after: side(after) }
    }

    /// What somebody who watches `pattern` is told of `acts`. It is the same whether or not there
    /// are others among them that he can't see.
    pub(super) fn events(&self, pattern: &Pattern, acts: &[Numbered<'_>]) -> Vec<Placed> {
        let prefix = pattern.prefix();
        let is_own = |it: &&Numbered<'_>| {
            changed_rank(it.1).is_some() && changed_rank(it.1) == self.after.subject.user.as_ref()
        };
        let ranked = acts.iter().find(is_own).filter(|_| self.has_other_rank());
        let whole = ranked.map(|it| Place::everywhere(*it));
        let changes = whole.into_iter().chain(self.places(&prefix, acts)).filter_map(|place| {
            let event = self.change(&place, pattern, prefix.clone())?;
            Some(((false, place.number()), event))
        });
        changes.chain(self.permits(pattern, &prefix, acts)).collect()
    }

    /// Whether the subscriber is ROOT in one state and not in the other, or loses all entries.
    fn has_other_rank(&self) -> bool {
        let account = |side: &Side<'_>| {
            side.subject.user.as_ref().is_some_and(|it| side.state.account(it).is_some())
        };
        self.before.subject != self.after.subject || account(&self.before) != account(&self.after)
    }

    /// The places that changed as far as they are seen from `prefix`.
    fn places<'b>(&self, prefix: &[Segment], acts: &[Numbered<'b>]) -> Vec<Place<'b>> {
        let seen: Vec<_> = acts.iter().filter_map(|it| self.noticed(prefix, *it)).collect();
        match &seen[..] {
            // What happened alone is told as it was commanded.
            [(alone, _)] if self.is_seen(prefix, alone) => {
                seen.into_iter().map(|it| it.0).collect()
            }
            _ => places(seen.into_iter().map(|it| it.1)),
        }
    }

    /// The place of an act that may have changed what is seen from `prefix`, alone and among
    /// others.
    fn noticed<'b>(&self, prefix: &[Segment], act: Numbered<'b>) -> Option<(Place<'b>, Place<'b>)> {
        if let Change::Permit { who: Who::User(name), .. } = &act.1.change
            && Some(name) != self.after.subject.user.as_ref()
        {
            return None;
        }
        let place = Place::of(act, self.before.state)?;
        let lifted = place.clone().lifted(self.before.state, self.after.state);
        let is_permit = place.kind == PlaceKind::Perms;
        let is_seen = self.is_seen(prefix, if is_permit { &place } else { &lifted });
        is_seen.then_some((place, lifted))
    }

    /// Whether a place is above the prefix, or can be seen from there before or after.
    fn is_seen(&self, prefix: &[Segment], place: &Place<'_>) -> bool {
        let len = prefix.len();
        let is_above = place.reach.len() < len && prefix.starts_with(&place.reach);
        is_above || self.before.sees(len, &place.path) || self.after.sees(len, &place.path)
    }

    /// The last act of a place that the subscriber sees himself; what others did there, and how
    /// they called it, is not his business.
    fn origin(&self, prefix: &[Segment], place: &Place<'_>) -> Option<crate::event::Origin> {
        let is_seen = |act: &&Numbered<'_>| {
            let place = Place::of(**act, self.before.state);
            let place = place.map(|it| it.out_of_arrays(self.before.state, self.after.state));
            place.is_none_or(|it| self.is_seen(prefix, &it))
        };
        let act = place.acts.iter().rev().find(is_seen).or_else(|| place.acts.last());
        act.map(|it| it.1.into())
    }

    /// The `updatePerms` events: for owners who see the node.
    fn permits(
        &self,
        pattern: &Pattern,
        prefix: &[Segment],
        acts: &[Numbered<'_>],
    ) -> impl Iterator<Item = Placed> {
        acts.iter().filter_map(|(number, act)| {
            let Change::Permit { path, who, entry } = &act.change else { return None };
            let is_about = path.len() >= prefix.len() && pattern.leads_along(path);
            let is_owner = self.after.level(path) == Level::Owner;
            let is_told = is_about && is_owner && self.after.sees(prefix.len(), path);
            let (path, who, entry) = (path.clone(), who.clone(), *entry);
            let event = event(Happening::UpdatePerms { path, who, entry });
            is_told.then(|| ((true, *number), Event { origin: Some((*act).into()), ..event }))
        })
    }

    fn change(&self, place: &Place<'_>, pattern: &Pattern, prefix: Path) -> Option<Event> {
        if !pattern.agrees(&place.reach) {
            return None;
        }
        let (has_permits, is_above) = (place.has_permits(), place.is_above(&prefix));
        let is_at_prefix = is_above || has_permits && place.path == prefix;
        let told = if is_at_prefix { prefix.clone() } else { place.path.clone() };
        let (happening, is_sync) = if is_at_prefix {
            (self.at_prefix(told.clone(), has_permits)?, is_above)
        } else {
            self.in_scope(place, pattern, &prefix, has_permits)?
        };
        let is_revoked = matches!(happening, Happening::Revoked { .. });
        let is_by_perms = is_revoked || has_permits && self.may_read_other_parts(&prefix, &told);
        let origin = self.origin(&prefix, place);
        Some(Event { is_sync: is_sync && !is_revoked, is_by_perms, origin, ..event(happening) })
    }

    /// Whether the permissions themselves have changed something for the subscriber, and not only
    /// something else in the same commit.
    fn may_read_other_parts(&self, prefix: &[Segment], path: &[Segment]) -> bool {
        let before = (&self.before.subject, &self.before.state.root);
        let after = (&self.after.subject, &self.after.state.root);
        !Subject::reads_alike(before, after, prefix.len(), path)
    }

    /// What changed at the prefix by something above it, or by permissions.
    fn at_prefix(&self, path: Path, has_permits: bool) -> Option<Happening> {
        let could_read = self.before.level(&path) >= Level::Viewer;
        let can_read = self.after.level(&path) >= Level::Viewer;
        if has_permits && could_read && !can_read {
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
        pattern: &Pattern,
        prefix: &Path,
        has_permits: bool,
    ) -> Option<(Happening, bool)> {
        let (len, path) = (prefix.len(), place.path.clone());
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
        if has_permits {
            return self.difference(len, path).map(|it| (as_creation(it, is_new), false));
        }
        let happening = match self.after.visible(len, &path) {
            // A member that went may have come again, by acts that are seen by nobody.
            Some(value) if !place.is_element() => Happening::Update { path, value },
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
