//! `diff`: what `apply` would change, as the server would have it.

use std::fs;
use std::path::Path;
use std::process::Command;

use api::kinds;
use serde_json::{Value, json};

use super::apply::{LAST_APPLIED, with_last_applied};
use super::strict;
use crate::client::{Api, PatchKind, Query};
use crate::failure::{Failure, Result};
use crate::files::{self, FileArgs};
use crate::merge;
use crate::output::tidied;
use crate::targets::{Target, of_document};

const MANAGER: &str = "kubectl-client-side-apply";
/// The exit code of a diff that could not be made.
const FAILED: u8 = 2;
/// An object may change while it is looked at; after this many tries it is said so.
const TRIES_MAX: usize = 4;
/// Shown in place of a Secret's values.
const MASK: &str = "***";

/// Flags of `diff`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    files: FileArgs,
}

/// Shows the differences with the system's `diff`; fails when there are any.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    match differ(api, args).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(Failure::Silent),
        Err(e) => Err(Failure::Coded(Box::new(e), FAILED)),
    }
}

/// Whether anything differs.
async fn differ(api: &Api, args: &Args) -> Result<bool> {
    let dir = Scratch::new()?;
    let (live, merged) = (dir.0.join("LIVE"), dir.0.join("MERGED"));
    fs::create_dir_all(&live)?;
    fs::create_dir_all(&merged)?;
    for document in files::read(&args.files)? {
        let target = of_document(api, document).await?;
        let (before, after) = steady(api, &target).await?;
        let (before, after) = (before.map(|object| shown(&target, object)), shown(&target, after));
        let mapping = &target.mapping;
        let parts = [&mapping.group, &mapping.version, &mapping.kind, &target.namespace, &target.name];
        let name = parts.iter().filter(|part| !part.is_empty()).map(|part| part.as_str()).collect::<Vec<_>>().join(".");
        write(&live.join(&name), before.as_ref())?;
        write(&merged.join(&name), Some(&after))?;
    }
    let program = std::env::var("KUBECTL_EXTERNAL_DIFF").unwrap_or_else(|_| "diff".into());
    let mut words = program.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or("diff"));
    command.args(words);
    if std::env::var_os("KUBECTL_EXTERNAL_DIFF").is_none() {
        command.args(["-u", "-N"]);
    }
    let status = command.arg(&live).arg(&merged).status().map_err(|e| format!("failed to run {program:?}: {e}"))?;
    match status.code() {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        _ => Err(format!("{program:?} failed: {status}").into()),
    }
}

/// An object as it stands and as the files would have it, with nobody's change in between.
pub(crate) async fn steady(api: &Api, target: &Target) -> Result<(Option<Value>, Value)> {
    for _ in 1..TRIES_MAX {
        match versions(api, target).await {
            Err(e) if e.reason() == "Conflict" => {}
            other => return other,
        }
    }
    versions(api, target).await
}

/// The object as it stands, and as it would stand.
async fn versions(api: &Api, target: &Target) -> Result<(Option<Value>, Value)> {
    let query = strict(Query::new().with("fieldManager", MANAGER).with("dryRun", "All"));
    let modified = with_last_applied(target.object.clone().unwrap_or_default());
    let current = match target.get(api).await {
        Ok(current) => current,
        Err(e) if e.is_not_found() => {
            let path = target.mapping.collection(Some(&target.namespace));
            return Ok((None, api.post(&path, &query, &modified).await?));
        }
        Err(e) => return Err(e),
    };
    let type_name = kinds::by_kind(&target.mapping.api_version(), &target.mapping.kind).map(|kind| kind.type_name);
    let kind = if type_name.is_some() { PatchKind::Strategic } else { PatchKind::Merge };
    let applied = current["metadata"]["annotations"][LAST_APPLIED].as_str();
    let original = applied.and_then(|text| serde_json::from_str::<Value>(text).ok());
    let mut patch = merge::three_way(type_name, original.as_ref(), &modified, &current);
    if patch == json!({}) {
        return Ok((Some(current.clone()), current));
    }
    if !patch["metadata"].is_object() {
        patch["metadata"] = json!({});
    }
    patch["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"].clone();
    let after = api.patch(&target.path(), &query, kind, &patch).await?;
    Ok((Some(current), after))
}

/// Without what changes by itself, and without secrets.
fn shown(target: &Target, object: Value) -> Value {
    let mut object = tidied(object, Some(&target.mapping), false);
    if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
        annotations.remove(LAST_APPLIED);
    }
    if target.mapping.kind == "Secret"
        && let Some(data) = object["data"].as_object_mut()
    {
        data.values_mut().for_each(|value| *value = MASK.into());
    }
    object
}

fn write(path: &Path, object: Option<&Value>) -> Result<()> {
    match object {
        Some(object) => Ok(fs::write(path, api::yaml::to_yaml(object))?),
        None => Ok(()),
    }
}

/// A directory that goes when it is done with.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let nanos = jiff::Timestamp::now().as_nanosecond();
        let path = std::env::temp_dir().join(format!("everynode-diff-{}-{nanos}", std::process::id()));
        // Objects may be nobody else's business.
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What can't be removed is left to the system's own cleaning.
        let _ = fs::remove_dir_all(&self.0);
    }
}
