//! Logins: a name and a password come in; the token of a session goes out, which says later who asks.

use crate::access::book::{Book, User};
use crate::access::{Access, Error, Identity, MAX_PASSWORD_BYTES, secret};
use std::net::IpAddr;

/// Where a login comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    /// The other end of the connection, where it is known.
    pub address: Option<IpAddr>,
    /// Whether it is this machine, and no proxy on it.
    pub is_local: bool,
}

impl Access {
    /// A session's token for a name and password. Takes time and memory: for few at once, and not for async tasks.
    pub fn log_in(
        &self,
        name: &str,
        password: &str,
        origin: Origin,
        now_ms: i64,
    ) -> Result<(String, Identity), Error> {
        if let Some(seconds) = self.attempts.wait_seconds(origin.address, name, now_ms) {
            return Err(Error::TooManyAttempts { seconds });
        }
        let user = self.book().users.iter().find(|user| user.name == name).cloned();
        let hash = user.as_ref().map(|user| &user.password);
        // As long for a user who is not there.
        let is_right = secret::verify(password, hash) && password.len() <= MAX_PASSWORD_BYTES;
        let Some(user) = user.filter(|user| is_right && !user.is_disabled) else {
            self.attempts.failed(origin.address, name, now_ms);
            return Err(Error::Wrong);
        };
        if user.has_initial_password && !origin.is_local {
            return Err(Error::InitialElsewhere { name: user.name });
        }
        self.attempts.succeeded(origin.address, name);
        self.begin_session(&user, now_ms)
    }

    /// For a user as it was when its password was looked at, unless it may not log in, or not with that one, since.
    pub(super) fn begin_session(
        &self,
        checked: &User,
        now_ms: i64,
    ) -> Result<(String, Identity), Error> {
        let token = secret::random_token();
        let identity = self.change_sessions(|book| {
            let is_as_checked =
                |user: &&mut User| !user.is_disabled && user.password == checked.password;
            let user = book.user(checked.id).ok().filter(is_as_checked);
            let identity = user.ok_or(Error::Wrong)?.identity();
            book.add_session(secret::hash(token.as_bytes()), checked.id, now_ms);
            Ok(identity)
        })?;
        Ok((token, identity))
    }

    /// Changes sessions. They count also where the disk does not take them: then until the server stops.
    fn change_sessions<T>(
        &self,
        change: impl FnOnce(&mut Book) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _changing = self.changing();
        let mut changed = self.book().clone();
        let result = change(&mut changed)?;
        if let Err(error) = self.write(&changed) {
            tracing::warn!(%error, "who has logged in or out is known until the server stops, and no longer");
        }
        *self.book() = changed;
        Ok(result)
    }

    pub fn log_out(&self, token: &str) -> Result<(), Error> {
        let hash = secret::hash(token.as_bytes());
        if !self.book().sessions.iter().any(|session| session.hash == hash) {
            return Ok(());
        }
        self.change_sessions(|book| {
            book.sessions.retain(|session| session.hash != hash);
            Ok(())
        })
    }

    /// Whose session it is.
    pub fn of_session(&self, token: &str, now_ms: i64) -> Option<Identity> {
        let hash = secret::hash(token.as_bytes());
        let book = self.book();
        let found = book.sessions.iter().find(|session| secret::is_equal(&session.hash, &hash))?;
        let user = book.users.iter().find(|user| user.id == found.user)?;
        (found.expires_ms > now_ms && !user.is_disabled).then(|| user.identity())
    }
}
