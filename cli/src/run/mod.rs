//! `pilotlight run`: arguments and root's rights in; the agent, and the server as a child without rights, until Ctrl-C.

mod account;
mod data_directory;
mod child;
mod supervisor;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path;
use std::process;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use agent::agent::Summary;
use agent::config::Config;
use anyhow::{Context, Result, bail};
use serde_yaml::{Mapping, Value};

use crate::arguments;
use crate::load::Flag;
use crate::settings::{self, Owner};
use crate::signals;

use self::account::Account;
use self::supervisor::Supervisor;

/// How long the server may take to read what it has stored.
const START_PATIENCE: Duration = Duration::from_mins(1);

/// Profiles and shows this machine until it is told to stop.
pub(crate) fn run(arguments: &arguments::Run) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("sampling the whole machine needs root: run `sudo pilotlight run`");
    }
    let file = arguments.config.as_deref();
    let storage = settings::server(file, Owner::Both, arguments.storage.flags())?;
    if storage.config.tls.is_on() {
        bail!(
            "tls is for `pilotlight server`: the agent of `pilotlight run` pushes to this machine in the clear; run `pilotlight server` and `pilotlight agent` instead"
        );
    }
    if storage.config.auth.ingestion_enabled || storage.config.multitenancy_enabled {
        bail!(
            "auth.ingestion_enabled and multitenancy_enabled are for `pilotlight server`: the agent of `pilotlight run` has no key and no tenant; run `pilotlight server` and `pilotlight agent` instead"
        );
    }
    let listeners = server::bind(&storage.config.listen)?;
    let address = listeners.first().context("there is no address to listen at")?.local_addr()?;
    let config = agent_config(arguments, child::reachable(address))?;
    crate::agent::start_log(&config)?;
    let account = account::find()?;
    let data =
        path::absolute(&storage.config.data).context("cannot tell where the data directory is")?;
    data_directory::prepare(&data, &account)?;
    let settings = with_data(storage.tree, &data)?;

    let server = start_server(account, settings, listeners, address)?;
    let stop = Arc::new(AtomicBool::new(false));
    let current = server.current();
    signals::stop_on_signals(Arc::clone(&stop), move |origin| {
        current.kill();
        process::exit(128 + origin.signal);
    })
    .context("cannot handle signals")?;
    agent::agent::run(&config, &stop, |summary| welcome(summary, address))?;
    // The agent has pushed its last profiles: now the server may go.
    drop(server);
    Ok(())
}

/// The agent pushes to our own server, and with none of the credentials that another one may need.
fn agent_config(arguments: &arguments::Run, address: SocketAddr) -> Result<Config> {
    let url = Mapping::from_iter([(Value::from("url"), Value::from(format!("http://{address}")))]);
    let mut flags = arguments.frequency.flags();
    flags.push(Flag { name: "pilotlight run", key: "server", value: Value::Mapping(url) });
    settings::agent(arguments.config.as_deref(), Owner::Both, flags)
}

fn with_data(mut tree: Value, data: &path::Path) -> Result<String> {
    let data = data
        .to_str()
        .context("the data directory's name is not UTF-8: choose another with --data")?;
    if let Value::Mapping(keys) = &mut tree {
        keys.insert("data".into(), data.into());
    }
    serde_yaml::to_string(&tree).context("cannot write the server's settings")
}

fn start_server(
    account: Account,
    settings: String,
    listeners: Vec<TcpListener>,
    address: SocketAddr,
) -> Result<Supervisor> {
    let start = move || child::start(&account, &settings, &listeners);
    let is_ready = || child::is_ready(child::reachable(address));
    Ok(Supervisor::start(start, is_ready, START_PATIENCE)?)
}

fn welcome(summary: &Summary, address: SocketAddr) {
    let text = format!("{}\ntier: {}\n{summary}\nCtrl-C ends it\n", url(address), summary.tier);
    let mut stdout = io::stdout().lock();
    if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        tracing::debug!(%error, "nobody reads standard output");
    }
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "everybody who reaches this address can see the profiles");
    }
}

/// What to type into a browser on this machine.
fn url(address: SocketAddr) -> String {
    if address.ip().is_loopback() || address.ip().is_unspecified() {
        return format!("http://localhost:{}", address.port());
    }
    format!("http://{address}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_what_a_browser_takes() {
        for (address, expected) in [
            ("127.0.0.1:4040", "http://localhost:4040"),
            ("0.0.0.0:4040", "http://localhost:4040"),
            ("[::]:80", "http://localhost:80"),
            ("10.0.0.1:4040", "http://10.0.0.1:4040"),
            ("[fd00::1]:4040", "http://[fd00::1]:4040"),
        ] {
            assert_eq!(url(address.parse().unwrap()), expected);
        }
    }

    #[test]
    fn the_child_is_told_where_to_store() {
        let tree: Value = serde_yaml::from_str("{listen: 'x:1', data: rel}").unwrap();
        assert_eq!(with_data(tree, path::Path::new("/abs")).unwrap(), "listen: x:1\ndata: /abs\n");
    }
}
