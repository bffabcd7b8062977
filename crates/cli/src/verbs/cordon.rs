//! `cordon` and `uncordon`: close nodes to new pods, and open them again.

use serde_json::json;

use super::{DryRun, each};
use crate::client::{Api, PatchKind, Query};
use crate::failure::{Result, message};
use crate::files::FileArgs;
use crate::targets::{SelectArgs, Target, Wanted, find};

/// Flags of `cordon` and of `uncordon`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Nodes
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// Nodes whose labels match
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Try only
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_value = "none", default_missing_value = "client")]
    dry_run: DryRun,
}

/// Closes or opens each node.
pub(crate) async fn run(api: &Api, args: &Args, close: bool) -> Result<()> {
    let verb = if close { "cordon" } else { "uncordon" };
    let targets = nodes(api, verb, &args.nodes, args.selector.as_deref()).await?;
    each(targets, |target| async move { set(api, &target, close, args.dry_run).await }).await
}

/// The nodes that are named or selected.
pub(crate) async fn nodes(api: &Api, verb: &str, names: &[String], selector: Option<&str>) -> Result<Vec<Target>> {
    if names.is_empty() && selector.is_none() {
        return message(format!("USAGE: {verb} NODE [flags]\nSee 'kubectl {verb} -h' for help and examples"));
    }
    let named = |name: &String| if name.contains('/') { name.clone() } else { format!("node/{name}") };
    let words: Vec<String> =
        if names.is_empty() { vec!["nodes".to_owned()] } else { names.iter().map(named).collect() };
    let select = SelectArgs { selector: selector.map(str::to_owned), ..SelectArgs::default() };
    find(api, &Wanted { words: &words, files: &FileArgs::default(), select: &select, all: false }).await
}

/// Closes or opens one node, and says so.
pub(crate) async fn set(api: &Api, target: &Target, close: bool, dry_run: DryRun) -> Result<()> {
    let node = target.get(api).await?;
    let done = if close { "cordoned" } else { "uncordoned" };
    if node["spec"]["unschedulable"].as_bool().unwrap_or_default() == close {
        println!("{} already {done}", target.word());
        return Ok(());
    }
    if dry_run != DryRun::Client {
        let patch = json!({"spec": {"unschedulable": if close { json!(true) } else { json!(null) }}});
        let query = Query::new().with_some("dryRun", (dry_run == DryRun::Server).then_some("All"));
        api.patch(&target.path(), &query, PatchKind::Strategic, &patch).await?;
    }
    println!("{} {done}{}", target.word(), dry_run.suffix());
    Ok(())
}
