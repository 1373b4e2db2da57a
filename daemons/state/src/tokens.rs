//! All tokens: by what they are called, by what they are known by, and by whose they are.

use crate::{
    account::{Secret, Token, TokenId},
    map::Map,
    name::UserName,
};

/// The tokens of all users. A copy costs next to nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {
    all: Map<TokenId, Token>,
    /// Both follow from `all`.
    by_hash: Map<Secret, TokenId>,
    by_user: Map<(UserName, TokenId), ()>,
}

impl Tokens {
    pub(crate) fn get(&self, id: &TokenId) -> Option<&Token> {
        self.all.get(id)
    }

    /// The one that is kept as `hash`.
    pub(crate) fn known_by(&self, hash: &Secret) -> Option<(&TokenId, &Token)> {
        let id = self.by_hash.get(hash)?;
        self.all.get(id).map(|it| (id, it))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&TokenId, &Token)> {
        self.all.iter()
    }

    pub(crate) fn of<'a>(
        &'a self,
        user: &'a UserName,
    ) -> impl Iterator<Item = (&'a TokenId, &'a Token)> {
        let from = (user.clone(), TokenId::new());
        let ids = self.by_user.iter_from(&from).map(|it| it.0).take_while(move |it| it.0 == *user);
        ids.filter_map(|it| self.all.get(&it.1).map(|token| (&it.1, token)))
    }

    pub(crate) fn set(&mut self, id: TokenId, token: Token) {
        self.remove(&id);
        self.by_hash.set(token.hash.clone(), id.clone());
        self.by_user.set((token.user.clone(), id.clone()), ());
        self.all.set(id, token);
    }

    pub(crate) fn remove(&mut self, id: &TokenId) {
        let Some(token) = self.all.remove(id) else { return };
        if self.by_hash.get(&token.hash) == Some(id) {
            self.by_hash.remove(&token.hash);
        }
        self.by_user.remove(&(token.user, id.clone()));
    }

    /// Removes those of `user` that `are_gone`.
    pub(crate) fn remove_of(&mut self, user: &UserName, are_gone: impl Fn(&Token) -> bool) {
        let gone = self.of(user).filter(|it| are_gone(it.1));
        let gone: Vec<TokenId> = gone.map(|it| it.0.clone()).collect();
        gone.iter().for_each(|it| self.remove(it));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::user;

    fn token(name: &str, hash: &str) -> Token {
        let (hash, user) = (Secret::new(hash), user(name));
        let (path, level, expires, service) = (None, None, None, None);
        Token { hash, user, path, level, expires, service, is_own: false }
    }

    fn ids(tokens: &Tokens, name: &str) -> Vec<String> {
        tokens.of(&user(name)).map(|it| it.0.clone()).collect()
    }

    #[test]
    fn a_token_is_found_by_each_of_its_marks_until_it_is_gone() {
        let mut tokens = Tokens::default();
        for (id, name, hash) in [("1", "ann", "a"), ("2", "bob", "b"), ("3", "ann", "c")] {
            tokens.set(id.to_owned(), token(name, hash));
        }
        let known =
            |tokens: &Tokens, hash| tokens.known_by(&Secret::new(hash)).map(|it| it.0.clone());
        assert_eq!(known(&tokens, "c"), Some("3".to_owned()));
        assert_eq!(
            (ids(&tokens, "ann"), ids(&tokens, "an")),
            (vec!["1".into(), "3".into()], vec![])
        );
        tokens.set("3".to_owned(), token("bob", "d"));
        assert_eq!((known(&tokens, "c"), known(&tokens, "d")), (None, Some("3".to_owned())));
        assert_eq!(ids(&tokens, "bob"), ["2", "3"]);
        tokens.remove_of(&user("bob"), |it| it.hash == Secret::new("b"));
        assert_eq!((known(&tokens, "b"), ids(&tokens, "bob")), (None, vec!["3".to_owned()]));
        assert_eq!(tokens.iter().count(), 2);
    }
}
