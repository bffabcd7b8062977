//! `rollout undo`: puts an earlier revision's pod template back.

use serde_json::{Value, json};

use super::history::{number, revisions};
use super::{Targets, standing};
use crate::client::{Api, PatchKind};
use crate::failure::{Failure, Result};
use crate::targets::Target;
use crate::verbs::{ChangeArgs, each};

/// Flags of `rollout undo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    targets: Targets,
    /// The revision to go back to; 0 is the last one
    #[arg(long, value_name = "REVISION", default_value_t = 0, allow_negative_numbers = true)]
    to_revision: i64,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Takes each workload back.
pub(super) async fn run(api: &Api, args: &Args) -> Result<()> {
    let targets = args.targets.find(api).await?;
    each(targets, |target| one(api, args, target)).await
}

async fn one(api: &Api, args: &Args, target: Target) -> Result<()> {
    let history = revisions(api, &target).await?;
    let object = standing(api, &target).await?;
    let found = choose(&history, args.to_revision)?;
    if args.change.is_client() {
        return args.change.print(&target, &object, "rolled back");
    }
    if is_current(&object, found) {
        let done = format!("skipped rollback (current template already matches revision {})", args.to_revision);
        return args.change.print(&target, &object, &done);
    }
    let patched =
        api.patch(&target.path(), &args.change.query("kubectl-rollout"), PatchKind::Strategic, &found["data"]).await;
    let made = patched.map_err(|e| match e {
        Failure::Status(status) => Failure::Message(format!(
            "failed restoring revision {}: {}",
            args.to_revision,
            status["message"].as_str().unwrap_or_default()
        )),
        other => other,
    })?;
    args.change.print(&target, &made, "rolled back")
}

/// The revision with this number; for 0 the one before the newest.
fn choose(history: &[Value], to: i64) -> Result<&Value> {
    if to == 0 {
        let before_newest = history.len().checked_sub(2).map(|place| &history[place]);
        return before_newest.ok_or_else(|| "no last revision to roll back to".into());
    }
    let found = history.iter().find(|revision| number(revision) == to);
    found.ok_or_else(|| format!("unable to find specified revision {to} in history").into())
}

/// Whether the workload's template is the revision's already.
fn is_current(object: &Value, revision: &Value) -> bool {
    let mut template = object["spec"]["template"].clone();
    template["$patch"] = "replace".into();
    revision["data"] == json!({"spec": {"template": template}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses_a_revision() {
        let history: Vec<Value> = [2, 3, 4].iter().map(|number| json!({"revision": number})).collect();
        for (to, want) in
            [(0, Ok(3)), (2, Ok(2)), (4, Ok(4)), (9, Err("error: unable to find specified revision 9 in history"))]
        {
            match (choose(&history, to), want) {
                (Ok(found), Ok(want)) => assert_eq!(number(found), want),
                (Err(e), Err(want)) => assert_eq!(e.text(), want),
                (got, want) => panic!("{to}: {got:?}, want {want:?}"),
            }
        }
        assert_eq!(choose(&history[..1], 0).unwrap_err().text(), "error: no last revision to roll back to");
    }

    #[test]
    fn knows_its_own_template() {
        let object = json!({"spec": {"template": {"spec": {"a": 1}}, "other": 2}});
        let same = json!({"data": {"spec": {"template": {"$patch": "replace", "spec": {"a": 1}}}}});
        let other = json!({"data": {"spec": {"template": {"$patch": "replace", "spec": {"a": 2}}}}});
        assert!(is_current(&object, &same));
        assert!(!is_current(&object, &other));
    }
}
