//! The environment in; the variables that set something out.

use std::ffi::OsString;

use serde_yaml::Value;

use super::Error;
use super::Settings;
use super::tree::{self, Wrong};

/// What all of our variables begin with.
const PREFIX: &str = "PILOTLIGHT_";
/// Variables of the first servers, as people have them in their compose files, and the settings that they are.
const OLD: [(&str, &[&str]); 7] = [
    ("PYROSCOPE_AUTH_INTERNAL_ENABLED", &["auth", "internal_enabled"]),
    ("PYROSCOPE_AUTH_INGESTION_ENABLED", &["auth", "ingestion_enabled"]),
    ("PYROSCOPE_AUTH_COOKIE_SECURE", &["auth", "cookie_secure"]),
    ("PYROSCOPE_AUTH_INTERNAL_ADMIN_CREATE", &["auth", "admin_create"]),
    ("PYROSCOPE_AUTH_INTERNAL_ADMIN_NAME", &["auth", "admin_name"]),
    ("PYROSCOPE_AUTH_INTERNAL_ADMIN_EMAIL", &["auth", "admin_email"]),
    ("PYROSCOPE_AUTH_INTERNAL_ADMIN_PASSWORD", &["auth", "admin_password"]),
];
/// Variables that are no settings: of the log, the build and the tests.
const NO_SETTINGS: [&str; 6] = ["LOG", "COMMIT", "BIN", "GO", "PYTHON", "REQUIRE_ALL"];

/// A variable that sets something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    /// Its whole name.
    pub(crate) name: String,
    /// Which setting.
    pub(super) path: Vec<String>,
    value: String,
}

impl Variable {
    /// All of them, by name.
    pub(crate) fn all(
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Vec<Self>, Error> {
        let ours = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        let mut environment: Vec<(String, OsString)> = environment.filter_map(ours).collect();
        environment.sort();
        let is_in_kubernetes =
            environment.iter().any(|(name, _)| name == "KUBERNETES_SERVICE_HOST");
        let mut variables = Vec::new();
        for (name, value) in environment {
            let old = OLD.iter().find(|(old, _)| *old == name);
            let path = match (old, name.strip_prefix(PREFIX)) {
                (Some((_, path)), _) => path.iter().copied().map(str::to_owned).collect(),
                (None, None) => continue,
                (None, Some(key)) => {
                    if NO_SETTINGS.contains(&key) || (is_in_kubernetes && is_service_link(key)) {
                        continue;
                    }
                    key.split("__").map(str::to_lowercase).collect()
                }
            };
            let not_utf8 = |_value| Error {
                origin: name.clone(),
                message: "the value is not UTF-8".to_owned(),
            };
            variables.push(Self {
                path,
                value: value.into_string().map_err(not_utf8)?,
                name: name.clone(),
            });
        }
        Ok(variables)
    }

    /// The value in the type that `C` has for it: the text itself where it has a text, else what YAML reads in it.
    pub(super) fn typed<C: Settings>(&self) -> Result<Value, Wrong> {
        let text = Value::from(self.value.as_str());
        let Err(not_text) = tree::parse::<C>(&tree::single(&self.path, text.clone())) else {
            return Ok(text);
        };
        let Ok(value) = serde_yaml::from_str::<Value>(&self.value) else { return Err(not_text) };
        match tree::parse::<C>(&tree::single(&self.path, value.clone())) {
            Ok(_) => Ok(value),
            Err(wrong) => Err(wrong),
        }
    }
}

/// Whether Kubernetes makes such a variable for a service named `pilotlight` or `pilotlight-…`.
fn is_service_link(key: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let words: Vec<&str> = key.split('_').collect();
    match words.as_slice() {
        [.., "SERVICE", "HOST"] | [.., "PORT"] | [.., "SERVICE", "PORT", _] => true,
        [.., "PORT", port, "TCP" | "UDP"] | [.., "PORT", port, "TCP" | "UDP", "PROTO" | "ADDR"] => {
            is_number(port)
        }
        _ => false,
    }
}
