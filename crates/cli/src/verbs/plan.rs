//! `plan`: what applying files would do to the nodes, before it is done.
//!
//! # Invariants
//! - Nothing is changed: the server is asked for dry runs only.

use std::collections::BTreeMap;

use api::rollout_policy::{self, RolloutPolicy};
use decide::daemonset::{Directive, Observed, Policy, namespace_nodes};
use decide::forecast::{Change, FieldChange, Forecast, NodeWhy, forecast};
use decide::view::{NodeView, PodView};
use decide::why::Snapshot;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use serde_json::{Value, json};

use super::diff;
use super::rollout::live::span;
use crate::client::Api;
use crate::describe::selector_text;
use crate::failure::{Failure, Result, message};
use crate::files::{self, FileArgs};
use crate::gojson;
use crate::reasons::{around, read};
use crate::targets::{Target, of_document};

/// The exit code of a plan that could not be made, as of `diff`.
const FAILED: u8 = 2;
/// Nodes and fields that are written out in a text; JSON has them all.
const LINES_MAX: usize = 20;
/// Letters of a value that are written out in a text.
const VALUE_MAX: usize = 60;

/// Flags of `plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    files: FileArgs,
    /// json: all nodes and fields
    #[arg(short = 'o', long, value_name = "FORMAT")]
    output: Option<String>,
}

/// Tells what applying would do; fails silently when it would do anything.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    match plans(api, args).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(Failure::Silent),
        Err(e) => Err(Failure::Coded(Box::new(e), FAILED)),
    }
}

/// Whether anything would be done.
async fn plans(api: &Api, args: &Args) -> Result<bool> {
    let as_json = match args.output.as_deref() {
        None | Some("") => false,
        Some("json") => true,
        Some(other) => {
            return message(format!(
                "unable to match a printer suitable for the output format {other:?}, allowed formats are: json"
            ));
        }
    };
    let mut targets = Vec::new();
    for document in files::read(&args.files)? {
        targets.push(of_document(api, document).await?);
    }
    let policies = policies(&targets)?;
    let mut items = Vec::new();
    let (mut any, mut first) = (false, true);
    for target in &targets {
        if target.mapping.kind != "DaemonSet" || target.mapping.group != "apps" {
            if target.mapping.kind != rollout_policy::KIND {
                eprintln!("{}: not a DaemonSet; `everynode diff` shows what would change", target.word());
            }
            continue;
        }
        let seen = one(api, target, &policies).await?;
        any |= !seen.is_empty();
        if as_json {
            items.push(document(target, &seen));
            continue;
        }
        print!("{}{}", if first { "" } else { "\n" }, text(target, &seen));
        first = false;
    }
    if as_json {
        let list = json!({"kind": "RolloutPlanList", "apiVersion": decide::why::API_VERSION, "items": items});
        let shown = if items.len() == 1 { items.remove(0) } else { list };
        println!("{}", gojson::pretty(&shown));
    }
    Ok(any)
}

/// The policies of the files: they count as if they were applied.
fn policies(targets: &[Target]) -> Result<Vec<RolloutPolicy>> {
    let of_files = targets.iter().filter(|t| t.mapping.kind == rollout_policy::KIND);
    of_files.map(|t| read(t.object.clone().unwrap_or_default())).collect()
}

async fn one(api: &Api, target: &Target, policies: &[RolloutPolicy]) -> Result<Forecast> {
    let (before, after) = diff::steady(api, target).await?;
    let wanted: DaemonSet = read(after.clone())?;
    let current: Option<DaemonSet> = before.map(read).transpose()?;
    let selector = selector_text(&after["spec"]["selector"]);
    let mut snapshot = around(api, &target.namespace, wanted, &selector).await?;
    for policy in policies {
        let same = |p: &RolloutPolicy| p.metadata.name == policy.metadata.name;
        let stored = snapshot.policies.iter().position(same).map(|at| snapshot.policies.remove(at));
        let status = stored.and_then(|p| p.status);
        snapshot.policies.push(RolloutPolicy { status, ..policy.clone() });
    }
    Ok(foresee(current.as_ref(), &snapshot, Timestamp::now()))
}

