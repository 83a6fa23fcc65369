//! Users, keys and sessions, as they stand in the file.

use crate::access::secret::{self, PasswordHash};
use crate::access::{
    Error, First, Identity, MAX_ENTRIES, MAX_SESSIONS, MAX_USER_SESSIONS, NewKey, NewUser, Role,
    SESSION_MS,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Book {
    /// Of users and keys: an id is never given twice.
    last_id: u64,
    pub users: Vec<User>,
    pub keys: Vec<Key>,
    pub sessions: Vec<Session>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct User {
    pub id: u64,
    pub name: String,
    pub email: String,
    pub role: Role,
    pub tenant: String,
    pub(super) password: PasswordHash,
    pub has_initial_password: bool,
    pub is_disabled: bool,
    pub created_ms: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Key {
    pub id: u64,
    pub name: String,
    pub role: Role,
    pub tenant: String,
    pub(super) hash: String,
    pub created_ms: i64,
    pub expires_ms: Option<i64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Session {
    pub hash: String,
    pub user: u64,
    pub expires_ms: i64,
}

impl User {
    pub(super) fn identity(&self) -> Identity {
        Identity {
            name: self.name.clone(),
            role: self.role,
            tenant: self.tenant.clone(),
            user: Some(self.id),
            has_initial_password: self.has_initial_password,
        }
    }

    pub(super) fn is_admin(&self) -> bool {
        self.role == Role::Admin && !self.is_disabled
    }
}

impl Book {
    fn new_id(&mut self) -> Result<u64, Error> {
        if self.users.len() + self.keys.len() >= MAX_ENTRIES {
            return Err(Error::Full);
        }
        self.last_id += 1;
        Ok(self.last_id)
    }

    /// Makes the first user where there is no administrator, and gives a password of the settings to one who has that which
    /// everybody knows, whose sessions end. False where nothing is to be done.
    pub(super) fn ensure_first(&mut self, first: &First, now_ms: i64) -> bool {
        let initial = self.users.iter_mut().find(|user| user.has_initial_password);
        if let Some(user) = initial.filter(|_| !first.is_default) {
            user.password = secret::hash_password(&first.password.0);
            user.has_initial_password = false;
            let id = user.id;
            self.sessions.retain(|session| session.user != id);
            return true;
        }
        let needs_first = !self.users.iter().any(|user| user.role == Role::Admin);
        if needs_first {
            self.add_first(first, now_ms);
        }
        needs_first
    }

    fn add_first(&mut self, first: &First, now_ms: i64) {
        self.last_id += 1;
        self.users.push(User {
            id: self.last_id,
            name: first.name.clone(),
            email: first.email.clone(),
            role: Role::Admin,
            tenant: crate::ingest::labels::ANONYMOUS.to_owned(),
            password: secret::hash_password(&first.password.0),
            has_initial_password: first.is_default,
            is_disabled: false,
            created_ms: now_ms,
        });
    }

    pub(super) fn user(&mut self, id: u64) -> Result<&mut User, Error> {
        let found = self.users.iter_mut().find(|user| user.id == id);
        found.ok_or(Error::Unknown { what: "user", id })
    }

    pub(super) fn add_user(
        &mut self,
        new: &NewUser<'_>,
        password: PasswordHash,
        now_ms: i64,
    ) -> Result<User, Error> {
        if self.users.iter().any(|user| user.name == new.name) {
            return Err(Error::NameTaken(new.name.to_owned()));
        }
        let user = User {
            id: self.new_id()?,
            name: new.name.to_owned(),
            email: new.email.to_owned(),
            role: new.role,
            tenant: new.tenant.to_owned(),
            password,
            has_initial_password: false,
            is_disabled: false,
            created_ms: now_ms,
        };
        self.users.push(user.clone());
        Ok(user)
    }

    pub(super) fn add_key(
        &mut self,
        new: &NewKey<'_>,
        now_ms: i64,
    ) -> Result<(Key, String), Error> {
        let id = self.new_id()?;
        let secret = secret::new_key(id);
        let ttl_ms = new.ttl_seconds.filter(|seconds| *seconds > 0);
        let key = Key {
            id,
            name: new.name.to_owned(),
            role: new.role,
            tenant: new.tenant.to_owned(),
            hash: secret::hash(secret.as_bytes()),
            created_ms: now_ms,
            expires_ms: ttl_ms.map(|seconds| now_ms.saturating_add(seconds.saturating_mul(1_000))),
        };
        self.keys.push(key.clone());
        Ok((key, secret))
    }

    /// Where there are too many, the oldest goes: of the user, else of all.
    pub(super) fn add_session(&mut self, hash: String, user: u64, now_ms: i64) {
        self.sessions.retain(|session| session.expires_ms > now_ms);
        let is_own = |session: &Session| session.user == user;
        let n_own = self.sessions.iter().filter(|session| is_own(session)).count();
        let oldest = self.sessions.iter().position(is_own);
        if let Some(oldest) = oldest.filter(|_| n_own >= MAX_USER_SESSIONS) {
            self.sessions.remove(oldest);
        }
        if self.sessions.len() >= MAX_SESSIONS {
            self.sessions.remove(0);
        }
        self.sessions.push(Session { hash, user, expires_ms: now_ms.saturating_add(SESSION_MS) });
    }
}
