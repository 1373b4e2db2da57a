//! Passwords and tokens: made, shown once, kept as hashes.

use std::collections::HashMap;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString},
};
use sha2::{Digest, Sha256};
use state::{
    account::{Secret, Time},
    name::UserName,
};

/// argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 << 10;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// So many wrong passwords of a user in [`WINDOW_MS`], then nobody can log in as that user for the
/// rest of it.
const FAILURES: u32 = 5;
const WINDOW_MS: Time = 60_000;

/// How many users with wrong passwords are remembered; beyond it the oldest windows are forgotten.
const REMEMBERED: usize = 10_000;

/// Hashes `password`. Takes some hundredth of a second and 19 MiB, so not on the thread of the
/// commands.
pub(crate) fn hash(password: &str) -> Secret {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).expect("the kernel gives random bytes");
    let salt = SaltString::encode_b64(&salt).expect("16 bytes are a salt");
    let hash = hasher().hash_password(password.as_bytes(), &salt);
    Secret::new(hash.expect("any text may be a password").to_string())
}

/// Whether `password` is what `hash` was made of. Takes as long as [`hash`].
pub(crate) fn verify(password: &str, hash: &Secret) -> bool {
    if let Some(is_right) = super::legacy::verify(password, hash.reveal()) {
        return is_right;
    }
    let Ok(hash) = PasswordHash::new(hash.reveal()) else { return false };
    hasher().verify_password(password.as_bytes(), &hash).is_ok()
}

/// Whether `hash` was made with less than is asked for now.
pub(crate) fn is_weak(hash: &Secret) -> bool {
    let Ok(hash) = PasswordHash::new(hash.reveal()) else { return true };
    let params = Params::try_from(&hash);
    !params.is_ok_and(|it| it.m_cost() >= MEMORY_KIB && it.t_cost() >= PASSES)
}

fn hasher() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("these are in range");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// What a token is kept as: it has 256 random bits, so a plain hash can't be reversed.
pub(crate) fn hash_of_token(token: &str) -> Secret {
    let digits = Sha256::digest(token.as_bytes()).into_iter().map(|it| format!("{it:02x}"));
    Secret::new(digits.collect::<String>())
}

/// So many random bytes, as hexadecimal digits.
pub(crate) fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).expect("the kernel gives random bytes");
    random.iter().map(|it| format!("{it:02x}")).collect()
}

/// Wrong passwords of the last minute, by user.
#[derive(Debug, Default)]
pub(crate) struct Attempts(HashMap<UserName, Window>);

#[derive(Debug)]
struct Window {
    since: Time,
    failures: u32,
}

impl Attempts {
    /// Whether another password of `user` may be tried at `now`.
    pub(crate) fn may_try(&self, user: &UserName, now: Time) -> bool {
        self.0.get(user).is_none_or(|it| it.is_over(now) || it.failures < FAILURES)
    }

    /// Counts a wrong password.
    pub(crate) fn failed(&mut self, user: &UserName, now: Time) {
        if self.0.len() >= REMEMBERED {
            self.0.retain(|_, it| !it.is_over(now));
        }
        if self.0.len() >= REMEMBERED && !self.0.contains_key(user) {
            self.0.clear();
        }
        let window = self.0.entry(user.clone()).or_insert(Window { since: now, failures: 0 });
        if window.is_over(now) {
            *window = Window { since: now, failures: 0 };
        }
        window.failures += 1;
    }

    /// Forgets what was wrong before.
    pub(crate) fn succeeded(&mut self, user: &UserName) {
        self.0.remove(user);
    }
}

impl Window {
    fn is_over(&self, now: Time) -> bool {
        now.saturating_sub(self.since) >= WINDOW_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_alone() {
        let hash = hash("secret");
        assert!(hash.reveal().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(verify("secret", &hash));
        assert!(!verify("Secret", &hash));
        assert!(!verify("secret", &Secret::new("not a hash")));
        assert!(!is_weak(&hash));
        assert!(is_weak(&Secret::new(hash.reveal().replace("t=2", "t=1"))));
    }

    #[test]
    fn five_wrong_passwords_a_minute_are_enough() {
        let (mut attempts, ann) = (Attempts::default(), UserName::new("ann").unwrap());
        for _ in 0..FAILURES {
            assert!(attempts.may_try(&ann, 1_000));
            attempts.failed(&ann, 1_000);
        }
        assert!(!attempts.may_try(&ann, 60_999));
        assert!(attempts.may_try(&UserName::new("bob").unwrap(), 1_000));
        assert!(attempts.may_try(&ann, 61_000));
        attempts.succeeded(&ann);
        assert!(attempts.may_try(&ann, 1_000));
    }
}
