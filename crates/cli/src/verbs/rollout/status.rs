//! `rollout status`: says how far a rollout is, until it is done.
//!
//! # Invariants
//! - What is no terminal gets kubectl's lines; a terminal and `-o json` get more ([`live`]).
//! - A DaemonSet's rollout is not waited for longer than anything moves.

use std::cell::Cell;
use std::io::IsTerminal as _;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::Targets;
use super::live::{self, Limits, Shown};
use super::verdict::{self, Outcome, observed};
use crate::client::Api;
use crate::duration;
use crate::failure::{Failure, Result, message};
use crate::targets::Target;
use crate::watching::{FOREVER, until};

/// How long a controller may take to see what a rollout has waited for.
const SEEN_WITHIN: Duration = Duration::from_secs(1);

/// Flags of `rollout status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    targets: Targets,
    /// Follow until it is done
    #[arg(short = 'w', long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    watch: bool,
    /// How long to follow; 0 is as long as it takes
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration::parse)]
    timeout: Duration,
    /// Fail when nothing has moved for so long, where the server does not say so itself; 0 is never
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse)]
    progress_deadline: Duration,
    /// json: a line for each change of a DaemonSet
    #[arg(short = 'o', long, value_name = "FORMAT")]
    output: Option<String>,
}

impl Args {
    fn limits(&self) -> Limits {
        let or_forever = |limit: Duration| if limit.is_zero() { FOREVER } else { limit };
        Limits { watch: self.watch, timeout: or_forever(self.timeout), progress: or_forever(self.progress_deadline) }
    }
}

/// Follows each workload in turn.
pub(super) async fn run(api: &Api, args: &Args) -> Result<()> {
    let mut failures = Vec::new();
    for target in args.targets.find(api).await? {
        if let Err(e) = one(api, args, &target).await {
            failures.push(e);
        }
    }
    Failure::of(failures)
}

async fn one(api: &Api, args: &Args, target: &Target) -> Result<()> {
    // What is not there will not be waited for.
    let object = target.get(api).await?;
    let waits = || target.mapping.kind == "DaemonSet" && verdict::of(&object).outcome == Outcome::Waiting;
    if args.watch && waits() {
        // What its user has just done, `resume` perhaps, may not have been seen yet.
        tokio::time::sleep(SEEN_WITHIN).await;
    }
    let shown = match args.output.as_deref() {
        Some("json") if target.mapping.kind == "DaemonSet" => Some(Shown::Json),
        Some("json") => return message(format!("-o json is for DaemonSets, not for a {}", target.mapping.kind)),
        Some(other) => {
            return message(format!(
                "unable to match a printer suitable for the output format {other:?}, allowed formats are: json"
            ));
        }
        None => None,
    };
    let on_terminal = || std::io::stdout().is_terminal() && target.mapping.kind == "DaemonSet";
    match shown.or_else(|| on_terminal().then_some(Shown::Bar)) {
        Some(shown) => live::follow(api, target, shown, &args.limits()).await,
        None => in_lines(api, target, &args.limits()).await,
    }
}

/// Follows a rollout in kubectl's lines.
async fn in_lines(api: &Api, target: &Target, limits: &Limits) -> Result<()> {
    let end = Instant::now() + limits.timeout;
    let moved = Cell::new(Instant::now());
    let has_deadline = Cell::new(target.mapping.kind != "DaemonSet");
    let mut said = String::new();
    loop {
        let look = |object: Option<&Value>| {
            let Some(object) = object else { return message("object has been deleted") };
            let (text, done) = status(&target.mapping.kind, object)?;
            if target.mapping.kind == "DaemonSet" {
                has_deadline.set(verdict::of(object).has_deadline);
            }
            // A watch that is begun again shows what was said already.
            if text != said {
                println!("{text}");
                said = text;
                moved.set(Instant::now());
            }
            Ok(done || !limits.watch)
        };
        let due = moved.get() + limits.progress;
        let wait = end.min(due).saturating_duration_since(Instant::now());
        match until(api, target, wait, look).await? {
            true => return Ok(()),
            false if Instant::now() >= end => return message("timed out waiting for the condition"),
            false if !has_deadline.get() && Instant::now() >= moved.get() + limits.progress => {
                let (name, seconds) = (&target.name, limits.progress.as_secs());
                return message(format!("daemon set {name:?} has not moved for {seconds} s"));
            }
            false if has_deadline.get() => moved.set(Instant::now()),
            false => {}
        }
    }
}

