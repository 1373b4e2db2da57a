//! Where a commit changed something, and what kind of change it was there.

use crate::{
    entry::Who,
    name::UserName,
    node::{Kind, Node},
    path::{Path, Segment},
    record::{Act, Change},
    state::State,
};

/// A place that changed between two states.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    pub(super) path: Path,
    /// Above which everything below may have moved: an element that goes moves those behind it.
    pub(super) reach: Path,
    pub(super) kind: PlaceKind,
    /// Permission changes at or below it.
    pub(super) permits: Vec<&'a Act>,
    /// The last act there, which is told as the origin.
    pub(super) act: &'a Act,
}

/// What happened at a [`Place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlaceKind {
    /// A member or element is new.
    Create,
    /// A value was set.
    Update,
    /// Something went.
    Delete,
    /// Who may read it, and perhaps more.
    Perms,
}

impl<'a> Place<'a> {
    /// Where `act` changes something that can be watched.
    pub(super) fn of(act: &'a Act, before: &State) -> Option<Self> {
        let (path, kind) = match &act.change {
            Change::Create { path, name, .. } => {
                (path.below(name.clone()).ok()?, PlaceKind::Create)
            }
            Change::Update { path, .. } | Change::Merge { path, .. } => {
                (path.clone(), PlaceKind::Update)
            }
            Change::Delete { path } => (path.clone(), PlaceKind::Delete),
            Change::Permit { path, .. } => (path.clone(), PlaceKind::Perms),
            _ => return None,
        };
        let permits = if kind == PlaceKind::Perms { vec![act] } else { vec![] };
        let reach = match path.split() {
            Some((parent, _)) if kind == PlaceKind::Delete && is_array(before, &parent) => parent,
            _ => path.clone(),
        };
        Some(Self { path, reach, kind, permits, act })
    }

    /// Where it matters that `act` changed a user's rank.
    pub(super) fn everywhere(act: &'a Act) -> Self {
        let (path, reach) = (Path::ROOT, Path::ROOT);
        Self { path, reach, kind: PlaceKind::Perms, permits: Vec::new(), act }
    }

    /// Whether it is only about what others than `user` may do, which changes nothing for him.
    pub(super) fn is_of_others(&self, user: Option<&UserName>) -> bool {
        let is_of_other = |act: &&Act| match &act.change {
            Change::Permit { who: Who::User(name), .. } => Some(name) != user,
            _ => false,
        };
        let is_of_permits = self.kind == PlaceKind::Perms && !self.permits.is_empty();
        is_of_permits && self.permits.iter().all(is_of_other)
    }

    /// Whether something that a subscription's prefix stands for may have been replaced as a whole.
    pub(super) fn is_above(&self, prefix: &[Segment]) -> bool {
        let is_at_array = self.reach.len() < self.path.len();
        let goes_through = prefix.len() > self.reach.len() && prefix.starts_with(&self.reach);
        if !is_at_array {
            return goes_through;
        }
        let index = |it: &[Segment]| it.get(self.reach.len()).and_then(Segment::as_index);
        goes_through && index(prefix) >= index(&self.path)
    }
}

fn is_array(state: &State, path: &[Segment]) -> bool {
    matches!(state.root.at(path).map(Node::kind), Some(Kind::Array(_)))
}

/// The places of `acts` between the states around all of them: those that lie in another are part
/// of it, and what lies in an array is part of that, since elements may have moved.
pub(super) fn places<'a>(acts: &'a [Act], before: &State, after: &State) -> Vec<Place<'a>> {
    let mut places: Vec<Place<'a>> = Vec::new();
    let is_one = acts.iter().filter(|it| Place::of(it, before).is_some()).count() == 1;
    for act in acts {
        let Some(mut place) = Place::of(act, before) else { continue };
        if !is_one {
            lift(&mut place, before, after);
        }
        let (inner, outer): (Vec<_>, Vec<_>) =
            places.into_iter().partition(|it| it.path.starts_with(&place.path));
        places = outer;
        match places.iter_mut().find(|it| place.path.starts_with(&it.path)) {
            Some(outer) => join(outer, place),
            None => places.push(inner.into_iter().rev().fold(place, around)),
        }
    }
    places
}

/// Adds to `outer` what happened later inside it.
fn join<'a>(outer: &mut Place<'a>, inner: Place<'a>) {
    outer.kind = match (outer.kind, inner.kind) {
        (PlaceKind::Perms, PlaceKind::Perms) => PlaceKind::Perms,
        (PlaceKind::Create, _) => PlaceKind::Create,
        _ => PlaceKind::Update,
    };
    outer.permits.extend(inner.permits);
    outer.act = inner.act;
}

/// `outer` with what happened earlier inside it, or at the same path.
fn around<'a>(mut outer: Place<'a>, inner: Place<'a>) -> Place<'a> {
    if inner.path == outer.path {
        outer.kind = match (inner.kind, outer.kind) {
            (PlaceKind::Create, _) => PlaceKind::Create,
            (first, PlaceKind::Perms) => first,
            (PlaceKind::Perms, then) => then,
            _ => PlaceKind::Update,
        };
    } else if outer.kind == PlaceKind::Perms && inner.kind != PlaceKind::Perms {
        outer.kind = PlaceKind::Update;
    }
    outer.permits.splice(0..0, inner.permits);
    outer
}

/// Makes `place` stand for all that may have changed around it.
fn lift(place: &mut Place<'_>, before: &State, after: &State) {
    let array = (0..place.path.len())
        .find(|len| [before, after].iter().any(|it| is_array(it, &place.path[..*len])));
    if let Some(len) = array {
        place.path = place.path.up_to(len);
        place.kind = PlaceKind::Update;
    }
    // Parents that were made for it are told with it: it may be hidden itself, and they not.
    let new = (0..place.path.len()).find(|len| before.root.at(&place.path[..*len]).is_none());
    if let Some(len) = new {
        place.path = place.path.up_to(len);
        place.kind = PlaceKind::Create;
    }
    place.reach = place.path.clone();
}
