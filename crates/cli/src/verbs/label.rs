//! `label` and `annotate`: set and remove labels and annotations.

use std::collections::BTreeMap;

use api::validate::content::label_value;
use serde_json::{Map, Value, json};

use super::{ChangeArgs, each};
use crate::client::{Api, PatchKind};
use crate::failure::{Failure, Result, message};
use crate::files::FileArgs;
use crate::targets::{SelectArgs, Target, Wanted, find};

/// Flags of `label` and of `annotate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// TYPE NAME... or TYPE/NAME..., then KEY=VALUE to set and KEY- to remove
    #[arg(value_name = "TYPE NAME KEY=VALUE")]
    words: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// All objects of the type
    #[arg(long)]
    all: bool,
    /// Change values that are set already
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    overwrite: bool,
    /// Show what is set
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Which of the two maps is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Labels,
    Annotations,
}

impl What {
    fn field(self) -> &'static str {
        if self == Self::Labels { "labels" } else { "annotations" }
    }

    fn one(self) -> &'static str {
        if self == Self::Labels { "label" } else { "annotation" }
    }
}

/// What is to be set, and what removed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    set: BTreeMap<String, String>,
    remove: Vec<String>,
}

/// Changes each object.
pub(crate) async fn run(api: &Api, args: &Args, what: What) -> Result<()> {
    let first = args.words.iter().position(|word| is_change(word)).unwrap_or(args.words.len());
    let (resources, changes) = args.words.split_at(first);
    if let Some(late) = changes.iter().find(|word| !is_change(word)) {
        return message(format!("all resources must be specified before {} changes: {late}", what.one()));
    }
    let changes = parse(changes, what)?;
    if resources.is_empty() && !args.files.given() {
        return message("one or more resources must be specified as <resource> <name> or <resource>/<name>");
    }
    if changes == Changes::default() && !args.list {
        return message(format!("at least one {} update is required", what.one()));
    }
    let wanted = Wanted { words: resources, files: &args.files, select: &args.select, all: args.all };
    let targets = find(api, &wanted).await?;
    each(targets, |target| one(api, args, what, &changes, target)).await
}

fn is_change(word: &str) -> bool {
    word.contains('=') || word.ends_with('-')
}

fn parse(words: &[String], what: What) -> Result<Changes> {
    let mut changes = Changes::default();
    for word in words {
        if let Some((key, value)) = word.split_once('=') {
            if what == What::Labels {
                if value.contains('=') {
                    return message(format!("invalid label spec: {word}"));
                }
                let wrong = label_value(value);
                if !wrong.is_empty() {
                    return message(format!("invalid label value: {word:?}: {}", wrong.join(";")));
                }
            }
            changes.set.insert(key.to_owned(), value.to_owned());
        } else if let Some(key) = word.strip_suffix('-') {
            changes.remove.push(key.to_owned());
        }
    }
    if changes.remove.iter().any(|key| changes.set.contains_key(key)) {
        let one = if what == What::Labels { "a label" } else { "an annotation" };
        return message(format!("can not both modify and remove {one} in the same command"));
    }
    Ok(changes)
}

async fn one(api: &Api, args: &Args, what: What, changes: &Changes, target: Target) -> Result<()> {
    let object = match &target.object {
        Some(object) if target.source.is_none() => object.clone(),
        _ => target.get(api).await?,
    };
    let have = object["metadata"][what.field()].as_object().cloned().unwrap_or_default();
    if args.list {
        have.iter().for_each(|(key, value)| println!("{key}={}", value.as_str().unwrap_or_default()));
        return Ok(());
    }
    let (patch, done) = plan(&have, changes, args.overwrite, what)?;
    if what == What::Labels {
        for key in changes.remove.iter().filter(|key| !have.contains_key(*key)) {
            println!("label {key:?} not found.");
        }
    }
    if patch.is_empty() && what == What::Labels || args.change.is_client() {
        return args.change.print(&target, &object, done);
    }
    let patch = json!({"metadata": {what.field(): patch}});
    let manager = if what == What::Labels { "kubectl-label" } else { "kubectl-annotate" };
    let made = api.patch(&target.path(), &args.change.query(manager), PatchKind::Merge, &patch).await?;
    args.change.print(&target, &made, done)
}

/// The values to patch, and what to say of it.
fn plan(
    have: &Map<String, Value>,
    changes: &Changes,
    overwrite: bool,
    what: What,
) -> Result<(Map<String, Value>, &'static str)> {
    let mut patch = Map::new();
    let mut refused = Vec::new();
    for (key, value) in &changes.set {
        match have.get(key).and_then(Value::as_str) {
            Some(set) if set == value => {}
            Some(set) if !overwrite => refused.push(Failure::Message(match what {
                What::Labels => format!("'{key}' already has a value ({set}), and --overwrite is false"),
                What::Annotations => format!("--overwrite is false but found the following declared annotation(s): '{key}' already has a value ({set})"),
            })),
            _ => {
                patch.insert(key.clone(), value.as_str().into());
            }
        }
    }
    Failure::of(refused)?;
    let added = !patch.is_empty();
    let mut removed = false;
    for key in changes.remove.iter().filter(|key| have.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
        removed = true;
    }
    let done = match (what, added, removed) {
        (What::Annotations, ..) => "annotated",
        (What::Labels, true, true) => "modified",
        (What::Labels, true, false) => "labeled",
        (What::Labels, false, true) => "unlabeled",
        (What::Labels, false, false) => "not labeled",
    };
    Ok((patch, done))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn says_what_was_done() {
        let have = json!({"ssd": "true"}).as_object().cloned().unwrap();
        let cases = [
            ("ssd=true", false, Ok((json!({}), "not labeled"))),
            ("ssd=false", false, Err("error: 'ssd' already has a value (true), and --overwrite is false")),
            ("ssd=false", true, Ok((json!({"ssd": "false"}), "labeled"))),
            ("a=b", false, Ok((json!({"a": "b"}), "labeled"))),
            ("ssd-", false, Ok((json!({"ssd": null}), "unlabeled"))),
            ("nope-", false, Ok((json!({}), "not labeled"))),
            ("a=b ssd-", false, Ok((json!({"a": "b", "ssd": null}), "modified"))),
        ];
        for (text, overwrite, want) in cases {
            let changes = parse(&words(text), What::Labels).unwrap();
            match (plan(&have, &changes, overwrite, What::Labels), want) {
                (Ok((patch, done)), Ok((want, said))) => {
                    assert_eq!((Value::Object(patch), done), (want, said), "{text}")
                }
                (Err(e), Err(want)) => assert_eq!(e.text(), want, "{text}"),
                (got, want) => panic!("{text}: {got:?}, want {want:?}"),
            }
        }
    }

    #[test]
    fn refuses_bad_labels() {
        let said = parse(&words("a=-bad-"), What::Labels).unwrap_err().text();
        assert!(said.starts_with("error: invalid label value: \"a=-bad-\": a valid label must be"), "{said}");
        assert!(parse(&words("a=b=c"), What::Labels).is_err());
        assert!(parse(&words("a=b a-"), What::Labels).is_err());
        assert!(parse(&words("a=b=c"), What::Annotations).is_ok());
    }
}
