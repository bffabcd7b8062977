//! `create`: makes objects from files; fails for those that are there. Also `create namespace` and `create configmap`.

use serde_json::{Value, json};

use super::apply::with_last_applied;
use super::{ChangeArgs, each, strict};
use crate::client::Api;
use crate::failure::{Result, message};
use crate::files::{self, Document, FileArgs};
use crate::targets::{Target, of_document};

const MANAGER: &str = "kubectl-create";

/// Flags of `create`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// namespace NAME, or configmap NAME with --from-literal or --from-file
    #[arg(value_name = "KIND NAME")]
    words: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    change: ChangeArgs,
    /// Remember the object for a later `apply`
    #[arg(long)]
    save_config: bool,
    /// Data of a ConfigMap: key=value (repeat)
    #[arg(long, value_name = "KEY=VALUE")]
    from_literal: Vec<String>,
    /// Data of a ConfigMap: a file, or key=file (repeat)
    #[arg(long, value_name = "[KEY=]FILE")]
    from_file: Vec<String>,
}

/// Creates each object.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    if let Some((kind, names)) = args.words.split_first() {
        let object = by_hand(args, kind, names)?;
        let mut target = of_document(api, Document { object, source: String::new() }).await?;
        target.source = None;
        return one(api, args, target).await;
    }
    let mut targets = Vec::new();
    for document in files::read(&args.files)? {
        targets.push(of_document(api, document).await?);
    }
    each(targets, |target| one(api, args, target)).await
}

fn by_hand(args: &Args, kind: &str, names: &[String]) -> Result<Value> {
    let [name] = names else { return message(format!("exactly one NAME is required, got {}", names.len())) };
    match kind {
        "namespace" | "ns" => Ok(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})),
        "configmap" | "cm" => {
            let mut data = serde_json::Map::new();
            for literal in &args.from_literal {
                let (key, value) = literal
                    .split_once('=')
                    .ok_or_else(|| format!("invalid literal source {literal}, expected key=value"))?;
                data.insert(key.to_owned(), value.into());
            }
            for file in &args.from_file {
                let (key, path) = match file.split_once('=') {
                    Some((key, path)) => (key.to_owned(), path),
                    None => (file.rsplit('/').next().unwrap_or(file).to_owned(), file.as_str()),
                };
                let text = std::fs::read_to_string(path).map_err(|e| format!("error reading {path}: {e}"))?;
                data.insert(key, text.into());
            }
            Ok(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}))
        }
        other => message(format!("create {other} is not supported: write it to a file and use create -f FILE")),
    }
}

/// An object made by words shows no namespace that the words don't name.
fn only_what_was_said(api: &Api, object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.insert("creationTimestamp".into(), Value::Null);
        if !api.namespace_given {
            metadata.remove("namespace");
        }
    }
}

async fn one(api: &Api, args: &Args, target: Target) -> Result<()> {
    let mut object = target.object.clone().unwrap_or_default();
    if args.save_config {
        object = with_last_applied(object);
    }
    if args.change.is_client() {
        if target.source.is_none() {
            only_what_was_said(api, &mut object);
        }
        return args.change.print(&target, &object, "created");
    }
    let path = target.mapping.collection(Some(&target.namespace));
    let made = api.post(&path, &strict(args.change.query(MANAGER)), &object).await;
    let made = made.map_err(|e| e.during("creating", target.source.as_deref()))?;
    let name = made["metadata"]["name"].as_str().unwrap_or(&target.name).to_owned();
    args.change.print(&Target { name, ..target }, &made, "created")
}
