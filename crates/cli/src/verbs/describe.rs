//! `describe`: objects in words.

use crate::client::Api;
use crate::describe::describe;
use crate::failure::{Failure, Result};
use crate::files::FileArgs;
use crate::targets::{Named, SelectArgs, Target, Wanted, find, read_words};

/// Flags of `describe`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// TYPE [NAME...] or TYPE/NAME...
    #[arg(value_name = "TYPE NAME")]
    words: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// Show the objects' events
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    show_events: bool,
}

/// Describes each object.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    let mut targets = targets(api, args).await?;
    if targets.is_empty() {
        eprintln!("No resources found in {} namespace.", api.namespace);
    }
    let mut failures = Vec::new();
    let mut first = true;
    for target in &mut targets {
        match one(api, target, args.show_events).await {
            Ok(text) => {
                print!("{}{text}", if first { "" } else { "\n\n" });
                first = false;
            }
            Err(e) => failures.push(e),
        }
    }
    Failure::of(failures)
}

async fn targets(api: &Api, args: &Args) -> Result<Vec<Target>> {
    let named = !args.files.given() && matches!(read_words(api, &args.words).await?, Named::Objects(_));
    let wanted = Wanted { words: &args.words, files: &args.files, select: &args.select, all: !named };
    find(api, &wanted).await
}

async fn one(api: &Api, target: &mut Target, show_events: bool) -> Result<String> {
    match describe(api, target, show_events).await {
        Err(e) if e.is_not_found() && target.source.is_none() => by_prefix(api, target, show_events, e).await,
        other => other,
    }
}

/// A name that is not there may be the beginning of others.
async fn by_prefix(api: &Api, target: &Target, show_events: bool, missing: Failure) -> Result<String> {
    let wanted = Wanted {
        words: &[target.mapping.resource()],
        files: &FileArgs::default(),
        select: &SelectArgs::default(),
        all: true,
    };
    let mut texts = Vec::new();
    for found in find(api, &wanted).await.unwrap_or_default() {
        if found.name.starts_with(&target.name) {
            texts.push(describe(api, &found, show_events).await?);
        }
    }
    if texts.is_empty() { Err(missing) } else { Ok(texts.join("\n") + "\n") }
}
