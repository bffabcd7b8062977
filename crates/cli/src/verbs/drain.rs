//! `drain`: closes a node and moves its pods away; daemons stay.

use std::time::Duration;

use serde_json::{Value, json};

use super::DryRun;
use super::cordon;
use crate::client::{Api, PAGE_OBJECTS, Query, escaped};
use crate::duration;
use crate::failure::{Failure, Result};
use crate::mapping;
use crate::targets::Target;
use crate::watching::{FOREVER, until_gone};

/// Pods with this annotation belong to a file on the node.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Wait between two tries of an eviction that a disruption budget forbids.
const RETRY: Duration = Duration::from_secs(5);

/// Flags of `drain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Nodes
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// Nodes whose labels match
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Leave pods of DaemonSets where they are
    #[arg(long)]
    ignore_daemonsets: bool,
    /// Move pods away whose emptyDir volumes are lost with that
    #[arg(long, alias = "delete-local-data")]
    delete_emptydir_data: bool,
    /// Delete pods that no controller will make anew
    #[arg(long)]
    force: bool,
    /// Seconds that pods get to end by themselves
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = -1)]
    grace_period: i64,
    /// How long it may take; 0 is as long as it takes
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration::parse)]
    timeout: Duration,
    /// Only pods whose labels match
    #[arg(long, value_name = "SELECTOR")]
    pod_selector: Option<String>,
    /// Delete instead of evicting, past disruption budgets
    #[arg(long)]
    disable_eviction: bool,
    /// Try only
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_value = "none", default_missing_value = "client")]
    dry_run: DryRun,
}

/// Drains each node; stops at the first that can't be drained.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    let nodes = cordon::nodes(api, "drain", &args.nodes, args.selector.as_deref()).await?;
    for node in &nodes {
        cordon::set(api, node, true, args.dry_run).await?;
    }
    for (place, node) in nodes.iter().enumerate() {
        if let Err(e) = one(api, args, node).await {
            let why = match e {
                Failure::Message(text) | Failure::Bare(text) => text,
                other => other.text(),
            };
            eprintln!("error: unable to drain node {:?} due to error: {why}, continuing command...", node.name);
            eprintln!("There are pending nodes to be drained:");
            nodes[place..].iter().for_each(|node| eprintln!(" {}", node.name));
            return Err(Failure::Bare(why));
        }
        println!("{} drained{}", node.word(), args.dry_run.suffix());
    }
    Ok(())
}

/// What is in the way of draining, by reason.
#[derive(Debug, Default)]
struct Verdict<'a> {
    /// To be moved away.
    go: Vec<&'a Value>,
    daemons: Vec<String>,
    local_data: Vec<String>,
    unmanaged: Vec<String>,
}

fn judge<'a>(pods: &'a [Value], args: &Args) -> Verdict<'a> {
    let mut verdict = Verdict::default();
    for pod in pods {
        if pod["metadata"]["annotations"][MIRROR].is_string() {
            continue;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = format!("{}/{}", text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
        let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        let controller = owners.into_iter().find(|owner| owner["controller"] == true);
        if !ended && controller.is_some_and(|owner| owner["kind"] == "DaemonSet") {
            verdict.daemons.push(name);
            continue;
        }
        let mut volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        if !ended && volumes.any(|volume| volume["emptyDir"].is_object()) && !args.delete_emptydir_data {
            verdict.local_data.push(name.clone());
        }
        if !ended && controller.is_none() {
            verdict.unmanaged.push(name);
        }
        verdict.go.push(pod);
    }
    verdict
}

async fn one(api: &Api, args: &Args, node: &Target) -> Result<()> {
    let query = Query::new()
        .with("fieldSelector", format!("spec.nodeName={}", node.name))
        .with_some("labelSelector", args.pod_selector.clone());
    let mut list = api.list("/api/v1/pods", &query, false, PAGE_OBJECTS).await?;
    let pods = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let verdict = judge(&pods, args);
    let mut in_the_way = Vec::new();
    if !verdict.daemons.is_empty() && !args.ignore_daemonsets {
        in_the_way.push(format!(
            "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): {}",
            verdict.daemons.join(", ")
        ));
    }
    if !verdict.local_data.is_empty() {
        in_the_way.push(format!(
            "cannot delete Pods with local storage (use --delete-emptydir-data to override): {}",
            verdict.local_data.join(", ")
        ));
    }
    if !verdict.unmanaged.is_empty() && !args.force {
        in_the_way.push(format!(
            "cannot delete Pods that declare no controller (use --force to override): {}",
            verdict.unmanaged.join(", ")
        ));
    }
    if !in_the_way.is_empty() {
        return Err(Failure::Bare(in_the_way.join(", ")));
    }
    let mut warnings = Vec::new();
    if !verdict.unmanaged.is_empty() {
        warnings.push(format!("deleting Pods that declare no controller: {}", verdict.unmanaged.join(", ")));
    }
    if !verdict.daemons.is_empty() {
        warnings.push(format!("ignoring DaemonSet-managed Pods: {}", verdict.daemons.join(", ")));
    }
    if !warnings.is_empty() {
        eprintln!("Warning: {}", warnings.join("; "));
    }
    if args.dry_run != DryRun::None {
        return Ok(());
    }
    let limit = if args.timeout.is_zero() { FOREVER } else { args.timeout };
    let moved = futures::future::join_all(verdict.go.iter().map(|pod| move_away(api, args, pod, limit)));
    match tokio::time::timeout(limit, moved).await {
        Ok(ends) => Failure::of(ends.into_iter().filter_map(Result::err).collect()),
        Err(_) => Err("drain did not complete within the timeout".into()),
    }
}

async fn move_away(api: &Api, args: &Args, pod: &Value, limit: Duration) -> Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
    let mapping = mapping::by_name(api, "pods").await?;
    let target = Target { mapping, namespace: namespace.clone(), name: name.clone(), object: None, source: None };
    let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
    if args.grace_period >= 0 {
        options["gracePeriodSeconds"] = args.grace_period.into();
    }
    let done = if args.disable_eviction || !evict(api, &target, &options).await? {
        match api.delete(&target.path(), &Query::new(), &options).await {
            Err(e) if !e.is_not_found() => return Err(e),
            _ => "deleted",
        }
    } else {
        "evicted"
    };
    until_gone(api, &target, &text(&pod["metadata"]["uid"]), limit).await?;
    println!("pod/{name} {done}");
    Ok(())
}

/// False: the server has no evictions.
async fn evict(api: &Api, target: &Target, options: &Value) -> Result<bool> {
    let path = format!("/api/v1/namespaces/{}/pods/{}/eviction", escaped(&target.namespace), escaped(&target.name));
    let body = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": target.name, "namespace": target.namespace},
        "deleteOptions": options,
    });
    println!("evicting pod {}/{}", target.namespace, target.name);
    loop {
        match api.post(&path, &Query::new(), &body).await {
            Ok(_) => return Ok(true),
            Err(Failure::Status(status)) if status["reason"] == "TooManyRequests" => {
                let said = status["message"].as_str().unwrap_or_default();
                eprintln!(
                    "error when evicting pods/{:?} -n {:?} (will retry after 5s): {said}",
                    target.name, target.namespace
                );
                tokio::time::sleep(RETRY).await;
            }
            // The pod itself is known by its name in the message.
            Err(Failure::Status(status)) if status["reason"] == "NotFound" => {
                return Ok(status["details"]["name"] == target.name.as_str());
            }
            Err(e) if e.reason() == "MethodNotAllowed" => return Ok(false),
            Err(e) => return Err(e),
        }
    }
}
