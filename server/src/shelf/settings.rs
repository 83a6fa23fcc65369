//! Names and values that pages keep for all who look at them, by tenant.

use crate::shelf::{self, Error};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

const MAX_NAME_BYTES: usize = 256;
const MAX_VALUE_BYTES: usize = 1 << 20;
/// Of one tenant.
const MAX_SETTINGS: usize = 200;
/// Of names and values: of one tenant and of all, which are in memory and are written anew with each change.
const MAX_TENANT_BYTES: usize = 4 << 20;
const MAX_BYTES: usize = 64 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    pub value: String,
    pub modified_ms: i64,
}

type ByTenant = BTreeMap<String, BTreeMap<String, Value>>;

pub struct Settings {
    path: PathBuf,
    all: Mutex<ByTenant>,
}

impl Settings {
    pub fn open(directory: &Path) -> Result<Settings, Error> {
        let path = directory.join("settings.json");
        let all = match shelf::read(&path).map_err(|err| Error::io("read", &path, err))? {
            None => ByTenant::new(),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|err| {
                let what = err.to_string();
                Error::Unreadable { path: path.clone(), what }
            })?,
        };
        Ok(Settings { path, all: Mutex::new(all) })
    }

    fn all(&self) -> MutexGuard<'_, ByTenant> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, tenant: &str) -> BTreeMap<String, Value> {
        self.all().get(tenant).cloned().unwrap_or_default()
    }

    /// A value that was read before another one was set does not replace that one.
    pub fn set(&self, tenant: &str, name: &str, value: Value) -> Result<(), Error> {
        let check = |text: &str, what, limit| {
            if text.len() > limit { Err(Error::TooLong { what, limit }) } else { Ok(()) }
        };
        check(name, "the name of a setting", MAX_NAME_BYTES)?;
        check(&value.value, "the value of a setting", MAX_VALUE_BYTES)?;
        if name.is_empty() {
            return Err(Error::NoName);
        }
        let mut all = self.all();
        check_room(&all, tenant, name, &value)?;
        let mut changed = all.clone();
        let of_tenant = changed.entry(tenant.to_owned()).or_default();
        match of_tenant.get(name) {
            Some(known) if known.modified_ms > value.modified_ms => return Err(Error::Changed),
            None if of_tenant.len() >= MAX_SETTINGS => {
                return Err(Error::TooMany { limit: MAX_SETTINGS });
            }
            _ => {}
        }
        of_tenant.insert(name.to_owned(), value);
        self.write(&changed)?;
        *all = changed;
        Ok(())
    }

    pub fn delete(&self, tenant: &str, name: &str) -> Result<(), Error> {
        let mut all = self.all();
        let mut changed = all.clone();
        changed.get_mut(tenant).and_then(|of_tenant| of_tenant.remove(name));
        self.write(&changed)?;
        *all = changed;
        Ok(())
    }

    fn write(&self, all: &ByTenant) -> Result<(), Error> {
        let json = serde_json::to_vec(all).expect("maps of texts are JSON");
        shelf::replace(&self.path, &json).map_err(|err| Error::io("write", &self.path, err))
    }
}

/// A value that takes less room than the one before is always taken.
pub(super) fn check_room(
    all: &ByTenant,
    tenant: &str,
    name: &str,
    value: &Value,
) -> Result<(), Error> {
    let of_tenant = |known: &BTreeMap<String, Value>| -> usize {
        known.iter().map(|(name, value)| name.len() + value.value.len()).sum()
    };
    let known = all.get(tenant);
    let before = known.and_then(|known| known.get(name));
    let before_bytes = before.map_or(0, |before| name.len() + before.value.len());
    let more = (name.len() + value.value.len()).saturating_sub(before_bytes);
    let check = |whose, have: usize, limit| {
        if more > 0 && have + more > limit { Err(Error::Full { whose, limit }) } else { Ok(()) }
    };
    check("this tenant", known.map_or(0, of_tenant), MAX_TENANT_BYTES)?;
    check("all tenants", all.values().map(of_tenant).sum(), MAX_BYTES)
}
