//! `rollout history`: the revisions of a workload.

use serde_json::Value;

use super::Targets;
use crate::client::{Api, PAGE_OBJECTS, Query, escaped};
use crate::columns;
use crate::describe::{Writer, pod_template, selector_text};
use crate::failure::{Failure, Result, message};
use crate::targets::Target;

const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";

/// Flags of `rollout history`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    targets: Targets,
    /// Show the pod template of this revision
    #[arg(long, value_name = "REVISION", default_value_t = 0)]
    revision: i64,
}

/// Shows each workload's history.
pub(super) async fn run(api: &Api, args: &Args) -> Result<()> {
    if args.revision < 0 {
        return message(format!("revision must be a positive integer: {}", args.revision));
    }
    let mut failures = Vec::new();
    for target in args.targets.find(api).await? {
        match one(api, args, &target).await {
            Ok(text) => {
                let with = if args.revision > 0 { format!(" with revision #{}", args.revision) } else { " ".into() };
                println!("{}{with}\n{text}", target.word());
            }
            Err(e) => failures.push(e),
        }
    }
    Failure::of(failures)
}

async fn one(api: &Api, args: &Args, target: &Target) -> Result<String> {
    let revisions = revisions(api, target).await?;
    if revisions.is_empty() {
        return Ok("No rollout history found.".into());
    }
    if args.revision == 0 {
        return Ok(overview(&revisions));
    }
    match revisions.iter().find(|revision| number(revision) == args.revision) {
        Some(found) => {
            let mut w = Writer::new();
            pod_template(&mut w, &found["data"]["spec"]["template"]);
            Ok(w.unaligned())
        }
        None => message("unable to find the specified revision"),
    }
}

fn overview(revisions: &[Value]) -> String {
    let mut text = "REVISION\tCHANGE-CAUSE\n".to_owned();
    for revision in revisions {
        let cause = revision["metadata"]["annotations"][CHANGE_CAUSE].as_str().unwrap_or("<none>");
        text.push_str(&format!("{}\t{cause}\n", number(revision)));
    }
    columns::align(&text, 0, 2)
}

/// The revision's number.
pub(super) fn number(revision: &Value) -> i64 {
    revision["revision"].as_i64().unwrap_or_default()
}

/// The ControllerRevisions that the workload owns, oldest first.
pub(super) async fn revisions(api: &Api, target: &Target) -> Result<Vec<Value>> {
    if !matches!(target.mapping.kind.as_str(), "DaemonSet" | "StatefulSet") {
        let (group, kind) = (&target.mapping.group, &target.mapping.kind);
        return message(format!(
            "error retrieving history for {kind:?}, no visitor method exists for {{{group} {kind}}}"
        ));
    }
    let owner = super::standing(api, target).await?;
    let path = format!("/apis/apps/v1/namespaces/{}/controllerrevisions", escaped(&target.namespace));
    let query = Query::new().with("labelSelector", selector_text(&owner["spec"]["selector"]));
    let mut list = api.list(&path, &query, false, PAGE_OBJECTS).await?;
    let mut found = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let uid = &owner["metadata"]["uid"];
    found.retain(|revision| {
        let owners = revision["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        owners.into_iter().any(|owner| owner["controller"] == true && &owner["uid"] == uid)
    });
    found.sort_by_key(number);
    Ok(found)
}
