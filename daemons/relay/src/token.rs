use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::decoded;

/// A secret that lets its holder in. Kept as a hash: where it lies in memory nobody can read it,
/// and all are of one length.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 32]);

/// The tokens of which any opens a database.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// Those that open every database.
    pub all: Vec<Token>,
    /// Those that open one database, by its name.
    pub of_db: Vec<(String, Token)>,
}

impl Token {
    /// The token whose text is `secret`.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Tokens {
    /// Whether a token is asked for at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.of_db.is_empty()
    }

    /// Whether `given`, as it is or unescaped, opens `db`. Without any token everything does; a
    /// database without one of its own, where others have one, is closed.
    ///
    /// Every token is compared to its end, whatever came before: how long it takes tells how many
    /// there are, and nothing of any of them.
    #[must_use]
    pub fn admit(&self, db: &str, given: Option<&str>) -> bool {
        if self.is_empty() {
            return true;
        }
        let given = given.unwrap_or_default();
        let hashes = [Token::new(given), Token::new(&decoded(given))];
        let is_open = |found: Choice, token: &Token, counts: bool| {
            let same = hashes.iter().fold(Choice::from(0), |same, it| same | it.0.ct_eq(&token.0));
            found | (same & Choice::from(u8::from(counts)))
        };
        let found = self.all.iter().fold(Choice::from(0), |found, it| is_open(found, it, true));
        let of_db = self.of_db.iter();
        of_db.fold(found, |found, (name, it)| is_open(found, it, name == db)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_of_the_tokens_opens_and_those_of_a_database_only_that() {
        let tokens = Tokens {
            all: vec![Token::new("old secret"), Token::new("new%secret")],
            of_db: vec![("mydb".to_owned(), Token::new("mine"))],
        };
        for (db, given, opens) in [
            ("mydb", Some("old secret"), true),
            ("mydb", Some("old%20secret"), true),
            ("other", Some("new%secret"), true),
            ("other", Some("new%25secret"), true),
            ("mydb", Some("mine"), true),
            ("other", Some("mine"), false),
            ("mydb", Some("old secre"), false),
            ("mydb", Some("old secrets"), false),
            ("mydb", Some(""), false),
            ("mydb", Some("undefined"), false),
            ("mydb", None, false),
        ] {
            assert_eq!(tokens.admit(db, given), opens, "{db} {given:?}");
        }
        assert!(Tokens::default().admit("mydb", Some("undefined")));
        assert!(Tokens::default().admit("mydb", None));
    }
}
