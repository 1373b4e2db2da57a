//! Passwords and tokens: made, shown once, kept as hashes.

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString},
};
use sha2::{Digest, Sha256};
use state::account::Secret;

/// What it costs to hash a password by argon2id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) memory_kib: u32,
    pub(crate) passes: u32,
    pub(crate) lanes: u32,
}

impl Default for Cost {
    fn default() -> Self {
        Self { memory_kib: 19 << 10, passes: 2, lanes: 1 }
    }
}

impl Cost {
    /// Whether argon2id can do it.
    pub(crate) fn is_possible(self) -> bool {
        self.params().is_some()
    }

    /// Hashes `password`. Takes some hundredth of a second and much memory, so not on the thread of
    /// the commands.
    pub(crate) fn hash(self, password: &str) -> Secret {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).expect("the kernel gives random bytes");
        let salt = SaltString::encode_b64(&salt).expect("16 bytes are a salt");
        let params = self.params().unwrap_or_default();
        let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash = hasher.hash_password(password.as_bytes(), &salt);
        Secret::new(hash.expect("any text may be a password").to_string())
    }

    /// Whether `hash` was made with less.
    pub(crate) fn is_above(self, hash: &Secret) -> bool {
        let Ok(hash) = PasswordHash::new(hash.reveal()) else { return true };
        let params = Params::try_from(&hash);
        !params.is_ok_and(|it| it.m_cost() >= self.memory_kib && it.t_cost() >= self.passes)
    }

    fn params(self) -> Option<Params> {
        Params::new(self.memory_kib, self.passes, self.lanes, None).ok()
    }
}

/// Whether `password` is what `hash` was made of. Takes as long as to make that.
pub(crate) fn verify(password: &str, hash: &Secret) -> bool {
    if let Some(is_right) = super::legacy::verify(password, hash.reveal()) {
        return is_right;
    }
    let Ok(hash) = PasswordHash::new(hash.reveal()) else { return false };
    Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
}

/// Reads a hash of argon2 as others write it: a PHC string.
pub(crate) fn parse_hash(text: &str) -> Result<Secret, String> {
    let wanted = || format!("`{text}` is no hash such as $argon2id$v=19$m=19456,t=2,p=1$…$…");
    let hash = PasswordHash::new(text).map_err(|_| wanted())?;
    let is_ours = Algorithm::try_from(hash.algorithm).is_ok() && Params::try_from(&hash).is_ok();
    let is_whole = hash.salt.is_some() && hash.hash.is_some();
    if is_ours && is_whole { Ok(Secret::new(text)) } else { Err(wanted()) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_alone() {
        let hash = Cost::default().hash("secret");
        assert!(hash.reveal().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(verify("secret", &hash));
        assert!(!verify("Secret", &hash));
        assert!(!verify("secret", &Secret::new("not a hash")));
        assert!(!Cost::default().is_above(&hash));
        assert!(Cost { passes: 3, ..Cost::default() }.is_above(&hash));
        assert!(!Cost { memory_kib: 7, ..Cost::default() }.is_possible());
    }

    #[test]
    fn a_hash_of_somebody_else_is_read_if_it_is_one() {
        let hash = Cost { memory_kib: 8, passes: 1, lanes: 1 }.hash("secret");
        assert!(verify("secret", &parse_hash(hash.reveal()).unwrap()));
        let without = hash.reveal().rsplit_once('$').unwrap().0;
        for text in ["", "secret", "$argon2id$v=19$m=19456", "$scrypt$ln=1$aaaa$bbbb", without] {
            assert!(parse_hash(text).is_err(), "{text}");
        }
    }
}
