//! Passwords, keys and tokens -> what is kept of them, and whether they are the right ones.

use argon2::Argon2;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use std::fmt;
use subtle::ConstantTimeEq as _;

const KEY_PREFIX: &str = "psx-";
const SECRET_BYTES: usize = 32;

/// A text of the settings that nobody is shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { "<secret>" })
    }
}

/// What is kept of a password, with what it was made with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PasswordHash {
    /// Kibibytes, passes and lanes of argon2id, version 0x13.
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
    hash: String,
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<password>")
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        // It waits until the kernel has randomness, and then never fails.
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty()).unwrap_or_default();
    }
    bytes
}

pub(super) fn random_token() -> String {
    URL_SAFE_NO_PAD.encode(random::<SECRET_BYTES>())
}

/// Of 256 random bits, which nobody guesses: a slow hash would add nothing.
pub(super) fn hash(secret: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(secret))
}

pub(super) fn is_equal(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// `psx-` and base64 of the id as a varint and of random bytes, as clients know it.
pub(super) fn new_key(id: u64) -> String {
    let mut bytes = Vec::new();
    let mut rest = id;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes.extend(random::<SECRET_BYTES>());
    format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

pub(super) fn id_of_key(key: &str) -> Option<u64> {
    let encoded = key.strip_prefix(KEY_PREFIX).filter(|encoded| encoded.len() <= 64)?;
    let bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
    let varint = bytes.get(..bytes.len().checked_sub(SECRET_BYTES)?)?;
    let mut id = 0_u64;
    for (place, byte) in varint.iter().enumerate() {
        id |= u64::from(byte & 0x7f).checked_shl(place as u32 * 7)?;
    }
    varint.last().is_some_and(|last| last & 0x80 == 0).then_some(id)
}

pub(super) fn hash_password(password: &str) -> PasswordHash {
    let params = argon2::Params::default();
    let salt = random::<16>();
    let hash = argon2id(password, &salt, params.clone()).unwrap_or_else(random);
    PasswordHash {
        memory_kib: params.m_cost(),
        passes: params.t_cost(),
        lanes: params.p_cost(),
        salt: URL_SAFE_NO_PAD.encode(salt),
        hash: URL_SAFE_NO_PAD.encode(hash),
    }
}

fn argon2id(password: &str, salt: &[u8], params: argon2::Params) -> Option<[u8; 32]> {
    let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let mut hash = [0; 32];
    argon2.hash_password_into(password.as_bytes(), salt, &mut hash).ok()?;
    Some(hash)
}

/// False, after as long a time, where there is no hash.
pub(super) fn verify(password: &str, hash: Option<&PasswordHash>) -> bool {
    let Some(hash) = hash else {
        argon2id(password, &[0; 16], argon2::Params::default());
        return false;
    };
    let made = || {
        let params = argon2::Params::new(hash.memory_kib, hash.passes, hash.lanes, None).ok()?;
        argon2id(password, &URL_SAFE_NO_PAD.decode(&hash.salt).ok()?, params)
    };
    made().is_some_and(|made| is_equal(&URL_SAFE_NO_PAD.encode(made), &hash.hash))
}
