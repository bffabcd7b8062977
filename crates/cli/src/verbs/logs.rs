//! `logs`: what containers wrote.

use std::io::Write;

use futures::AsyncBufReadExt;
use futures::io::AsyncBufRead;
use serde_json::Value;

use crate::client::{Api, PAGE_OBJECTS, Query, escaped};
use crate::describe::selector_text;
use crate::duration;
use crate::failure::{Failure, Result, message};
use crate::mapping;

/// The container that is meant when a pod has several and none is named.
pub(super) const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// Lines shown of each container when pods are chosen by a selector.
const SELECTOR_TAIL_LINES: i64 = 10;

/// Flags of `logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// POD [CONTAINER] or TYPE/NAME [CONTAINER]
    #[arg(value_name = "POD CONTAINER")]
    words: Vec<String>,
    /// The container
    #[arg(short = 'c', long, value_name = "NAME")]
    container: Option<String>,
    /// Follow what is written
    #[arg(short = 'f', long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    follow: bool,
    /// Lines from the end; -1 for all [default: all, or 10 with -l]
    #[arg(long, value_name = "LINES", allow_negative_numbers = true)]
    tail: Option<i64>,
    /// Only what is younger than this
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    since: Option<std::time::Duration>,
    /// Only what is younger than this time
    #[arg(long, value_name = "TIME")]
    since_time: Option<String>,
    /// Of the container before the last restart
    #[arg(short = 'p', long)]
    previous: bool,
    /// The time before each line
    #[arg(long)]
    timestamps: bool,
    /// At most this many bytes
    #[arg(long, value_name = "BYTES")]
    limit_bytes: Option<u64>,
    /// Of all containers of the pod
    #[arg(long)]
    all_containers: bool,
    /// Of all pods of the workload
    #[arg(long)]
    all_pods: bool,
    /// Of the pods whose labels match
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Of the pod on this node: of a DaemonSet that is one
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Pod and container before each line
    #[arg(long)]
    prefix: bool,
}

/// One container of one pod.
struct Source {
    pod: String,
    container: String,
}

/// Prints the logs.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    let several = args.selector.is_some() || args.all_pods;
    let mut sources = Vec::new();
    let named = args.container.clone().or_else(|| args.words.get(1).cloned());
    for pod in on_node(pods(api, args).await?, args)? {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let containers = containers(&pod, named.as_deref(), args.all_containers || (several && named.is_none()))?;
        sources.extend(containers.into_iter().map(|container| Source { pod: name.clone(), container }));
    }
    let prefix = args.prefix || args.all_pods;
    if args.follow && sources.len() > 1 {
        let all = sources.iter().map(|source| one(api, args, source, prefix));
        let ends = futures::future::join_all(all).await;
        return Failure::of(ends.into_iter().filter_map(Result::err).collect());
    }
    let mut failures = Vec::new();
    for source in &sources {
        if let Err(e) = one(api, args, source, prefix).await {
            failures.push(e);
        }
    }
    Failure::of(failures)
}

/// Those on the node that is meant; of a workload the most useful one.
fn on_node(mut pods: Vec<Value>, args: &Args) -> Result<Vec<Value>> {
    let Some(node) = &args.node else { return Ok(pods) };
    pods.retain(|pod| pod["spec"]["nodeName"] == **node);
    if pods.is_empty() {
        let what = args.words.first().or(args.selector.as_ref()).map_or("it", String::as_str);
        return message(format!("no pod of {what} is on node {node:?}"));
    }
    if !args.all_pods && args.selector.is_none() {
        pods.truncate(1);
    }
    Ok(pods)
}

async fn pods(api: &Api, args: &Args) -> Result<Vec<Value>> {
    let collection = format!("/api/v1/namespaces/{}/pods", escaped(&api.namespace));
    if let Some(selector) = &args.selector {
        let found = select(api, &collection, selector).await?;
        if found.is_empty() {
            eprintln!("No resources found in {} namespace.", api.namespace);
        }
        return Ok(found);
    }
    let Some(word) = args.words.first() else {
        return message(
            "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument for the logs command\nSee 'kubectl logs -h' for help and examples",
        );
    };
    let (kind, name) = word.split_once('/').unwrap_or(("pods", word));
    let mapping = mapping::by_name(api, kind).await?;
    let object = api.get(&mapping.object(&api.namespace, name), &Query::new()).await.map_err(|e| missing(api, e))?;
    if mapping.kind == "Pod" {
        return Ok(vec![object]);
    }
    if !object["spec"]["selector"].is_object() {
        return message(format!("cannot get the logs from {}: selector not found", mapping.kind));
    }
    let mut found = select(api, &collection, &selector_text(&object["spec"]["selector"])).await?;
    found.retain(|pod| {
        let owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        mapping.kind == "Deployment" || owners.into_iter().any(|owner| owner["uid"] == object["metadata"]["uid"])
    });
    if found.is_empty() {
        return message("timed out waiting for the condition");
    }
    found.sort_by_key(|pod| std::cmp::Reverse(usefulness(pod)));
    if !args.all_pods && args.node.is_none() {
        if found.len() > 1 {
            let name = found[0]["metadata"]["name"].as_str().unwrap_or_default();
            eprintln!("Found {} pods, using pod/{name}", found.len());
        }
        found.truncate(1);
    }
    Ok(found)
}

