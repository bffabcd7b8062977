//! `delete`: removes objects, and waits until they are gone.

use std::time::Duration;

use serde_json::{Value, json};

use super::DryRun;
use crate::client::{Api, Query};
use crate::duration;
use crate::failure::{Failure, Result, message};
use crate::files::FileArgs;
use crate::targets::{SelectArgs, Target, Wanted, find};
use crate::watching::{FOREVER, until_gone};

/// What becomes of an object's dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Cascade {
    /// They are deleted afterwards.
    #[value(alias = "true")]
    Background,
    /// They are deleted first.
    Foreground,
    /// They stay.
    #[value(alias = "false")]
    Orphan,
}

/// Flags of `delete`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// TYPE NAME..., TYPE/NAME... or TYPE[,TYPE] with -l or --all
    #[arg(value_name = "TYPE NAME")]
    words: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// All objects of the types
    #[arg(long)]
    all: bool,
    /// What becomes of dependents
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_value = "background", default_missing_value = "background")]
    cascade: Cascade,
    /// Seconds that pods get to end by themselves
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = -1)]
    grace_period: i64,
    /// Don't wait for pods to end
    #[arg(long)]
    force: bool,
    /// End at once (one second of grace)
    #[arg(long)]
    now: bool,
    /// Wait until the objects are gone
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    wait: bool,
    /// How long to wait; 0 is as long as it takes
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration::parse)]
    timeout: Duration,
    /// Objects that are not there are no failure
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    ignore_not_found: bool,
    /// Try only
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_value = "none", default_missing_value = "client")]
    dry_run: DryRun,
    /// name: print type/name only
    #[arg(short = 'o', long, value_name = "FORMAT")]
    output: Option<String>,
}

/// Deletes, then waits.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    let grace = grace(args)?;
    if args.all && args.select.selector.is_some() {
        return message("setting 'all' parameter but found a non empty selector. ");
    }
    if args.output.as_deref().is_some_and(|format| format != "name") {
        return message(format!(
            "unexpected -o output mode: {}. We only support '-o name'",
            args.output.as_deref().unwrap_or_default()
        ));
    }
    let wanted = Wanted { words: &args.words, files: &args.files, select: &args.select, all: args.all };
    let targets = find(api, &wanted).await?;
    let named = !targets.is_empty();
    let (mut failures, mut gone_soon): (Vec<Failure>, Vec<(Target, String)>) = (Vec::new(), Vec::new());
    for target in targets {
        let with_namespace = || {
            let is_its =
                |(other, _): &(Target, String)| other.mapping.kind == "Namespace" && other.name == target.namespace;
            gone_soon.iter().any(is_its)
        };
        match one(api, args, grace, &target).await {
            Ok(uid) => gone_soon.push((target, uid)),
            // It went with its namespace, which this command deleted.
            Err(e) if e.is_not_found() && with_namespace() => tell(args, grace, &target),
            Err(e) if e.is_not_found() && (args.ignore_not_found || args.all) => {}
            Err(e) => failures.push(e),
        }
    }
    if !named {
        println!("No resources found");
    }
    if args.wait && args.dry_run == DryRun::None {
        let limit = if args.timeout.is_zero() { FOREVER } else { args.timeout };
        for (target, uid) in gone_soon {
            if let Err(e) = until_gone(api, &target, &uid, limit).await {
                failures.push(e);
            }
        }
    }
    Failure::of(failures)
}

/// The grace period to ask for; None leaves it to the object.
fn grace(args: &Args) -> Result<Option<i64>> {
    if args.now && args.grace_period != -1 {
        return message("--now and --grace-period cannot be specified together");
    }
    if args.force && args.grace_period > 0 {
        return message("--force and --grace-period greater than 0 cannot be specified together");
    }
    if args.force {
        eprintln!(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely."
        );
        return Ok(Some(0));
    }
    Ok(match args.grace_period {
        _ if args.now => Some(1),
        // Without --force an end without any grace would leave containers nobody looks after.
        0 => Some(1),
        seconds if seconds > 0 => Some(seconds),
        _ => None,
    })
}

/// Deletes one object; returns its UID.
async fn one(api: &Api, args: &Args, grace: Option<i64>, target: &Target) -> Result<String> {
    let policy = match args.cascade {
        Cascade::Background => "Background",
        Cascade::Foreground => "Foreground",
        Cascade::Orphan => "Orphan",
    };
    let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy});
    if let Some(seconds) = grace {
        options["gracePeriodSeconds"] = seconds.into();
    }
    let mut answer = Value::Null;
    if args.dry_run != DryRun::Client {
        let query = Query::new().with_some("dryRun", (args.dry_run == DryRun::Server).then_some("All"));
        let sent = api.delete(&target.path(), &query, &options).await;
        answer = sent.map_err(|e| e.during("deleting", target.source.as_deref()))?;
    }
    tell(args, grace, target);
    let uid = if answer["kind"] == "Status" { &answer["details"]["uid"] } else { &answer["metadata"]["uid"] };
    Ok(uid.as_str().unwrap_or_default().to_owned())
}

fn tell(args: &Args, grace: Option<i64>, target: &Target) {
    let word = target.mapping.word();
    let suffix = args.dry_run.suffix();
    if args.output.is_some() {
        println!("{word}/{}", target.name);
    } else {
        let done = if grace == Some(0) { "force deleted" } else { "deleted" };
        println!("{word} {:?} {done}{suffix}", target.name);
    }
}
