//! All that the server keeps, at one revision.

use std::{ops::Deref, sync::Arc};

use crate::{
    account::{Account, Quota, Secret, Token, TokenId},
    actor::Actor,
    history::{Histories, History},
    level::Rank,
    map::Map,
    name::UserName,
    node::{Node, Revision},
    path::Path,
    permission::Subject,
    tokens::Tokens,
    trigger::{Registration, RegistrationId, Trigger},
};

/// Everything at one revision. A copy is a pointer and never changes, so it is what readers and
/// snapshots are given.
#[derive(Clone, Debug, Default)]
pub struct State(Arc<Parts>);

/// What a state consists of. What is large is shared by the states before and after.
#[derive(Clone, Debug)]
pub struct Parts {
    pub(crate) revision: Revision,
    pub(crate) histories: Histories,
    pub(crate) root: Node,
    pub(crate) accounts: Map<UserName, Account>,
    pub(crate) tokens: Tokens,
    pub(crate) registrations: Map<RegistrationId, Registration>,
    /// The same by what fires them; follows from `registrations`.
    pub(crate) triggers: Map<(Trigger, RegistrationId), ()>,
    /// Those that go with their nodes, by where these are; follows from `registrations`.
    pub(crate) ephemeral: Map<(Path, RegistrationId), ()>,
    pub(crate) quotas: Map<Path, Quota>,
    pub(crate) next_registration: RegistrationId,
}

impl Default for Parts {
    /// Before the first commit: an empty object, and nobody.
    fn default() -> Self {
        Self {
            revision: 0,
            histories: Histories::default(),
            root: Node::object(),
            accounts: Map::default(),
            tokens: Tokens::default(),
            registrations: Map::default(),
            triggers: Map::default(),
            ephemeral: Map::default(),
            quotas: Map::default(),
            next_registration: 1,
        }
    }
}

impl Deref for State {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl State {
    /// To be changed: copied before, unless nobody else has it.
    pub(crate) fn parts_mut(&mut self) -> &mut Parts {
        Arc::make_mut(&mut self.0)
    }

    /// Of the last commit.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The history that goes on here; `None` is one that was never restored or imported.
    pub fn history(&self) -> Option<&History> {
        self.histories.current()
    }

    /// Whether all that somebody knows of `history` up to `revision` is as it was here: he may be
    /// told what came then.
    pub fn has_been(&self, history: Option<&History>, revision: Revision) -> bool {
        self.histories.has(history, revision)
    }

    /// The tree.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The account of `user`.
    pub fn account(&self, user: &UserName) -> Option<&Account> {
        self.accounts.get(user)
    }

    /// All accounts by name.
    pub fn accounts(&self) -> impl Iterator<Item = (&UserName, &Account)> {
        self.accounts.iter()
    }

    /// The token that is called `id`.
    pub fn token(&self, id: &TokenId) -> Option<&Token> {
        self.tokens.get(id)
    }

    /// All tokens.
    pub fn tokens(&self) -> impl Iterator<Item = (&TokenId, &Token)> {
        self.tokens.iter()
    }

    /// The tokens of `user`.
    pub fn tokens_of<'a>(
        &'a self,
        user: &'a UserName,
    ) -> impl Iterator<Item = (&'a TokenId, &'a Token)> {
        self.tokens.of(user)
    }

    /// The token that is kept as `hash`.
    pub fn token_by_hash(&self, hash: &Secret) -> Option<(&TokenId, &Token)> {
        self.tokens.known_by(hash)
    }

    /// The registration that is called `id`.
    pub fn registration(&self, id: RegistrationId) -> Option<&Registration> {
        self.registrations.get(&id)
    }

    /// All registrations.
    pub fn registrations(&self) -> impl Iterator<Item = (&RegistrationId, &Registration)> {
        self.registrations.iter()
    }

    /// Whether anything waits for anything.
    pub fn has_registrations(&self) -> bool {
        !self.registrations.is_empty()
    }

    /// The quota that was set for `path` itself.
    pub fn quota(&self, path: &Path) -> Option<Quota> {
        self.quotas.get(path).copied()
    }

    /// How permissions see `user`, by his rank of this moment.
    pub fn subject(&self, user: Option<&UserName>) -> Subject {
        let rank = user.and_then(|it| self.account(it)).map(|it| it.rank);
        Subject { user: user.cloned(), is_root: rank == Some(Rank::Root), cap: None }
    }

    /// How permissions see who asks. The server itself may do everything.
    pub fn judge(&self, actor: &Actor) -> Subject {
        let subject = self.subject(actor.user.as_ref());
        let is_root = subject.is_root || actor.is_server();
        Subject { is_root, cap: actor.cap.clone(), ..subject }
    }

    /// Those who may do everything.
    pub fn root_accounts(&self) -> impl Iterator<Item = &UserName> {
        self.accounts.iter().filter(|(_, it)| it.rank == Rank::Root).map(|it| it.0)
    }

    /// How many accounts may do everything.
    pub(crate) fn roots(&self) -> usize {
        self.root_accounts().count()
    }
}
