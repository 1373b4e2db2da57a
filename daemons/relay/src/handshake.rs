use std::borrow::Cow;

use crate::{DbName, MASTER, Pattern, PeerId, Query, Tokens, decoded};

/// What a client says of itself when it connects, after everything about it was found right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Which database.
    pub db: DbName,
    /// Who it says it is; others may say so too.
    pub id: PeerId,
}

/// Why a client can't come in. What it shows its user depends on the status alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Only versions `1` and `1.*` of the protocol are spoken here.
    #[error("unsupported version {0:?}; this relay speaks 1")]
    Version(String),
    /// See [`PeerId`].
    #[error("{0:?} can't be an id: 5 to 128 bytes without `;`, spaces and control characters")]
    Id(String),
    /// The token is wrong or missing.
    #[error("wrong token")]
    Token,
    /// See [`DbName`], or it is none that is served here.
    #[error("no database {0:?} here")]
    Db(String),
    /// Another one with this id is there, and lives.
    #[error("`{0}` is connected already, and lives")]
    Taken(PeerId),
    /// There are as many peers or databases as there may be.
    #[error("no room: {0}")]
    Full(&'static str),
}

impl Handshake {
    /// Reads the name of a database, as it stands in a path, and the query behind it; `bearer` is
    /// the token if it came in a header.
    ///
    /// # Errors
    /// What is wrong first: the version, the id, the token, the database.
    pub fn read(
        db: &str,
        query: Query<'_>,
        bearer: Option<&str>,
        tokens: &Tokens,
        dbs: &[Pattern],
    ) -> Result<Self, Refusal> {
        let version = query.get("v").unwrap_or_default();
        if version != "1" && !version.starts_with("1.") {
            return Err(Refusal::Version(version.to_owned()));
        }
        let id = id_of(query.get("id").unwrap_or_default());
        let id = PeerId::read(&id).ok_or_else(|| Refusal::Id(id.into_owned()))?;
        let name = db_of(db, dbs);
        let token = bearer.or_else(|| query.get("t"));
        if !tokens.admit(name.as_ref().map_or(db, DbName::as_str), token) {
            return Err(Refusal::Token);
        }
        let db = name.ok_or_else(|| Refusal::Db(db.to_owned()))?;
        Ok(Self { db, id })
    }
}

impl Refusal {
    /// The status of HTTP that makes an AceBase client do what it should.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Version(_) | Self::Taken(_) => 409,
            Self::Id(_) => 500,
            Self::Token => 403,
            Self::Db(_) => 404,
            Self::Full(_) => 503,
        }
    }
}

/// An id as it is meant: some escape the brackets of the master's, and others don't.
#[must_use]
pub fn id_of(raw: &str) -> Cow<'_, str> {
    match decoded(raw) {
        id if id == MASTER => id,
        _ => raw.into(),
    }
}

/// The database that a path names, unescaped or as it is; `None` if it can't be one or is none of
/// `dbs`. Where `dbs` have both, as with `*`, it is the one that everybody else calls by its name.
#[must_use]
pub fn db_of(raw: &str, dbs: &[Pattern]) -> Option<DbName> {
    let is_served = |name: &str| dbs.iter().any(|it| it.has(name));
    let plain = decoded(raw);
    let name = [&*plain, raw].into_iter().find(|it| is_served(it))?;
    DbName::read(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Token;

    fn read(db: &str, query: &str) -> Result<(String, String), u16> {
        let tokens = Tokens { all: vec![Token::new("secret")], ..Tokens::default() };
        let dbs = ["mydb".parse().unwrap(), "my db".parse().unwrap()];
        let read = Handshake::read(db, Query::new(query), None, &tokens, &dbs);
        read.map(|it| (it.db.to_string(), it.id.to_string())).map_err(|it| it.status())
    }

    #[test]
    fn what_is_wrong_first_is_told() {
        let long = format!("v=1&id={}&t=secret", "x".repeat(129));
        for (db, query, status) in [
            ("mydb", "", 409),
            ("mydb", "v=2&id=x&t=wrong", 409),
            ("mydb", "v=10.0&id=abcde&t=secret", 409),
            ("mydb", "v=1.0.0&t=wrong", 500),
            ("mydb", "v=1.0.0&id=abcd&t=secret", 500),
            ("mydb", &long, 500),
            ("mydb", "v=1&id=ab;cde&t=secret", 500),
            ("mydb", "v=1&id=ctcp:1&t=secret", 500),
            ("other", "v=1&id=abcde&t=wrong", 403),
            ("mydb", "v=1&id=abcde", 403),
            ("other", "v=1&id=abcde&t=secret", 404),
            ("", "v=1&id=abcde&t=secret", 404),
        ] {
            assert_eq!(read(db, query), Err(status), "{db} {query}");
        }
    }

    #[test]
    fn who_says_everything_right_comes_in() {
        for (db, query, name, id) in [
            ("mydb", "v=1&id=abcde&t=secret", "mydb", "abcde"),
            ("mydb", "v=1.29.13&id=[master]&t=secret&x=y", "mydb", "[master]"),
            ("mydb", "v=1.0.0&id=%5Bmaster%5D&t=secret", "mydb", "[master]"),
            ("my%20db", "v=1.0.0&id=a%41cde&t=secret", "my db", "a%41cde"),
        ] {
            assert_eq!(read(db, query), Ok((name.to_owned(), id.to_owned())), "{db} {query}");
        }
    }
}
