//! `apply`: makes objects as their files say, and leaves alone what the files don't say.

use api::kinds;
use serde_json::{Value, json};

use super::{ChangeArgs, each, strict};
use crate::client::{Api, PatchKind};
use crate::failure::{Failure, Result, message};
use crate::files::{self, FileArgs};
use crate::gojson;
use crate::merge;
use crate::targets::{Target, of_document};

/// Where an object keeps what was last applied.
pub(crate) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const MANAGER: &str = "kubectl-client-side-apply";
const SERVER_SIDE_MANAGER: &str = "kubectl";
/// What to do about fields that others own.
const OWNED_BY_OTHERS: &str = "\
Please review the fields above--they currently have other managers. Here
are the ways you can resolve this warning:
* If you intend to manage all of these fields, please re-run the apply
  command with the `--force-conflicts` flag.
* If you do not intend to manage all of the fields, please edit your
  manifest to remove references to the fields that should keep their
  current managers.
* You may co-own fields by updating your manifest to match the existing
  value; in this case, you'll become the manager if the other manager(s)
  stop managing the field (remove it from their configuration).
See https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts";
/// Another writer may come between the look and the patch this often.
const CONFLICTS_MAX: usize = 5;

/// Flags of `apply`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    change: ChangeArgs,
    /// Delete and create anew what can't be changed in place
    #[arg(long)]
    force: bool,
    /// Let the server merge, by who owns which field
    #[arg(long)]
    server_side: bool,
    /// Take over fields that others own
    #[arg(long, requires = "server_side")]
    force_conflicts: bool,
}

/// Applies each object of the files.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    let mut failures = Vec::new();
    let mut targets = Vec::new();
    for document in files::read(&args.files)? {
        match of_document(api, document).await {
            Ok(target) => targets.push(target),
            Err(e) => failures.push(e),
        }
    }
    if let Err(e) = each(targets, |target| one(api, args, target)).await {
        match e {
            Failure::Many(many) => failures.extend(many),
            other => failures.push(other),
        }
    }
    Failure::of(failures)
}

async fn one(api: &Api, args: &Args, target: Target) -> Result<()> {
    let source = target.source.clone();
    let source = source.as_deref();
    if target.name.is_empty() {
        let name = target.object.as_ref().and_then(|object| object["metadata"]["generateName"].as_str());
        return match name {
            Some(name) => message(format!("from {name}: cannot use generate name with apply")),
            None => message("resource name may not be empty"),
        };
    }
    if args.server_side {
        return by_server(api, args, &target).await;
    }
    let modified = with_last_applied(target.object.clone().unwrap_or_default());
    let current = match target.get(api).await {
        Ok(current) => current,
        Err(e) if e.is_not_found() => return create(api, args, &target, &modified).await,
        Err(e) => return Err(e.during("retrieving current configuration of object from server for", source)),
    };
    if last_applied(&current).is_none() {
        let (plural, name) = (&target.mapping.plural, &target.name);
        eprintln!(
            "Warning: resource {plural}/{name} is missing the {LAST_APPLIED} annotation which is required by kubectl apply. kubectl apply should only be used on resources created declaratively by either kubectl create --save-config or kubectl apply. The missing annotation will be patched automatically."
        );
    }
    if args.change.is_client() {
        return args.change.print(&target, &current, "configured");
    }
    change(api, args, &target, modified, current).await.map_err(|e| e.during("applying patch to object for", source))
}

async fn by_server(api: &Api, args: &Args, target: &Target) -> Result<()> {
    if args.change.is_client() {
        return message("--dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)");
    }
    let query = strict(args.change.query(SERVER_SIDE_MANAGER)).with("force", args.force_conflicts.to_string());
    let wanted = target.object.clone().unwrap_or_default();
    match api.patch(&target.path(), &query, PatchKind::Apply, &wanted).await {
        Ok(made) => args.change.print(target, &made, "serverside-applied"),
        Err(Failure::Status(status)) if status["reason"] == "Conflict" => {
            message(format!("{}\n{OWNED_BY_OTHERS}", status["message"].as_str().unwrap_or_default()))
        }
        Err(e) => Err(e),
    }
}

async fn create(api: &Api, args: &Args, target: &Target, modified: &Value) -> Result<()> {
    if args.change.is_client() {
        return args.change.print(target, modified, "created");
    }
    let path = target.mapping.collection(Some(&target.namespace));
    let made = api.post(&path, &strict(args.change.query(MANAGER)), modified).await;
    let made = made.map_err(|e| e.during("creating", target.source.as_deref()))?;
    args.change.print(target, &made, "created")
}

async fn change(api: &Api, args: &Args, target: &Target, modified: Value, mut current: Value) -> Result<()> {
    let type_name = kinds::by_kind(&target.mapping.api_version(), &target.mapping.kind).map(|kind| kind.type_name);
    let kind = if type_name.is_some() { PatchKind::Strategic } else { PatchKind::Merge };
    for left in (0..CONFLICTS_MAX).rev() {
        let original = last_applied(&current).and_then(|text| serde_json::from_str::<Value>(text).ok());
        let patch = merge::three_way(type_name, original.as_ref(), &modified, &current);
        if patch == json!({}) {
            return args.change.print(target, &current, "unchanged");
        }
        match api.patch(&target.path(), &strict(args.change.query(MANAGER)), kind, &patch).await {
            Ok(made) => return args.change.print(target, &made, "configured"),
            Err(e) if e.reason() == "Conflict" && left > 0 => current = target.get(api).await?,
            Err(e) if args.force && matches!(e.reason(), "Conflict" | "Invalid") => {
                return replace(api, args, target, &modified, &current).await;
            }
            Err(e) => return Err(e),
        }
    }
    Err(Failure::Silent)
}

async fn replace(api: &Api, args: &Args, target: &Target, modified: &Value, current: &Value) -> Result<()> {
    let uid = current["metadata"]["uid"].as_str().unwrap_or_default();
    let options = json!({"propagationPolicy": "Background", "preconditions": {"uid": uid}});
    api.delete(&target.path(), &args.change.query(MANAGER), &options).await?;
    crate::watching::until_gone(api, target, uid, crate::watching::FOREVER).await?;
    let path = target.mapping.collection(Some(&target.namespace));
    let made = api.post(&path, &strict(args.change.query(MANAGER)), modified).await?;
    args.change.print(target, &made, "configured")
}

fn last_applied(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][LAST_APPLIED].as_str()
}

/// The object with an annotation that says what it is without it.
pub(crate) fn with_last_applied(mut object: Value) -> Value {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    let annotations = &mut object["metadata"]["annotations"];
    if !annotations.is_object() {
        *annotations = json!({});
    }
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.remove(LAST_APPLIED);
    }
    let text = gojson::compact(&object) + "\n";
    object["metadata"]["annotations"][LAST_APPLIED] = text.into();
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_what_was_applied_without_the_memory_itself() {
        let object = json!({"kind": "ConfigMap", "metadata": {"name": "x", "annotations": {LAST_APPLIED: "old"}}});
        let once = with_last_applied(object);
        let text = last_applied(&once).unwrap();
        assert_eq!(text, "{\"kind\":\"ConfigMap\",\"metadata\":{\"annotations\":{},\"name\":\"x\"}}\n");
        assert_eq!(with_last_applied(once.clone()), once);
    }
}
