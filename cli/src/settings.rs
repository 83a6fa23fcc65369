//! A command's arguments in; the settings of the agent and of the server out.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_yaml::Value;

use crate::arguments;
use crate::load::{self, Flag, Invalid, Loaded, Settings, Sources, Variable};

/// Where packages put the settings.
const AGENT_FILE: &str = "/etc/pilotlight/agent.yaml";
const SERVER_FILE: &str = "/etc/pilotlight/server.yaml";
/// Where root's profiles are.
const ROOT_DATA: &str = "/var/lib/pilotlight";

impl Settings for agent::config::Config {
    const HALF: &'static str = "agent";
    const SECRETS: &'static [&'static [&'static str]] =
        &[&["server", "basic"], &["server", "bearer"], &["server", "headers"], &["server", "url"]];

    fn validate(&self) -> Result<(), Invalid> {
        self.validate().map_err(|error| {
            let mut invalid = Invalid::new(error.key, error.message);
            invalid.path.extend(error.entry);
            invalid
        })
    }
}

impl Settings for server::config::Config {
    const HALF: &'static str = "server";
    const SECRETS: &'static [&'static [&'static str]] = &[&["auth", "admin_password"]];

    fn validate(&self) -> Result<(), Invalid> {
        self.validate().map_err(|error| Invalid::new(error.key, error.what))
    }
}

/// Whose file `--config` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The command's own.
    One,
    /// The agent's and the server's: `pilotlight run` is both.
    Both,
}

/// The agent's settings: its file, the environment, then `flags`.
pub(crate) fn agent(
    file: Option<&Path>,
    owner: Owner,
    flags: Vec<Flag>,
) -> Result<agent::config::Config> {
    let is_shared = file.is_some() && owner == Owner::Both;
    let loaded = load::load::<agent::config::Config, server::config::Config>(
        &sources(file, AGENT_FILE, flags)?,
        is_shared,
    )?;
    Ok(loaded.config)
}

/// The server's settings: its file, the environment, then `flags`; the data directory is chosen if nobody has.
pub(crate) fn server(
    file: Option<&Path>,
    owner: Owner,
    flags: Vec<Flag>,
) -> Result<Loaded<server::config::Config>> {
    let is_shared = file.is_some() && owner == Owner::Both;
    let mut loaded = load::load::<server::config::Config, agent::config::Config>(
        &sources(file, SERVER_FILE, flags)?,
        is_shared,
    )?;
    if loaded.config.data.as_os_str().is_empty() {
        loaded.config.data = usual_data(rustix::process::geteuid().is_root(), |name| env::var_os(name).map(PathBuf::from))
            .context("cannot tell where to store: neither XDG_DATA_HOME nor HOME is set; choose a directory with --data")?;
    }
    Ok(loaded)
}

fn sources(file: Option<&Path>, usual: &str, flags: Vec<Flag>) -> Result<Sources> {
    let file = load::read_file(file, Path::new(usual))?;
    Ok(Sources { file, environment: Variable::all(env::vars_os())?, flags })
}

fn usual_data(is_root: bool, variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    if is_root {
        return Some(PathBuf::from(ROOT_DATA));
    }
    // The XDG base directory specification: a relative path is as good as none.
    let absolute = |name| variable(name).filter(|path| path.is_absolute());
    let base = absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    Some(base?.join("pilotlight"))
}

impl arguments::Frequency {
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let flag = |hz: u32| Flag { name: "-F", key: "sampling.frequency_hz", value: hz.into() };
        self.hz.map(flag).into_iter().collect()
    }
}

impl arguments::Storage {
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let listen = self.listen.as_ref().map(|listen| Flag {
            name: "--listen",
            key: "listen",
            value: listen.as_str().into(),
        });
        let data =
            self.data.as_ref().map(|data| Flag { name: "--data", key: "data", value: path(data) });
        let storage_max = self.max_bytes.as_ref().map(|bytes| Flag {
            name: "--storage-max",
            key: "storage_max",
            value: bytes.as_str().into(),
        });
        listen.into_iter().chain(data).chain(storage_max).collect()
    }
}

impl arguments::Agent {
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let server = self.server.as_ref().map(|url| Flag {
            name: "--server",
            key: "server.url",
            value: url.as_str().into(),
        });
        let log =
            self.bpf_log.then(|| Flag { name: "--bpf-log", key: "bpf.log", value: true.into() });
        server.into_iter().chain(log).chain(self.frequency.flags()).collect()
    }
}

fn path(path: &Path) -> Value {
    path.to_string_lossy().into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_stored_where_it_is_usual() {
        let check = |is_root, xdg: Option<&str>, home: Option<&str>, expected: Option<&str>| {
            let variable = |name: &str| if name == "HOME" { home } else { xdg }.map(PathBuf::from);
            assert_eq!(usual_data(is_root, variable), expected.map(PathBuf::from));
        };
        check(true, Some("/x"), Some("/root"), Some("/var/lib/pilotlight"));
        check(false, Some("/x"), Some("/home/a"), Some("/x/pilotlight"));
        check(false, None, Some("/home/a"), Some("/home/a/.local/share/pilotlight"));
        check(false, Some("x"), Some("/home/a"), Some("/home/a/.local/share/pilotlight"));
        check(false, None, None, None);
    }

    #[test]
    fn variables_of_the_first_servers_switch_on_logins() {
        let load = |variables: &[(&str, &str)]| {
            let pairs = variables.iter().map(|(name, value)| (name.into(), value.into()));
            let environment = Variable::all(pairs).unwrap();
            let sources = Sources { environment, ..Sources::default() };
            load::load::<server::config::Config, agent::config::Config>(&sources, false)
        };
        let auth = load(&[
            ("PYROSCOPE_AUTH_INTERNAL_ENABLED", "true"),
            ("PYROSCOPE_AUTH_INGESTION_ENABLED", "true"),
            ("PYROSCOPE_AUTH_INTERNAL_ADMIN_NAME", "root"),
            ("PYROSCOPE_AUTH_INTERNAL_ADMIN_PASSWORD", "12345678"),
            ("PYROSCOPE_SERVER_ADDRESS", "http://elsewhere"),
        ]);
        let auth = auth.unwrap().config.auth;
        assert!(auth.internal_enabled && auth.ingestion_enabled && !auth.cookie_secure);
        assert_eq!(
            (auth.admin_name.as_str(), auth.admin_password.0.as_str()),
            ("root", "12345678")
        );
        let wrong = load(&[("PYROSCOPE_AUTH_INTERNAL_ENABLED", "canary")]).unwrap_err().to_string();
        assert!(wrong.starts_with("PYROSCOPE_AUTH_INTERNAL_ENABLED: "), "{wrong}");
        let secret =
            load(&[("PYROSCOPE_AUTH_INTERNAL_ADMIN_PASSWORD", "")]).unwrap_err().to_string();
        assert!(secret.contains("auth.admin_password"), "{secret}");
    }
}
