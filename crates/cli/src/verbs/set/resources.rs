//! `set resources`: sets requests and limits of containers.

use serde_json::{Map, Value, json};

use super::{matches, spec_of, standing, under_spec};
use crate::client::{Api, PatchKind};
use crate::failure::{Result, message};
use crate::files::FileArgs;
use crate::targets::{SelectArgs, Target, Wanted, find};
use crate::verbs::{ChangeArgs, each};

/// Flags of `set resources`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// TYPE NAME or TYPE/NAME
    #[arg(value_name = "TYPE NAME")]
    words: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// All objects of the type
    #[arg(long)]
    all: bool,
    /// Containers to change; * stands for anything
    #[arg(short = 'c', long, value_name = "NAMES", default_value = "*")]
    containers: String,
    /// Limits, such as cpu=200m,memory=64Mi
    #[arg(long, value_name = "AMOUNTS")]
    limits: Option<String>,
    /// Requests, such as cpu=100m,memory=32Mi
    #[arg(long, value_name = "AMOUNTS")]
    requests: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Changes each object.
pub(super) async fn run(api: &Api, args: &Args) -> Result<()> {
    let mut resources = Map::new();
    for (field, text) in [("limits", &args.limits), ("requests", &args.requests)] {
        if let Some(text) = text {
            resources.insert(field.into(), amounts(text)?);
        }
    }
    if resources.is_empty() {
        return message("you must specify an update to requests or limits (in the form of --requests/--limits)");
    }
    let resources = Value::Object(resources);
    let wanted = Wanted { words: &args.words, files: &args.files, select: &args.select, all: args.all };
    let targets = find(api, &wanted).await?;
    each(targets, |target| one(api, args, &resources, target)).await
}

fn amounts(text: &str) -> Result<Value> {
    let mut amounts = Map::new();
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        let (name, amount) = pair
            .split_once('=')
            .ok_or_else(|| format!("invalid argument syntax {pair}, expected <resource>=<value>"))?;
        api::quantity::Quantity::parse(amount).map_err(|e| format!("{name}={amount}: {e}"))?;
        amounts.insert(name.to_owned(), amount.into());
    }
    Ok(amounts.into())
}

async fn one(api: &Api, args: &Args, resources: &Value, target: Target) -> Result<()> {
    let object = standing(api, &target).await?;
    let containers = spec_of(&target, &object)["containers"].as_array().into_iter().flatten();
    let changed: Vec<Value> = containers
        .filter(|container| matches(&args.containers, container["name"].as_str().unwrap_or_default()))
        .map(|container| json!({"name": container["name"], "resources": resources}))
        .collect();
    if changed.is_empty() {
        return message(format!("unable to find container named {}", args.containers));
    }
    let done = "resource requirements updated";
    if args.change.is_client() {
        return args.change.print(&target, &object, done);
    }
    let patch = under_spec(&target, json!({"containers": changed}));
    let made = api.patch(&target.path(), &args.change.query("kubectl-set"), PatchKind::Strategic, &patch).await?;
    args.change.print(&target, &made, done)
}
