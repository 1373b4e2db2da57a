//! Where a commit changed something, and what kind of change it was there.

use crate::{
    node::Kind,
    path::{Path, Segment},
    record::{Act, Change},
    state::State,
};

/// An act with its number in the record.
pub(super) type Numbered<'a> = (usize, &'a Act);

/// A place that changed between two states.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    pub(super) path: Path,
    /// Above which everything below may have moved: an element that goes moves those behind it.
    pub(super) reach: Path,
    pub(super) kind: PlaceKind,
    /// What was done there, and inside it.
    pub(super) acts: Vec<Numbered<'a>>,
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
    /// Where an act changes something that can be watched.
    pub(super) fn of((number, act): Numbered<'a>, before: &State) -> Option<Self> {
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
        let reach = match path.split() {
            Some((parent, _)) if kind == PlaceKind::Delete && is_array(before, &parent) => parent,
            _ => path.clone(),
        };
        Some(Self { path, reach, kind, acts: vec![(number, act)] })
    }

    /// Where it matters that an act changed a user's rank.
    pub(super) fn everywhere(act: Numbered<'a>) -> Self {
        let (path, reach) = (Path::ROOT, Path::ROOT);
        Self { path, reach, kind: PlaceKind::Perms, acts: vec![act] }
    }

    /// The number of the first act.
    pub(super) fn number(&self) -> usize {
        self.acts.first().map_or(0, |it| it.0)
    }

    /// Whether permissions were changed there, alone or among other things.
    pub(super) fn has_permits(&self) -> bool {
        let is_permit = |it: &Numbered<'_>| matches!(it.1.change, Change::Permit { .. });
        self.kind == PlaceKind::Perms || self.acts.iter().any(is_permit)
    }

    /// Whether an element of an array went, so that there may be another in its place.
    pub(super) fn is_element(&self) -> bool {
        self.reach.len() < self.path.len()
    }

    /// Whether something that a subscription's prefix stands for may have been replaced as a whole.
    pub(super) fn is_above(&self, prefix: &[Segment]) -> bool {
        let goes_through = prefix.len() > self.reach.len() && prefix.starts_with(&self.reach);
        if !self.is_element() {
            return goes_through;
        }
        let index = |it: &[Segment]| it.get(self.reach.len()).and_then(Segment::as_index);
        goes_through && index(prefix) >= index(&self.path)
    }

    /// The same, standing for all that may have changed around it.
    pub(super) fn lifted(self, before: &State, after: &State) -> Self {
        let mut place = self.out_of_arrays(before, after);
        // Parents that were made for it are told with it: it may be hidden itself, and they not.
        let is_new = |len: &usize| before.root.at(&place.path[..*len]).is_none();
        if let Some(len) = (0..place.path.len()).find(is_new) {
            place.path = place.path.up_to(len);
            place.kind = PlaceKind::Create;
        }
        place.reach = place.path.clone();
        place
    }

    /// The same, as a change of the whole array if it is in one: elements may have moved.
    pub(super) fn out_of_arrays(mut self, before: &State, after: &State) -> Self {
        let is_array =
            |len: &usize| [before, after].iter().any(|it| is_array(it, &self.path[..*len]));
        if let Some(len) = (0..self.path.len()).find(is_array) {
            self.path = self.path.up_to(len);
            self.kind = PlaceKind::Update;
        }
        self
    }
}

fn is_array(state: &State, path: &[Segment]) -> bool {
    matches!(state.root.at(path).map(crate::node::Node::kind), Some(Kind::Array(_)))
}

/// The places of `acts`, each lifted between the states around all of them: those that lie in
/// another are part of it.
pub(super) fn places<'a>(acts: impl Iterator<Item = Place<'a>>) -> Vec<Place<'a>> {
    let mut places: Vec<Place<'a>> = Vec::new();
    for place in acts {
        let is_inner = |it: &Place<'_>| it.path.starts_with(&place.path);
        let (inner, outer): (Vec<_>, Vec<_>) = places.into_iter().partition(is_inner);
        places = outer;
        match places.iter_mut().find(|it| place.path.starts_with(&it.path)) {
            Some(outer) => join(outer, place),
            None => places.push(inner.into_iter().rev().fold(place, around)),
        }
    }
    places.iter_mut().for_each(|it| it.acts.sort_by_key(|it| it.0));
    places
}

/// Adds to `outer` what happened later inside it.
fn join<'a>(outer: &mut Place<'a>, inner: Place<'a>) {
    outer.kind = match (outer.kind, inner.kind) {
        (PlaceKind::Perms, PlaceKind::Perms) => PlaceKind::Perms,
        (PlaceKind::Create, _) => PlaceKind::Create,
        _ => PlaceKind::Update,
    };
    outer.acts.extend(inner.acts);
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
    outer.acts.extend(inner.acts);
    outer
}
