//! `scale`: sets the number of replicas.

use serde_json::Value;

use super::{ChangeArgs, each};
use crate::client::{Api, Query};
use crate::failure::{Failure, Result, message};
use crate::files::FileArgs;
use crate::targets::{SelectArgs, Target, Wanted, find};

/// Flags of `scale`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// TYPE NAME... or TYPE/NAME...
    #[arg(value_name = "TYPE NAME")]
    words: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// All objects of the type
    #[arg(long)]
    all: bool,
    /// How many there should be
    #[arg(long, value_name = "COUNT")]
    replicas: u32,
    /// Only if there are this many now
    #[arg(long, value_name = "COUNT")]
    current_replicas: Option<u32>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Scales each object.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    let wanted = Wanted { words: &args.words, files: &args.files, select: &args.select, all: args.all };
    let targets = find(api, &wanted).await?;
    if targets.is_empty() {
        return message("no objects passed to scale");
    }
    each(targets, |target| one(api, args, target)).await
}

async fn one(api: &Api, args: &Args, target: Target) -> Result<()> {
    if target.object.is_none() {
        target.get(api).await.map_err(|e| match e {
            Failure::Status(status) if status["reason"] == "NotFound" => {
                format!("no objects passed to scale {}", status["message"].as_str().unwrap_or_default()).into()
            }
            other => other,
        })?;
    }
    let path = format!("{}/scale", target.path());
    let mut scale: Value = api.get(&path, &Query::new()).await?;
    let now = scale["spec"]["replicas"].as_u64().unwrap_or_default();
    if let Some(expected) = args.current_replicas
        && u64::from(expected) != now
    {
        return message(format!("Expected replicas to be {expected}, was {now}"));
    }
    if !args.change.is_client() {
        scale["spec"]["replicas"] = args.replicas.into();
        scale = api.put(&path, &args.change.query("kubectl-scale"), &scale).await?;
    }
    args.change.print(&target, &scale, "scaled")
}
