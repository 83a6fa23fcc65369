//! The server alone, for load tests: `serve LISTEN DIRECTORY [SETTINGS]` until Ctrl-C; settings as in `{"memory_max": "1GiB"}`.

use server::config::Config;
use std::env;
use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let listen = arguments.next().ok_or("LISTEN is missing")?;
    let data = arguments.next().ok_or("DIRECTORY is missing")?.into();
    let settings = match arguments.next() {
        Some(settings) => serde_json::from_str(&settings)?,
        None => Config::default(),
    };
    let config = Config { listen, data, ..settings };
    let listeners = server::bind(&config.listen)?;
    let stop = async {
        if let Err(err) = tokio::signal::ctrl_c().await {
            tracing::error!(error = %err, "cannot wait for Ctrl-C");
        }
    };
    Ok(server::run(config, listeners, stop).await?)
}
