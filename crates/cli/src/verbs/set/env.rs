//! `set env`: sets and removes variables of containers.

use serde_json::{Value, json};

use super::{matches, spec_of, standing, under_spec};
use crate::client::{Api, PatchKind};
use crate::failure::{Result, message};
use crate::files::FileArgs;
use crate::targets::{SelectArgs, Target, Wanted, find};
use crate::verbs::{ChangeArgs, each};

/// Flags of `set env`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// TYPE NAME or TYPE/NAME, then NAME=VALUE to set and NAME- to remove
    #[arg(value_name = "TYPE NAME VARIABLE=VALUE")]
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
    /// Show the variables
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Changes each object.
pub(super) async fn run(api: &Api, args: &Args) -> Result<()> {
    let is_change = |word: &&String| word.contains('=') || word.ends_with('-');
    let (changes, resources): (Vec<&String>, Vec<&String>) = args.words.iter().partition(is_change);
    if changes.is_empty() && !args.list {
        return message("at least one environment variable must be provided");
    }
    let resources: Vec<String> = resources.into_iter().cloned().collect();
    let wanted = Wanted { words: &resources, files: &args.files, select: &args.select, all: args.all };
    let targets = find(api, &wanted).await?;
    each(targets, |target| one(api, args, &changes, target)).await
}

async fn one(api: &Api, args: &Args, changes: &[&String], target: Target) -> Result<()> {
    let object = standing(api, &target).await?;
    let spec = spec_of(&target, &object);
    if args.list {
        list(&target, spec, &args.containers);
        return Ok(());
    }
    let patch = plan(spec, &args.containers, changes);
    if patch == json!({}) {
        return Ok(());
    }
    if args.change.is_client() {
        return args.change.print(&target, &object, "env updated");
    }
    let patch = under_spec(&target, patch);
    let made = api.patch(&target.path(), &args.change.query("kubectl-set"), PatchKind::Strategic, &patch).await?;
    args.change.print(&target, &made, "env updated")
}

fn list(target: &Target, spec: &Value, containers: &str) {
    for container in spec["containers"].as_array().into_iter().flatten() {
        let name = container["name"].as_str().unwrap_or_default();
        if matches(containers, name) {
            println!("# {} {}, container {name}", target.mapping.plural, target.name);
            for variable in container["env"].as_array().into_iter().flatten() {
                let name = variable["name"].as_str().unwrap_or_default();
                match variable["value"].as_str() {
                    None if variable["valueFrom"].is_object() => println!("# {name} from {}", variable["valueFrom"]),
                    value => println!("{name}={}", value.unwrap_or_default()),
                }
            }
        }
    }
}

/// The changes to a pod spec, empty when there are none.
fn plan(spec: &Value, pattern: &str, changes: &[&String]) -> Value {
    let mut patch = json!({});
    for list in ["initContainers", "containers"] {
        let mut changed = Vec::new();
        for container in spec[list].as_array().into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default();
            let env: Vec<Value> = changes
                .iter()
                .filter(|_| matches(pattern, name))
                .filter_map(|change| variable(container, change))
                .collect();
            if !env.is_empty() {
                changed.push(json!({"name": name, "env": env}));
            }
        }
        if !changed.is_empty() {
            patch[list] = changed.into();
        }
    }
    patch
}

/// One variable's patch; None when it is so already.
fn variable(container: &Value, change: &str) -> Option<Value> {
    let there =
        |name: &str| container["env"].as_array().into_iter().flatten().find(|variable| variable["name"] == name);
    match change.split_once('=') {
        Some((name, value)) => {
            let mut patch = json!({"name": name, "value": value});
            match there(name) {
                Some(have) if have["value"] == value && !have["valueFrom"].is_object() => return None,
                Some(have) if have["valueFrom"].is_object() => patch["valueFrom"] = Value::Null,
                _ => {}
            }
            Some(patch)
        }
        None => {
            let name = change.trim_end_matches('-');
            there(name).map(|_| json!({"name": name, "$patch": "delete"}))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans() {
        let spec = json!({"containers": [
            {"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "N", "valueFrom": {"fieldRef": {}}}]},
            {"name": "b"},
        ]});
        let env = |container: &str, env: Value| json!({"name": container, "env": [env]});
        let cases = [
            ("a", "X=1", json!({})),
            ("a", "X=2", json!({"containers": [env("a", json!({"name": "X", "value": "2"}))]})),
            ("a", "N=2", json!({"containers": [env("a", json!({"name": "N", "value": "2", "valueFrom": null}))]})),
            ("*", "X-", json!({"containers": [env("a", json!({"name": "X", "$patch": "delete"}))]})),
            ("b", "X=1", json!({"containers": [env("b", json!({"name": "X", "value": "1"}))]})),
        ];
        for (pattern, change, want) in cases {
            assert_eq!(plan(&spec, pattern, &[&change.to_owned()]), want, "{pattern} {change}");
        }
    }
}
