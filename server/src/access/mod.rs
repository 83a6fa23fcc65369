//! Who asks: a password, a key or the cookie of a session comes in; who it is of, and what that one may do, goes out.
//!
//! All that is known is in one file, `access.json`, which only the server's user can read. Passwords are hashed with argon2id;
//! keys and sessions are 32 random bytes, of which the file has the SHA-256.

mod secret;
mod book;
mod attempts;
mod sessions;

use crate::access::attempts::Attempts;
use crate::access::book::Book;
use crate::shelf;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use crate::access::book::{Key, User};
pub use crate::access::secret::Secret;
pub use crate::access::sessions::Origin;

const DAY_MS: i64 = 86_400_000;
pub const SESSION_MS: i64 = 7 * DAY_MS;
/// Of a name; the page has room for no more.
const MAX_NAME_BYTES: usize = 200;
const MAX_PASSWORD_BYTES: usize = 1_024;
const MIN_PASSWORD_CHARS: usize = 8;
const MAX_ENTRIES: usize = 10_000;
const MAX_SESSIONS: usize = 1_000;
/// Of one user, who takes no other's place.
const MAX_USER_SESSIONS: usize = 20;
/// The longest that mail takes.
const MAX_EMAIL_BYTES: usize = 254;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    Admin,
    ReadOnly,
    /// Pushes, and nothing else.
    Agent,
}

/// What a request wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    Push,
    Read,
    Manage,
}

impl Role {
    pub fn parse(text: &str) -> Result<Role, Error> {
        match text.to_ascii_lowercase().as_str() {
            "admin" => Ok(Role::Admin),
            "readonly" | "read-only" | "viewer" => Ok(Role::ReadOnly),
            "agent" => Ok(Role::Agent),
            _ => Err(Error::Role(text.chars().take(64).collect())),
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "Admin",
            Role::ReadOnly => "ReadOnly",
            Role::Agent => "Agent",
        }
    }

    pub fn may(self, deed: Deed) -> bool {
        match self {
            Role::Admin => true,
            Role::ReadOnly => deed == Deed::Read,
            Role::Agent => deed == Deed::Push,
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub name: String,
    pub role: Role,
    pub tenant: String,
    /// Of the user; none for a key.
    pub user: Option<u64>,
    /// The password is the one that everybody knows.
    pub has_initial_password: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("name or password is wrong")]
    Wrong,
    #[error(
        "the first password of '{name}' is good for connections from this machine only; log in there and change it, or set auth.admin_password (PYROSCOPE_AUTH_INTERNAL_ADMIN_PASSWORD) and start the server again"
    )]
    InitialElsewhere { name: String },
    #[error("too many attempts to log in as this user; try again in {seconds} seconds")]
    TooManyAttempts { seconds: i64 },
    #[error("there is no role '{0}'; choose Admin, ReadOnly or Agent")]
    Role(String),
    #[error("a name has 1 to {MAX_NAME_BYTES} bytes and no control characters")]
    Name,
    #[error("an e-mail address has at most {MAX_EMAIL_BYTES} bytes")]
    Email,
    #[error("a key lives for a number of seconds that is not negative; 0 or none is for ever")]
    Lifetime,
    #[error(
        "a password has {MIN_PASSWORD_CHARS} characters or more, and at most {MAX_PASSWORD_BYTES} bytes"
    )]
    Password,
    #[error("there is a user with name '{0}' already")]
    NameTaken(String),
    #[error("there is no {what} with id {id}")]
    Unknown { what: &'static str, id: u64 },
    #[error("there must be one administrator who can log in")]
    LastAdmin,
    #[error("there are {MAX_ENTRIES} users and keys, and no more are kept; delete one first")]
    Full,
    #[error(transparent)]
    Shelf(#[from] shelf::Error),
}

/// The first user, made where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    pub name: String,
    pub email: String,
    pub password: Secret,
    /// Whether everybody knows the password.
    pub is_default: bool,
}

pub struct NewUser<'a> {
    pub name: &'a str,
    pub email: &'a str,
    pub password: &'a str,
    pub role: Role,
    pub tenant: &'a str,
}

pub struct NewKey<'a> {
    pub name: &'a str,
    pub role: Role,
    pub tenant: &'a str,
    pub ttl_seconds: Option<i64>,
}

pub struct Access {
    path: PathBuf,
    book: Mutex<Book>,
    /// Held by whoever changes the book, also while the disk takes it: whoever reads the book does not wait for the disk.
    changing: Mutex<()>,
    attempts: Attempts,
}