fn foresee(current: Option<&DaemonSet>, snapshot: &Snapshot, now: Timestamp) -> Forecast {
    let views: Vec<NodeView> = snapshot.nodes.iter().map(NodeView::from).collect();
    let nodes: BTreeMap<String, &NodeView> = views.iter().map(|n| (n.name.clone(), n)).collect();
    let pods: Vec<PodView> = snapshot.pods.iter().map(PodView::from).collect();
    let pods: Vec<&PodView> = pods.iter().collect();
    let revisions: Vec<&ControllerRevision> = snapshot.revisions.iter().collect();
    let of_namespace = snapshot.namespace.as_ref().and_then(|n| namespace_nodes(n.metadata.annotations.as_ref()));
    let chosen = snapshot.policy();
    let policy = chosen.map(Policy::read);
    let metadata = &snapshot.set.metadata;
    let (name, uid) = (metadata.name.as_deref().unwrap_or_default(), metadata.uid.as_deref().unwrap_or_default());
    let memory = chosen.and_then(|p| p.memory(name, uid));
    let observed = Observed {
        nodes: &nodes,
        pods: &pods,
        revisions: &revisions,
        namespace_nodes: of_namespace.as_ref(),
        backoff: &BTreeMap::new(),
        policy: policy.as_ref().map(|policy| Directive { policy, memory, grace: snapshot.grace }),
    };
    forecast(current, &snapshot.set, observed, now)
}

fn document(target: &Target, seen: &Forecast) -> Value {
    let mut document = json!(seen);
    document["kind"] = "RolloutPlan".into();
    document["apiVersion"] = decide::why::API_VERSION.into();
    document["metadata"] = json!({"name": target.name, "namespace": target.namespace});
    document
}

fn text(target: &Target, seen: &Forecast) -> String {
    let word = target.word();
    let head = match seen.change {
        Change::Created => format!("{word} would be created\n"),
        Change::Updated => format!("{word} would be changed\n"),
        Change::Unchanged if seen.is_empty() => return format!("{word}: nothing to do\n"),
        Change::Unchanged => format!("{word} stays as it is, and is not done yet\n"),
    };
    let pace = &seen.pace;
    let mut lines = head;
    let of_template = if seen.restarted() > 0 { "pods are made anew for:" } else { "changes of the template:" };
    lines.push_str(&fields(of_template, &seen.fields));
    lines.push_str(&fields("changes that make no pod anew:", &seen.other_fields));
    lines.push_str(&nodes(["gains a daemon", "gain a daemon"], &seen.gained));
    lines.push_str(&nodes(["loses its daemon", "lose their daemon"], &seen.lost));
    if seen.restarted() > 0 {
        let how = match (pace.strategy, pace.max_surge) {
            ("OnDelete", _) => "when you delete them (OnDelete)".to_owned(),
            (_, 0) => {
                format!("{} at a time (maxUnavailable {} of {})", pace.at_a_time, pace.max_unavailable, pace.desired)
            }
            (_, surge) => format!("{} at a time (maxSurge {surge} of {})", pace.at_a_time, pace.desired),
        };
        lines.push_str(&format!("  {} made anew, {how}:\n", counted(seen.restarted())));
        for (at, step) in seen.steps.iter().enumerate() {
            lines.push_str(&format!("    {}\n", step_text(at, step)));
        }
    }
    lines.push_str(&nodes(
        ["is in other node classes than its pod", "are in other node classes than their pods"],
        &seen.reclassed,
    ));
    if seen.kept > 0 {
        let keep = if seen.kept == 1 { "keeps its pod" } else { "keep their pods" };
        lines.push_str(&format!("  {} {keep}\n", counted(seen.kept)));
    }
    lines.push_str(&nodes(
        [
            "is not available now, goes first and uses the budget up",
            "are not available now, go first and use the budget up",
        ],
        &seen.unavailable,
    ));
    lines.push_str(&nodes(["is not waited for", "are not waited for"], &seen.excused));
    for held in &seen.held {
        lines.push_str(&format!("  held: {held}\n"));
    }
    if let Some(why) = &seen.stuck {
        lines.push_str(&format!("  never ends: {why}\n"));
    }
    lines.push_str(&duration(seen));
    lines
}

