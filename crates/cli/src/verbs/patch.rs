//! `patch`: changes an object as a patch says.

use serde_json::Value;

use super::{ChangeArgs, each};
use crate::client::{Api, PatchKind};
use crate::failure::{Result, message};
use crate::files::FileArgs;
use crate::targets::{SelectArgs, Target, Wanted, find};

/// How a patch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Operations of RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own.
    Strategic,
}

/// Flags of `patch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// TYPE NAME or TYPE/NAME
    #[arg(value_name = "TYPE NAME")]
    words: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    /// The patch, as JSON or YAML
    #[arg(short = 'p', long, value_name = "PATCH")]
    patch: Option<String>,
    /// A file with the patch
    #[arg(long, value_name = "FILE")]
    patch_file: Option<std::path::PathBuf>,
    /// How it is written
    #[arg(long, value_enum, default_value = "strategic")]
    r#type: Kind,
    /// Patch a part of the object, such as status
    #[arg(long, value_name = "NAME")]
    subresource: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Patches each object.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    let text = match (&args.patch, &args.patch_file) {
        (Some(text), None) => text.clone(),
        (None, Some(file)) => {
            std::fs::read_to_string(file).map_err(|e| format!("unable to read patch file: {}: {e}", file.display()))?
        }
        _ => return message("must specify --patch or --patch-file containing the contents of the patch"),
    };
    let documents = api::yaml::read_documents(&text).map_err(|e| format!("unable to parse {text:?}: {e}"))?;
    let Some(patch) = documents.into_iter().next() else { return message("the patch is empty") };
    let wanted = Wanted { words: &args.words, files: &args.files, select: &SelectArgs::default(), all: false };
    let targets = find(api, &wanted).await?;
    each(targets, |target| one(api, args, &patch, target)).await
}

async fn one(api: &Api, args: &Args, patch: &Value, target: Target) -> Result<()> {
    let before = target.get(api).await?;
    if args.change.is_client() {
        return args.change.print(&target, &before, "patched");
    }
    let kind = match args.r#type {
        Kind::Json => PatchKind::Json,
        Kind::Merge => PatchKind::Merge,
        Kind::Strategic => PatchKind::Strategic,
    };
    let mut path = target.path();
    if let Some(part) = &args.subresource {
        path = format!("{path}/{part}");
    }
    let made = api.patch(&path, &args.change.query("kubectl-patch"), kind, patch).await?;
    let same = before["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"] && before == made;
    args.change.print_bare(&target, &made, if same { "patched (no change)" } else { "patched" })
}
