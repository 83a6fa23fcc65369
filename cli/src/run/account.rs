//! The text of `/etc/passwd` in; the account without privileges that the server runs as, out.

use std::fs;
use std::io;

/// Used where nobody has made a user. Debian's adduser, systemd and containers give this number to nobody
/// (docs/decisions/0002-unprivileged-server-child.md).
const FIXED_ID: u32 = 74_040;
const NAME: &str = "pilotlight";
const PASSWD: &str = "/etc/passwd";

/// Why there is no account.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The list of accounts cannot be read.
    #[error("cannot read {PASSWD}")]
    Read(#[source] io::Error),
    /// Somebody gave our number to somebody.
    #[error(
        "user {FIXED_ID} is {name} here: give the server a user of its own with `useradd --system {NAME}`"
    )]
    Taken {
        /// Whose number it is.
        name: String,
    },
    /// The user `pilotlight` is no protection.
    #[error(
        "the user {NAME} has the rights of root: remove it, or make it again with `useradd --system {NAME}`"
    )]
    Root,
}

/// A user without privileges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// Its name in messages.
    pub(crate) name: String,
    /// User id.
    pub(crate) uid: u32,
    /// Group id.
    pub(crate) gid: u32,
}

/// The user `pilotlight` where there is one, else a number that nobody has.
pub(crate) fn find() -> Result<Account, Error> {
    choose(&fs::read_to_string(PASSWD).map_err(Error::Read)?)
}

fn choose(passwd: &str) -> Result<Account, Error> {
    let accounts: Vec<Account> = passwd.lines().filter_map(parse).collect();
    if let Some(account) = accounts.iter().find(|account| account.name == NAME) {
        return if account.uid == 0 || account.gid == 0 {
            Err(Error::Root)
        } else {
            Ok(account.clone())
        };
    }
    if let Some(account) =
        accounts.iter().find(|account| account.uid == FIXED_ID || account.gid == FIXED_ID)
    {
        return Err(Error::Taken { name: account.name.clone() });
    }
    Ok(Account { name: FIXED_ID.to_string(), uid: FIXED_ID, gid: FIXED_ID })
}

/// `name:password:uid:gid:…`
fn parse(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let mut ids = fields.skip(1).map(|field| field.parse::<u32>().ok());
    Some(Account { name, uid: ids.next()??, gid: ids.next()?? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(passwd: &str, expected: Result<(u32, u32), &str>) {
        let found = choose(passwd);
        match expected {
            Ok(ids) => assert_eq!(
                found.map(|account| (account.uid, account.gid)).unwrap(),
                ids,
                "{passwd}"
            ),
            Err(message) => assert!(found.unwrap_err().to_string().contains(message), "{passwd}"),
        }
    }

    #[test]
    fn the_account_is_ours_or_nobodys() {
        let root = "root:x:0:0:root:/root:/bin/bash\n";
        check(root, Ok((74_040, 74_040)));
        check("", Ok((74_040, 74_040)));
        check(
            &format!("{root}pilotlight:x:995:993::/nonexistent:/usr/sbin/nologin\n"),
            Ok((995, 993)),
        );
        check("pilotlight:x:0:0::/:/bin/sh\n", Err("rights of root"));
        check("pilotlight:x:995:0::/:/bin/sh\n", Err("rights of root"));
        check("alice:x:74040:100::/:/bin/sh\n", Err("user 74040 is alice here"));
        check("+::::::\nbroken\npilotlight:x:many\n", Ok((74_040, 74_040)));
    }
}
