//! `why`: why nodes run a daemon, wait for one or have none.

use serde_json::Value;

use crate::client::Api;
use crate::columns;
use crate::failure::{Result, message};
use crate::output::Output;
use crate::reasons::{self, ReasonsQuery};
use crate::targets::{Named, read_words};

/// Least width of a column with its padding, and the padding.
const WIDTH_MIN: usize = 6;
const PADDING: usize = 3;

/// Flags of `why`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A DaemonSet (ds/NAME or ds NAME), and a node (node/NAME) for all that is known of it
    #[arg(value_name = "ds/NAME [node/NAME]")]
    words: Vec<String>,
    /// Only nodes whose labels match
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// json, yaml, jsonpath=... (each node), or wide (a line for each node)
    #[arg(short = 'o', long, value_name = "FORMAT")]
    output: Option<String>,
}

/// Tells why.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    let (set, node) = words(api, &args.words).await?;
    if node.is_some() && args.selector.is_some() {
        return message("a node cannot be named when a selector is specified");
    }
    let output = Output::parse(args.output.as_deref())?;
    let is_wide = matches!(output, Output::Table { wide: true });
    let summary = output.is_table() && !is_wide && node.is_none();
    let query = ReasonsQuery { node, selector: args.selector.clone(), summary };
    let report = reasons::ask(api, &api.namespace, &set, &query).await?;
    let text = match output {
        Output::Table { .. } if query.node.is_some() => one(&report),
        Output::Table { wide: true } => each(&report),
        Output::Table { wide: false } => summed(&report),
        other => other.render(&report)?,
    };
    print!("{text}");
    Ok(())
}