/// How long it takes, or why that can't be said.
fn duration(seen: &Forecast) -> String {
    let is_known_elsewhere = !seen.held.is_empty() || seen.stuck.is_some() || seen.pace.strategy == "OnDelete";
    if seen.restarted() + seen.gained.len() == 0 {
        return String::new();
    }
    match &seen.estimate {
        Some(e) => format!(
            "  takes about {} (a pod takes {} to be ready, as seen of {})\n",
            span(u64::try_from(e.seconds).unwrap_or_default()),
            span(u64::try_from(e.start_seconds).unwrap_or_default()),
            e.pods
        ),
        None if is_known_elsewhere => String::new(),
        None if seen.steps.iter().any(|step| step.gated) => {
            "  how long it takes depends on when you promote it\n".to_owned()
        }
        None => "  how long it takes is not known: no pod is there to learn from\n".to_owned(),
    }
}

fn counted(nodes: usize) -> String {
    if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") }
}

fn step_text(at: usize, step: &decide::forecast::Step) -> String {
    let mut text = step.wave.as_ref().map(|wave| format!("{}. {wave}: ", at + 1)).unwrap_or_default();
    match step.nodes.is_empty() {
        true => text.push_str("no node"),
        false => text.push_str(&few(step.nodes.iter().map(String::as_str))),
    }
    if step.bake_seconds > 0 {
        text.push_str(&format!("; watched for {}", span(u64::try_from(step.bake_seconds).unwrap_or_default())));
    }
    if step.gated {
        text.push_str("; then you promote it");
    }
    text
}

/// The first of some names, and how many more there are.
fn few<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = names.collect();
    match all.len().saturating_sub(LINES_MAX) {
        0 => all.join(", "),
        more => format!("{} and {more} more", all[..LINES_MAX].join(", ")),
    }
}

fn fields(title: &str, list: &[FieldChange]) -> String {
    if list.is_empty() {
        return String::new();
    }
    let mut lines = format!("  {title}\n");
    for change in list.iter().take(LINES_MAX) {
        let (path, from, to) = (&change.path, value(change.from.as_ref()), value(change.to.as_ref()));
        lines.push_str(&format!("    {path}: {from} -> {to}\n"));
    }
    if list.len() > LINES_MAX {
        lines.push_str(&format!("    and {} more\n", list.len() - LINES_MAX));
    }
    lines
}

fn value(value: Option<&Value>) -> String {
    let Some(value) = value else { return "(none)".to_owned() };
    let text = value.to_string();
    if text.chars().count() <= VALUE_MAX { text } else { text.chars().take(VALUE_MAX).collect::<String>() + "…" }
}

