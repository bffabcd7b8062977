//! `version`: the client's and the server's.

use serde_json::{Value, json};

use crate::client::{Api, Query};
use crate::failure::Result;
use crate::gojson;

/// Flags of `version`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Don't ask the server
    #[arg(long)]
    client: bool,
    /// json or yaml
    #[arg(short = 'o', long, value_name = "FORMAT")]
    output: Option<String>,
    /// Taken for compatibility; short is what is printed
    #[arg(long, hide = true)]
    short: bool,
}

/// Prints the versions; `api` is None when there is no way to a server.
pub(crate) async fn run(api: Option<&Api>, args: &Args) -> Result<()> {
    let server = match api {
        Some(api) if !args.client => Some(api.get("/version", &Query::new()).await?),
        _ => None,
    };
    let client = json!({"gitVersion": api::KUBERNETES_VERSION, "everynode": env!("CARGO_PKG_VERSION")});
    match args.output.as_deref() {
        Some("json") => println!("{}", gojson::pretty(&both(client, server))),
        Some("yaml") => print!("{}", api::yaml::to_yaml(&both(client, server))),
        _ => {
            println!("Client Version: {} (everynode {})", api::KUBERNETES_VERSION, env!("CARGO_PKG_VERSION"));
            if let Some(server) = server {
                println!("Server Version: {}", server["gitVersion"].as_str().unwrap_or_default());
            }
        }
    }
    Ok(())
}

fn both(client: Value, server: Option<Value>) -> Value {
    let mut both = json!({"clientVersion": client});
    if let Some(server) = server {
        both["serverVersion"] = server;
    }
    both
}