/// The DaemonSet and the node that the command line names.
async fn words(api: &Api, words: &[String]) -> Result<(String, Option<String>)> {
    let usage = "name a DaemonSet, and a node if you like: why ds/NAME [node/NAME]";
    let slashed: Vec<String> = match words {
        [kind, name] if !kind.contains('/') && !name.contains('/') => vec![format!("{kind}/{name}")],
        [kind, name, node @ ..] if !kind.contains('/') && !name.contains('/') => {
            std::iter::once(format!("{kind}/{name}")).chain(node.iter().cloned()).collect()
        }
        words => words.to_vec(),
    };
    if slashed.is_empty() {
        return message(usage);
    }
    let Named::Objects(objects) = read_words(api, &slashed).await? else { return message(usage) };
    let kinds: Vec<&str> = objects.iter().map(|(mapping, _)| mapping.kind.as_str()).collect();
    match (kinds.as_slice(), objects.as_slice()) {
        (["DaemonSet"], [(_, set)]) => Ok((set.clone(), None)),
        (["DaemonSet", "Node"], [(_, set), (_, node)]) => Ok((set.clone(), Some(node.clone()))),
        _ => message(usage),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn headline(report: &Value) -> String {
    let counts = &report["counts"];
    let [nodes, runs, waits, excluded, updated, outdated] =
        ["nodes", "runs", "waits", "excluded", "updated", "outdated"].map(|name| number(&counts[name]));
    let name = text(&report["metadata"]["name"]);
    let mut line = format!("daemonset.apps/{name}: {nodes} nodes: {runs} run, {waits} wait, {excluded} excluded");
    if updated + outdated > 0 {
        line.push_str(&format!("; {updated} of {} updated", updated + outdated));
        if !text(&report["revision"]).is_empty() {
            line.push_str(&format!(" to revision {}", text(&report["revision"])));
        }
    }
    line + "\n"
}

/// Counts by cause.
pub(crate) fn summed(report: &Value) -> String {
    headline(report) + &table(report) + &waiting_updates(report)
}

/// Causes, a line each.
pub(crate) fn table(report: &Value) -> String {
    let causes = report["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
    if causes.is_empty() {
        return String::new();
    }
    let mut lines = "STATE\tCOUNT\tCAUSE\tNODES\tWHY\n".to_owned();
    for cause in causes {
        let (state, word, about) = (text(&cause["state"]), text(&cause["cause"]), text(&cause["about"]));
        lines.push_str(&format!("{state}\t{}\t{word}\t{}\t{about}\n", number(&cause["nodes"]), reasons::named(cause)));
    }
    columns::align(&lines, WIDTH_MIN, PADDING)
}

/// What updates wait for, a line each.
pub(crate) fn waiting_updates(report: &Value) -> String {
    let nodes = |count| match count {
        1 => "1 node waits for its turn".to_owned(),
        _ => format!("{count} nodes wait for their turn"),
    };
    let held = reasons::held(report);
    held.into_iter().map(|(about, count)| format!("update: {}: {about}\n", nodes(count))).collect()
}

/// A line for each node.
fn each(report: &Value) -> String {
    let mut lines = "NODE\tSTATE\tCAUSE\tPOD\tUPDATED\tWHY\n".to_owned();
    for node in report["nodes"].as_array().into_iter().flatten() {
        let updated = node["updated"].as_bool().map_or("<none>", |u| if u { "yes" } else { "no" });
        let pod = node["pod"].as_str().unwrap_or("<none>");
        let parts = [text(&node["node"]), text(&node["state"]), text(&node["cause"]), pod, updated];
        lines.push_str(&format!("{}\t{}\n", parts.join("\t"), text(&node["message"]).replace(['\t', '\n'], " ")));
    }
    headline(report) + &columns::align(&lines, WIDTH_MIN, PADDING)
}

/// All that is known of one node.
fn one(report: &Value) -> String {
    let node = &report["nodes"][0];
    let set = text(&report["metadata"]["name"]);
    let (name, state, cause) = (text(&node["node"]), text(&node["state"]), text(&node["cause"]));
    let mut lines = format!("daemonset.apps/{set} on node/{name}: {state} ({cause})\n");
    lines.push_str(&format!("  Why:      {}\n", text(&node["message"])));
    if let Some(pod) = node["pod"].as_str() {
        lines.push_str(&format!("  Pod:      {pod}\n"));
    }
    match (node["updated"].as_bool(), node["update"].as_str()) {
        (Some(true), _) => lines.push_str(&format!("  Updated:  yes, to revision {}\n", text(&report["revision"]))),
        (Some(false), Some(why)) => lines.push_str(&format!("  Updated:  not yet: {why}\n")),
        (Some(false), None) => lines.push_str("  Updated:  no\n"),
        (None, _) => {}
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report() -> Value {
        json!({
            "metadata": {"name": "d"}, "revision": "abc",
            "counts": {"nodes": 6, "runs": 4, "waits": 1, "excluded": 1, "updated": 2, "outdated": 3},
            "causes": [
                {"state": "Runs", "cause": "Available", "about": "the pod is available", "nodes": 4, "examples": ["n-0", "n-1", "n-2"]},
                {"state": "Waits", "cause": "CrashLoop", "about": "container c ended with exit code 1", "nodes": 1, "examples": ["n-4"]},
            ],
            "held": [{"about": "maxUnavailable 1 is used up by n-4", "nodes": 3}],
            "nodes": [{"node": "n-0", "state": "Runs", "cause": "Available", "about": "", "message": "the pod is available",
                "pod": "d-1", "updated": false, "update": "maxUnavailable 1 is used up by n-4"}],
        })
    }

    #[test]
    fn a_summary_counts_by_cause() {
        let want = "\
daemonset.apps/d: 6 nodes: 4 run, 1 wait, 1 excluded; 2 of 5 updated to revision abc
STATE   COUNT   CAUSE       NODES                      WHY
Runs    4       Available   n-0, n-1, n-2 and 1 more   the pod is available
Waits   1       CrashLoop   n-4                        container c ended with exit code 1
update: 3 nodes wait for their turn: maxUnavailable 1 is used up by n-4
";
        assert_eq!(summed(&report()), want);
    }

    #[test]
    fn one_node_is_told_in_full() {
        let want = "\
daemonset.apps/d on node/n-0: Runs (Available)
  Why:      the pod is available
  Pod:      d-1
  Updated:  not yet: maxUnavailable 1 is used up by n-4
";
        assert_eq!(one(&report()), want);
        assert!(each(&report()).contains("n-0    Runs    Available   d-1   no        the pod is available"));
    }
}
