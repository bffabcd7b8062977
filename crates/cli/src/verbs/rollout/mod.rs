//! `rollout`: status, history, undo, restart; pause and resume of Deployments by their own field, of DaemonSets by their
//! RolloutPolicy, which can freeze and promote too.

mod ask;
mod govern;
mod history;
pub(crate) mod live;
mod status;
mod undo;
mod verdict;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{ChangeArgs, each};
use crate::client::{Api, PatchKind};
use crate::failure::{Result, message};
use crate::files::FileArgs;
use crate::targets::{SelectArgs, Target, Wanted, find};
use ask::Ask;

/// Setting this annotation anew makes a workload's pods anew.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
/// Kinds whose pods can be rolled out.
const ROLLED_OUT: [&str; 3] = ["daemonsets", "deployments", "statefulsets"];

/// What to do about rollouts.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Part {
    /// Follow a rollout until it is done
    Status(status::Args),
    /// List the revisions of a workload, or show one
    History(history::Args),
    /// Go back to an earlier revision
    Undo(undo::Args),
    /// Make all pods anew, in the way of a rollout
    Restart(ChangeTargets),
    /// Stop a rollout; nodes without a pod get the last good revision
    Pause(ChangeTargets),
    /// Go on with a paused rollout, or with a revision that has failed
    Resume(ChangeTargets),
    /// Change nothing of a DaemonSet's pods any more
    Freeze(ChangeTargets),
    /// End a freeze
    Unfreeze(ChangeTargets),
    /// Go on after a wave of a DaemonSet's rollout
    Promote(Promotion),
}

/// Flags of `rollout`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    part: Part,
}

/// Workloads by name, file or selector.
#[derive(Debug, clap::Args)]
pub(crate) struct Targets {
    /// TYPE NAME... or TYPE/NAME...
    #[arg(value_name = "TYPE NAME")]
    words: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    /// Only objects whose labels match
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
}

/// Workloads to change.
#[derive(Debug, clap::Args)]
pub(crate) struct ChangeTargets {
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Flags of `rollout promote`.
#[derive(Debug, clap::Args)]
pub(crate) struct Promotion {
    /// Pass all waves, not only the one that is done
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    change: ChangeTargets,
}

impl Targets {
    async fn find(&self, api: &Api) -> Result<Vec<Target>> {
        let select = SelectArgs { selector: self.selector.clone(), ..SelectArgs::default() };
        let by_type = self.words.len() == 1 && !self.words[0].contains('/');
        let wanted =
            Wanted { words: &self.words, files: &self.files, select: &select, all: by_type && self.selector.is_none() };
        if self.words.is_empty() && !self.files.given() {
            return message("required resource not specified");
        }
        let targets = find(api, &wanted).await?;
        if targets.is_empty() {
            return message("no resources found");
        }
        Ok(targets)
    }
}

/// Does what is asked.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    match &args.part {
        Part::Status(args) => status::run(api, args).await,
        Part::History(args) => history::run(api, args).await,
        Part::Undo(args) => undo::run(api, args).await,
        Part::Restart(args) => {
            let targets = args.targets.find(api).await?;
            each(targets, |target| restart(api, &args.change, target)).await
        }
        Part::Pause(args) => all(api, args, Ask::Pause).await,
        Part::Resume(args) => all(api, args, Ask::Resume).await,
        Part::Freeze(args) => all(api, args, Ask::Freeze).await,
        Part::Unfreeze(args) => all(api, args, Ask::Unfreeze).await,
        Part::Promote(args) => all(api, &args.change, Ask::Promote { full: args.full }).await,
    }
}

async fn all(api: &Api, args: &ChangeTargets, ask: Ask) -> Result<()> {
    let targets = args.targets.find(api).await?;
    each(targets, |target| async move {
        match ask {
            Ask::Pause | Ask::Resume if target.mapping.kind != "DaemonSet" => {
                pause(api, &args.change, target, ask == Ask::Pause).await
            }
            _ => govern::run(api, &args.change, target, ask).await,
        }
    })
    .await
}

/// The workload as it stands.
async fn standing(api: &Api, target: &Target) -> Result<Value> {
    match &target.object {
        Some(object) if target.source.is_none() => Ok(object.clone()),
        _ => target.get(api).await,
    }
}

async fn restart(api: &Api, change: &ChangeArgs, target: Target) -> Result<()> {
    let object = standing(api, &target).await?;
    if !ROLLED_OUT.contains(&target.mapping.plural.as_str()) {
        return message(format!("{} {:?} restarting is not supported", target.mapping.resource(), target.name));
    }
    if object["spec"]["paused"] == true {
        return message(format!(
            "can't restart paused {} (run rollout resume first)",
            target.mapping.kind.to_lowercase()
        ));
    }
    if change.is_client() {
        return change.print(&target, &object, "restarted");
    }
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: now}}}}});
    let made = api.patch(&target.path(), &change.query("kubectl-rollout"), PatchKind::Strategic, &patch).await?;
    change.print(&target, &made, "restarted")
}

async fn pause(api: &Api, change: &ChangeArgs, target: Target, pause: bool) -> Result<()> {
    let (doing, done) = if pause { ("pausing", "paused") } else { ("resuming", "resumed") };
    let object = standing(api, &target).await?;
    if target.mapping.kind != "Deployment" {
        return message(format!("{} {:?} {doing} is not supported", target.mapping.resource(), target.name));
    }
    if object["spec"]["paused"].as_bool().unwrap_or_default() == pause {
        let state = if pause { "already paused" } else { "not paused" };
        return message(format!("{} {:?} is {state}", target.mapping.resource(), target.name));
    }
    if change.is_client() {
        return change.print(&target, &object, done);
    }
    let patch = json!({"spec": {"paused": if pause { json!(true) } else { json!(null) }}});
    let made = api.patch(&target.path(), &change.query("kubectl-rollout"), PatchKind::Strategic, &patch).await?;
    change.print(&target, &made, done)
}