/// kubectl tells the namespace of what it does not find.
fn missing(api: &Api, failure: Failure) -> Failure {
    match failure {
        Failure::Status(status) if status["reason"] == "NotFound" => Failure::Message(format!(
            "error from server (NotFound): {} in namespace {:?}",
            status["message"].as_str().unwrap_or_default(),
            api.namespace
        )),
        other => other,
    }
}

pub(super) async fn select(api: &Api, collection: &str, selector: &str) -> Result<Vec<Value>> {
    let query = Query::new().with("labelSelector", selector);
    let mut list = api.list(collection, &query, false, PAGE_OBJECTS).await?;
    Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
}

/// Bound before unbound, running before others, ready before not ready.
pub(super) fn usefulness(pod: &Value) -> (bool, bool, bool) {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    (pod["spec"]["nodeName"].is_string(), pod["status"]["phase"] == "Running", ready)
}

/// The containers that are meant.
fn containers(pod: &Value, named: Option<&str>, all: bool) -> Result<Vec<String>> {
    let names = |list: &str| -> Vec<String> {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        containers.filter_map(|container| container["name"].as_str().map(str::to_owned)).collect()
    };
    let (init, main, ephemeral) = (names("initContainers"), names("containers"), names("ephemeralContainers"));
    let every: Vec<String> = init.iter().chain(&main).chain(&ephemeral).cloned().collect();
    if all {
        return Ok(every);
    }
    if let Some(name) = named {
        let pod_name = pod["metadata"]["name"].as_str().unwrap_or_default();
        if !every.iter().any(|other| other == name) {
            return message(format!("container {name} is not valid for pod {pod_name}"));
        }
        return Ok(vec![name.to_owned()]);
    }
    let default = pod["metadata"]["annotations"][DEFAULT_CONTAINER].as_str();
    let chosen = default.filter(|name| every.iter().any(|other| other == name)).map(str::to_owned);
    if chosen.is_none() && every.len() > 1 {
        let mut shown = main.clone();
        shown.extend(init.iter().map(|name| format!("{name} (init)")));
        shown.extend(ephemeral.iter().map(|name| format!("{name} (ephem)")));
        let first = main.first().map(String::as_str).unwrap_or_default();
        eprintln!("Defaulted container {first:?} out of: {}", shown.join(", "));
    }
    Ok(chosen.or_else(|| main.first().cloned()).into_iter().collect())
}

async fn one(api: &Api, args: &Args, source: &Source, prefix: bool) -> Result<()> {
    let tail = args.tail.or_else(|| (args.selector.is_some() && !args.follow).then_some(SELECTOR_TAIL_LINES));
    let flag = |set: bool| set.then_some("true");
    let query = Query::new()
        .with("container", source.container.as_str())
        .with_some("follow", flag(args.follow))
        .with_some("previous", flag(args.previous))
        .with_some("timestamps", flag(args.timestamps))
        .with_some("tailLines", tail.filter(|lines| *lines >= 0).map(|lines| lines.to_string()))
        .with_some("sinceSeconds", args.since.map(|since| since.as_secs().max(1).to_string()))
        .with_some("sinceTime", args.since_time.clone())
        .with_some("limitBytes", args.limit_bytes.map(|bytes| bytes.to_string()));
    let path = format!("/api/v1/namespaces/{}/pods/{}/log", escaped(&api.namespace), escaped(&source.pod));
    let stream = api.stream(&path, &query, "application/json, */*").await?;
    let before = if prefix { format!("[pod/{}/{}] ", source.pod, source.container) } else { String::new() };
    copy(stream, &before).await
}

/// Lines as they come; bytes that are no text stay as they are.
async fn copy(mut stream: impl AsyncBufRead + Unpin, before: &str) -> Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        line.extend_from_slice(before.as_bytes());
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        out.write_all(&line)?;
        out.flush()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::json;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn the_pod_of_a_node() {
        let pod = |name: &str, node: &str| json!({"metadata": {"name": name}, "spec": {"nodeName": node}});
        let pods = || vec![pod("new", "a"), pod("old", "a"), pod("other", "b")];
        let check = |words: &[&str], expect: &[&str]| {
            let args = Cli::try_parse_from(std::iter::once("logs").chain(words.iter().copied())).unwrap().args;
            let found = on_node(pods(), &args).unwrap();
            let names: Vec<&str> = found.iter().filter_map(|pod| pod["metadata"]["name"].as_str()).collect();
            assert_eq!(names, expect, "{words:?}");
        };
        check(&["ds/x", "--node", "a"], &["new"]);
        check(&["ds/x", "--node", "a", "--all-pods"], &["new", "old"]);
        check(&["-l", "a=b", "--node", "b"], &["other"]);
        check(&["ds/x"], &["new", "old", "other"]);
        let none = Cli::try_parse_from(["logs", "ds/x", "--node", "c"]).unwrap().args;
        assert_eq!(on_node(pods(), &none).unwrap_err().text(), "error: no pod of ds/x is on node \"c\"");
    }
}