impl Access {
    pub fn open(directory: &Path, first: Option<&First>, now_ms: i64) -> Result<Access, Error> {
        let path = directory.join("access.json");
        let failed = |source| shelf::Error::Io { action: "read", path: path.clone(), source };
        let mut book = match shelf::read(&path).map_err(failed)? {
            None => Book::default(),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|err| {
                let what = err.to_string();
                shelf::Error::Unreadable { path: path.clone(), what }
            })?,
        };
        let is_changed = first.is_some_and(|first| book.ensure_first(first, now_ms));
        if first.is_some() {
            warn_of_initial(&book);
        }
        let access = Access {
            path,
            book: Mutex::new(book),
            changing: Mutex::new(()),
            attempts: Attempts::default(),
        };
        if is_changed {
            access.write(&access.book())?;
        }
        Ok(access)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, book: &Book) -> Result<(), Error> {
        let json = serde_json::to_vec_pretty(book).expect("names and numbers are JSON");
        let failed = |source| shelf::Error::Io { action: "write", path: self.path.clone(), source };
        Ok(shelf::replace(&self.path, &json).map_err(failed)?)
    }

    /// Changes what is known: on disk first.
    fn change<T>(&self, change: impl FnOnce(&mut Book) -> Result<T, Error>) -> Result<T, Error> {
        let _changing = self.changing();
        let mut changed = self.book().clone();
        let result = change(&mut changed)?;
        if !changed.users.iter().any(User::is_admin) {
            return Err(Error::LastAdmin);
        }
        self.write(&changed)?;
        *self.book() = changed;
        Ok(result)
    }

    /// Whose key it is.
    pub fn of_key(&self, key: &str, now_ms: i64) -> Option<Identity> {
        let id = secret::id_of_key(key)?;
        let book = self.book();
        let found = book.keys.iter().find(|known| known.id == id)?;
        let is_right = secret::is_equal(&found.hash, &secret::hash(key.as_bytes()));
        let is_valid = found.expires_ms.is_none_or(|expires_ms| expires_ms > now_ms);
        (is_right && is_valid).then(|| Identity {
            name: found.name.clone(),
            role: found.role,
            tenant: found.tenant.clone(),
            user: None,
            has_initial_password: false,
        })
    }

    pub fn keys(&self) -> Vec<Key> {
        self.book().keys.clone()
    }

    /// The key itself is told once.
    pub fn add_key(&self, new: &NewKey<'_>, now_ms: i64) -> Result<(Key, String), Error> {
        check_name(new.name)?;
        if new.ttl_seconds.is_some_and(|seconds| seconds < 0) {
            return Err(Error::Lifetime);
        }
        self.change(|book| book.add_key(new, now_ms))
    }

    pub fn delete_key(&self, id: u64) -> Result<(), Error> {
        self.change(|book| {
            let before = book.keys.len();
            book.keys.retain(|key| key.id != id);
            let is_gone = book.keys.len() < before;
            if is_gone { Ok(()) } else { Err(Error::Unknown { what: "key", id }) }
        })
    }

    pub fn users(&self) -> Vec<User> {
        self.book().users.clone()
    }

    /// Hashes the password: takes time.
    pub fn add_user(&self, new: &NewUser<'_>, now_ms: i64) -> Result<User, Error> {
        check_name(new.name)?;
        check_email(new.email)?;
        check_password(new.password)?;
        let password = secret::hash_password(new.password);
        self.change(|book| book.add_user(new, password, now_ms))
    }

    pub fn delete_user(&self, id: u64) -> Result<(), Error> {
        self.change(|book| {
            book.user(id)?;
            book.users.retain(|user| user.id != id);
            book.sessions.retain(|session| session.user != id);
            Ok(())
        })
    }

    /// Role and whether the user may log in.
    pub fn change_user(&self, id: u64, change: impl FnOnce(&mut User)) -> Result<User, Error> {
        self.change(|book| {
            let user = book.user(id)?;
            change(user);
            let user = user.clone();
            check_name(&user.name)?;
            check_email(&user.email)?;
            if book.users.iter().filter(|other| other.name == user.name).count() > 1 {
                return Err(Error::NameTaken(user.name));
            }
            Ok(user)
        })
    }

    /// Other sessions of the user end. Hashes the password: takes time.
    pub fn set_password(&self, id: u64, password: &str) -> Result<(), Error> {
        check_password(password)?;
        let hash = secret::hash_password(password);
        self.change(|book| {
            let user = book.user(id)?;
            user.password = hash;
            user.has_initial_password = false;
            book.sessions.retain(|session| session.user != id);
            Ok(())
        })
    }

    /// Whether it is the user's password. Takes time.
    pub fn is_password(&self, id: u64, password: &str) -> bool {
        let user = self.book().users.iter().find(|user| user.id == id).cloned();
        secret::verify(password, user.as_ref().map(|user| &user.password))
    }
}

fn warn_of_initial(book: &Book) {
    if let Some(user) = book.users.iter().find(|user| user.has_initial_password) {
        tracing::warn!(
            name = user.name.escape_debug().to_string(),
            "an administrator has the password that everybody knows, for logins from this machine; log in and change it, or set auth.admin_password"
        );
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let is_right =
        (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
    if is_right { Ok(()) } else { Err(Error::Name) }
}

fn check_email(email: &str) -> Result<(), Error> {
    if email.len() <= MAX_EMAIL_BYTES { Ok(()) } else { Err(Error::Email) }
}

fn check_password(password: &str) -> Result<(), Error> {
    let is_right =
        password.chars().count() >= MIN_PASSWORD_CHARS && password.len() <= MAX_PASSWORD_BYTES;
    if is_right { Ok(()) } else { Err(Error::Password) }
}

#[cfg(test)]
mod tests;
