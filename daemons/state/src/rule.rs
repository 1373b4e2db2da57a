//! The decision table: what level an action needs at its path, and at what lies below it.

use crate::level::Level;

/// Something that may be done at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the command of its name; `keys` is asked as `get` is")]
pub enum Action {
    Get,
    Subscribe,
    Create,
    Update,
    Merge,
    Delete,
    UpdatePerms,
    Gc,
}

/// What an [`Action`] needs.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Which action.
    pub action: Action,
    /// At its path; of `create`, at what contains the new node.
    pub level: Level,
    /// At every node below the path that carries entries.
    pub guard: Option<Level>,
}

/// All rules.
pub const RULES: &[Rule] = &[
    Rule { action: Action::Get, level: Level::Viewer, guard: None },
    Rule { action: Action::Subscribe, level: Level::Viewer, guard: None },
    Rule { action: Action::Create, level: Level::Editor, guard: None },
    Rule { action: Action::Update, level: Level::Editor, guard: Some(Level::Editor) },
    Rule { action: Action::Merge, level: Level::Editor, guard: Some(Level::Editor) },
    Rule { action: Action::Delete, level: Level::Owner, guard: Some(Level::Owner) },
    Rule { action: Action::UpdatePerms, level: Level::Owner, guard: None },
    Rule { action: Action::Gc, level: Level::Owner, guard: None },
];

impl Action {
    /// The rule for this.
    pub fn rule(self) -> Rule {
        *RULES.iter().find(|it| it.action == self).expect("every action has a rule")
    }
}
