//! Passwords of accounts that came from a leilo-backend, until their first login here.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use state::leilo::is_legacy;

/// Whether `password` is what `hash` was made of, `sha1$salt$rounds$digest`; nothing if it is no
/// such hash. Each round is an HMAC of the hexadecimal digits of the one before.
pub(super) fn verify(password: &str, hash: &str) -> Option<bool> {
    if !is_legacy(hash) {
        return None;
    }
    let mut parts = hash.split('$').skip(1);
    let (salt, rounds, digest) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
    let mut made = password.to_owned();
    for _ in 0..rounds {
        let mut mac = Hmac::<Sha1>::new_from_slice(salt.as_bytes()).ok()?;
        mac.update(made.as_bytes());
        made = mac.finalize().into_bytes().iter().map(|it| format!("{it:02x}")).collect();
    }
    let pairs = made.bytes().zip(digest.to_ascii_lowercase().into_bytes());
    Some(pairs.fold(0, |differing, (a, b)| differing | (a ^ b)) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_a_hash_that_was_made_elsewhere() {
        for hash in [
            "sha1$37dea33b$1$d01aa06f88efc67bdea167fc6bba1090c7139704",
            "sha1$d403571a$3$bc48d2064d23bbc2a99df0f9b32e7f039fc11728",
        ] {
            assert_eq!(verify("a secret", hash), Some(true));
            assert_eq!(verify("A secret", hash), Some(false));
        }
        assert_eq!(verify("pass", "$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA"), None);
    }
}
