//! `replace`: puts an object of a file in place of the one that stands.

use super::{ChangeArgs, each, strict};
use crate::client::Api;
use crate::failure::Result;
use crate::files::{self, FileArgs};
use crate::targets::{Target, of_document};

const MANAGER: &str = "kubectl-replace";

/// Flags of `replace`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Replaces each object.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    let mut targets = Vec::new();
    for document in files::read(&args.files)? {
        targets.push(of_document(api, document).await?);
    }
    each(targets, |target| one(api, args, target)).await
}

async fn one(api: &Api, args: &Args, target: Target) -> Result<()> {
    let mut object = target.object.clone().unwrap_or_default();
    if args.change.is_client() {
        return args.change.print(&target, &object, "replaced");
    }
    let source = target.source.as_deref();
    if object["metadata"]["resourceVersion"].as_str().unwrap_or_default().is_empty() {
        match target.get(api).await {
            Ok(stands) => object["metadata"]["resourceVersion"] = stands["metadata"]["resourceVersion"].clone(),
            // Some kinds are made by being replaced; the server knows which.
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e.during("replacing", source)),
        }
    }
    let made = api.put(&target.path(), &strict(args.change.query(MANAGER)), &object).await;
    let made = made.map_err(|e| e.during("replacing", source))?;
    args.change.print(&target, &made, "replaced")
}