/// What to say of a workload, and whether its rollout is done.
fn status(kind: &str, object: &Value) -> Result<(String, bool)> {
    match kind {
        "DaemonSet" => daemon_set(object),
        "Deployment" => deployment(object),
        _ => message(format!("no status viewer has been implemented for {kind}")),
    }
}

fn daemon_set(set: &Value) -> Result<(String, bool)> {
    if set["spec"]["updateStrategy"]["type"] != "RollingUpdate" {
        return message("rollout status is only available for RollingUpdate strategy type");
    }
    if !observed(set) {
        return Ok(("Waiting for daemon set spec update to be observed...".into(), false));
    }
    let name = set["metadata"]["name"].as_str().unwrap_or_default();
    let count = |field: &str| set["status"][field].as_i64().unwrap_or_default();
    let (desired, updated, available) =
        (count("desiredNumberScheduled"), count("updatedNumberScheduled"), count("numberAvailable"));
    let waiting = format!("Waiting for daemon set {name:?} rollout to finish:");
    let verdict = verdict::of(set);
    match verdict.outcome {
        Outcome::Failed | Outcome::Waiting => return message(live::said(name, &verdict)),
        // Nodes that the server does not wait for are not waited for here.
        Outcome::Complete => return Ok((format!("daemon set {name:?} successfully rolled out"), true)),
        Outcome::Going => {}
    }
    Ok(if updated < desired {
        (format!("{waiting} {updated} out of {desired} new pods have been updated..."), false)
    } else if available < desired {
        (format!("{waiting} {available} of {desired} updated pods are available..."), false)
    } else {
        (format!("daemon set {name:?} successfully rolled out"), true)
    })
}

fn deployment(deployment: &Value) -> Result<(String, bool)> {
    if !observed(deployment) {
        return Ok(("Waiting for deployment spec update to be observed...".into(), false));
    }
    let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
    let status = &deployment["status"];
    let conditions = status["conditions"].as_array().into_iter().flatten();
    if conditions.into_iter().any(|c| c["type"] == "Progressing" && c["reason"] == "ProgressDeadlineExceeded") {
        return message(format!("deployment {name:?} exceeded its progress deadline"));
    }
    let count = |field: &str| status[field].as_i64().unwrap_or_default();
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    let (all, updated, available) = (count("replicas"), count("updatedReplicas"), count("availableReplicas"));
    let waiting = format!("Waiting for deployment {name:?} rollout to finish:");
    Ok(if updated < wanted {
        (format!("{waiting} {updated} out of {wanted} new replicas have been updated..."), false)
    } else if all > updated {
        (format!("{waiting} {} old replicas are pending termination...", all - updated), false)
    } else if available < updated {
        (format!("{waiting} {available} of {updated} updated replicas are available..."), false)
    } else {
        (format!("deployment {name:?} successfully rolled out"), true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn says_how_far_it_is() {
        let set = |generation: i64, updated: i64, available: i64| {
            json!({
                "metadata": {"name": "fluentd", "generation": generation},
                "spec": {"updateStrategy": {"type": "RollingUpdate"}},
                "status": {"observedGeneration": 2, "desiredNumberScheduled": 5, "updatedNumberScheduled": updated, "numberAvailable": available},
            })
        };
        let cases = [
            (set(3, 5, 5), "Waiting for daemon set spec update to be observed...", false),
            (
                set(2, 3, 5),
                "Waiting for daemon set \"fluentd\" rollout to finish: 3 out of 5 new pods have been updated...",
                false,
            ),
            (
                set(2, 5, 4),
                "Waiting for daemon set \"fluentd\" rollout to finish: 4 of 5 updated pods are available...",
                false,
            ),
            (set(2, 5, 5), "daemon set \"fluentd\" successfully rolled out", true),
        ];
        for (object, text, done) in cases {
            assert_eq!(status("DaemonSet", &object).unwrap(), (text.to_owned(), done));
        }
        let on_delete = json!({"spec": {"updateStrategy": {"type": "OnDelete"}}});
        let said = status("DaemonSet", &on_delete).unwrap_err().text();
        assert_eq!(said, "error: rollout status is only available for RollingUpdate strategy type");
        let mut late = set(2, 3, 3);
        late["status"]["conditions"] = json!([{"type": "Progressing", "status": "False",
            "reason": "ProgressDeadlineExceeded", "message": "revision x has reached no further node for 600 s"}]);
        let said = status("DaemonSet", &late).unwrap_err().text();
        let want = "error: daemon set \"fluentd\" failed (ProgressDeadlineExceeded): revision x has reached no further \
                    node for 600 s";
        assert_eq!(said, want);
    }
}
