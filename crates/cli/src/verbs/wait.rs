//! `wait`: until a condition holds, a field has a value, or the object is gone.

use std::time::Duration;

use serde_json::Value;

use crate::client::Api;
use crate::duration;
use crate::failure::{Failure, Result, message};
use crate::files::FileArgs;
use crate::jsonpath;
use crate::targets::{SelectArgs, Target, Wanted, find};
use crate::watching::{FOREVER, until};

/// Flags of `wait`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// TYPE NAME... or TYPE/NAME...
    #[arg(value_name = "TYPE NAME")]
    words: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// All objects of the type
    #[arg(long)]
    all: bool,
    /// delete, create, condition=NAME[=VALUE] or jsonpath=PATH[=VALUE]
    #[arg(long = "for", value_name = "WHAT")]
    what: String,
    /// How long to wait; 0 looks once, less is a week
    #[arg(long, value_name = "DURATION", default_value = "30s", allow_hyphen_values = true)]
    timeout: String,
}

/// What is waited for.
#[derive(Debug)]
enum Until {
    Deleted,
    Created,
    Condition { name: String, value: String },
    Field { path: jsonpath::Path, value: Option<String> },
}

/// Waits for each object in turn.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    let what = parse(&args.what)?;
    let limit = if args.timeout.starts_with('-') { FOREVER } else { duration::parse(&args.timeout)? };
    let wanted = Wanted { words: &args.words, files: &args.files, select: &args.select, all: args.all };
    let targets = find(api, &wanted).await?;
    if targets.is_empty() {
        return message("no matching resources found");
    }
    let mut failures = Vec::new();
    for target in targets {
        if let Err(e) = one(api, &what, limit, &target).await {
            failures.push(e);
        }
    }
    Failure::of(failures)
}

fn parse(text: &str) -> Result<Until> {
    let lower = text.to_lowercase();
    if lower == "delete" {
        return Ok(Until::Deleted);
    }
    if lower == "create" {
        return Ok(Until::Created);
    }
    if let Some(condition) = text.strip_prefix("condition=") {
        let (name, value) = condition.split_once('=').unwrap_or((condition, "true"));
        return Ok(Until::Condition { name: name.into(), value: value.into() });
    }
    if let Some(field) = text.strip_prefix("jsonpath=") {
        let (path, value) = match field.split_once("}=") {
            Some((path, value)) => (format!("{path}}}"), Some(value.trim_matches(['\'', '"']).to_owned())),
            None => (field.to_owned(), None),
        };
        if path.trim().is_empty() || value.as_deref() == Some("") {
            return message(
                "jsonpath wait format must be --for=jsonpath='{.status.readyReplicas}'=3 or --for=jsonpath='{.status.readyReplicas}'",
            );
        }
        return Ok(Until::Field { path: jsonpath::relaxed(&path)?, value });
    }
    message(format!("unrecognized condition: {text:?}"))
}

async fn one(api: &Api, what: &Until, limit: Duration, target: &Target) -> Result<()> {
    match target.get(api).await {
        // What is not there need not be waited for, nor told of.
        Err(e) if e.is_not_found() && matches!(what, Until::Deleted) => return Ok(()),
        Err(e) if e.is_not_found() && matches!(what, Until::Created) => {}
        other => drop(other?),
    }
    let met = until(api, target, limit, |object| holds(what, object)).await?;
    if met {
        println!("{} condition met", target.word());
        return Ok(());
    }
    message(format!("timed out waiting for the condition on {}/{}", target.mapping.plural, target.name))
}

fn holds(what: &Until, object: Option<&Value>) -> Result<bool> {
    Ok(match (what, object) {
        (Until::Deleted, object) => object.is_none(),
        (Until::Created, object) => object.is_some(),
        (_, None) => false,
        (Until::Condition { name, value }, Some(object)) => {
            let observed = object["status"]["observedGeneration"].as_i64();
            let stale =
                observed.is_some_and(|seen| object["metadata"]["generation"].as_i64().is_some_and(|now| seen < now));
            let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
            !stale
                && conditions.into_iter().any(|condition| {
                    let is = |field: &str, text: &str| {
                        condition[field].as_str().is_some_and(|found| found.eq_ignore_ascii_case(text))
                    };
                    is("type", name) && is("status", value)
                })
        }
        (Until::Field { path, value }, Some(object)) => {
            let found = jsonpath::find(path, object)?;
            match value {
                None => !found.is_empty(),
                Some(value) => found.len() == 1 && jsonpath::text(found[0]) == *value,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tells_when_it_is_time() {
        let node = json!({"status": {"ready": 3, "conditions": [{"type": "Ready", "status": "True"}]}});
        let cases = [
            ("delete", None, true),
            ("delete", Some(&node), false),
            ("create", Some(&node), true),
            ("condition=Ready", Some(&node), true),
            ("condition=ready=true", Some(&node), true),
            ("condition=Ready=False", Some(&node), false),
            ("condition=Other", Some(&node), false),
            ("jsonpath={.status.ready}=3", Some(&node), true),
            ("jsonpath={.status.ready}=4", Some(&node), false),
            ("jsonpath={.status.ready}", Some(&node), true),
            ("jsonpath={.status.nope}", Some(&node), false),
        ];
        for (text, object, want) in cases {
            assert_eq!(holds(&parse(text).unwrap(), object).unwrap(), want, "{text}");
        }
        for text in ["", "ready", "jsonpath={.a}="] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