/// Nodes with why; the title for one of them and for more.
fn nodes(title: [&str; 2], list: &[NodeWhy]) -> String {
    if list.is_empty() {
        return String::new();
    }
    let title = title[usize::from(list.len() > 1)];
    let mut lines = format!("  {} {title}:\n", counted(list.len()));
    for node in list.iter().take(LINES_MAX) {
        lines.push_str(&format!("    {}: {}\n", node.node, node.why));
    }
    if list.len() > LINES_MAX {
        lines.push_str(&format!("    and {} more\n", list.len() - LINES_MAX));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(image: &str) -> Snapshot {
        let set = json!({
            "metadata": {"name": "d", "namespace": "default", "uid": "u", "generation": 1},
            "spec": {"selector": {"matchLabels": {"app": "d"}}, "updateStrategy": {"type": "RollingUpdate"},
                "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": image}]}}},
        });
        let pod = |name: &str, node: &str| {
            json!({"metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "d"},
                    "creationTimestamp": "2026-11-24T12:00:00Z", "ownerReferences": [{"apiVersion": "apps/v1",
                    "kind": "DaemonSet", "name": "d", "uid": "u", "controller": true}]},
                "spec": {"nodeName": node, "containers": []},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True",
                    "lastTransitionTime": "2026-11-24T12:00:08Z"}]}})
        };
        let node = |name: &str| json!({"metadata": {"name": name}});
        Snapshot {
            set: serde_json::from_value(set).unwrap(),
            nodes: serde_json::from_value(json!([node("n-0"), node("n-1"), node("n-2")])).unwrap(),
            pods: serde_json::from_value(json!([pod("d-0", "n-0"), pod("d-1", "n-1")])).unwrap(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn a_plan_is_told_in_words() {
        let (before, after) = (snapshot("x:1").set, snapshot("x:2"));
        let seen = foresee(Some(&before), &after, "2026-11-24T12:01:00Z".parse().unwrap());
        let target = target();
        let want = "\
daemonset.apps/d would be changed
  pods are made anew for:
    spec.template.spec.containers[c].image: \"x:1\" -> \"x:2\"
  1 node gains a daemon:
    n-2: it wants a daemon already and has none yet
  2 nodes made anew, 1 at a time (maxUnavailable 1 of 3):
    n-0, n-1
  takes about 16s (a pod takes 8s to be ready, as seen of 2)
";
        assert_eq!(text(&target, &seen), want);
        assert_eq!(document(&target, &seen)["steps"][0]["nodes"], json!(["n-0", "n-1"]));
    }

    #[test]
    fn where_no_daemon_runs_none_is_made_anew() {
        let before = snapshot("x:1").set;
        let after = Snapshot { nodes: Vec::new(), pods: Vec::new(), ..snapshot("x:2") };
        let seen = foresee(Some(&before), &after, "2026-11-24T12:01:00Z".parse().unwrap());
        let want = "\
daemonset.apps/d would be changed
  changes of the template:
    spec.template.spec.containers[c].image: \"x:1\" -> \"x:2\"
";
        assert_eq!(text(&target(), &seen), want);
    }

    fn target() -> Target {
        let mapping = api::kinds::by_any_name("ds").unwrap().into();
        let (namespace, name) = ("default".to_owned(), "d".to_owned());
        Target { mapping, namespace, name, object: None, source: None }
    }

    #[test]
    fn what_a_policy_makes_of_it_is_told_in_words() {
        let (before, after) = (snapshot("x:1").set, snapshot("x:2"));
        let mut seen = foresee(Some(&before), &after, "2026-11-24T12:01:00Z".parse().unwrap());
        let step = |wave: &str, nodes: &[&str], bake_seconds, gated| decide::forecast::Step {
            wave: Some(wave.to_owned()),
            nodes: nodes.iter().map(|n| (*n).to_owned()).collect(),
            bake_seconds,
            gated,
        };
        seen.gained = Vec::new();
        seen.steps =
            vec![step("canary", &["n-0"], 300, false), step("gone", &[], 0, true), step("rest", &["n-1"], 0, false)];
        seen.excused = vec![NodeWhy { node: "n-2".to_owned(), why: "it is not ready".to_owned() }];
        seen.estimate = None;
        let tail = |seen: &Forecast| text(&target(), seen).split_once("of 3):\n").unwrap().1.to_owned();
        let want = "    1. canary: n-0; watched for 5m0s\n    2. gone: no node; then you promote it\n    3. rest: n-1\n  \
                    1 node is not waited for:\n    n-2: it is not ready\n";
        assert_eq!(tail(&seen), format!("{want}  how long it takes depends on when you promote it\n"));
        seen.held = vec!["the policy pauses rollouts".to_owned()];
        assert_eq!(tail(&seen), format!("{want}  held: the policy pauses rollouts\n"));
        seen.held = Vec::new();
        seen.stuck = Some("why".to_owned());
        assert_eq!(tail(&seen), format!("{want}  never ends: why\n"));
    }
}
