//! `set image`: changes the images of containers.

use serde_json::{Value, json};

use super::{spec_of, under_spec};
use crate::client::{Api, PatchKind};
use crate::failure::{Failure, Result, message};
use crate::files::FileArgs;
use crate::targets::{SelectArgs, Target, Wanted, find};
use crate::verbs::{ChangeArgs, each};

/// Flags of `set image`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// TYPE NAME or TYPE/NAME, then CONTAINER=IMAGE (* for all containers)
    #[arg(value_name = "TYPE NAME CONTAINER=IMAGE")]
    words: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// All objects of the type
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Sets the images of each object.
pub(super) async fn run(api: &Api, args: &Args) -> Result<()> {
    let (images, resources): (Vec<&String>, Vec<&String>) = args.words.iter().partition(|word| word.contains('='));
    if images.is_empty() {
        return message("at least one image update is required");
    }
    let resources: Vec<String> = resources.into_iter().cloned().collect();
    let images: Vec<(&str, &str)> = images.iter().filter_map(|word| word.split_once('=')).collect();
    let wanted = Wanted { words: &resources, files: &args.files, select: &args.select, all: args.all };
    let targets = find(api, &wanted).await?;
    each(targets, |target| one(api, args, &images, target)).await
}

async fn one(api: &Api, args: &Args, images: &[(&str, &str)], target: Target) -> Result<()> {
    let object = super::standing(api, &target).await?;
    let changes = plan(spec_of(&target, &object), images)?;
    if changes == json!({}) {
        return Ok(());
    }
    let patch = under_spec(&target, changes);
    if args.change.is_client() {
        return args.change.print(&target, &object, "image updated");
    }
    let made = api.patch(&target.path(), &args.change.query("kubectl-set"), PatchKind::Strategic, &patch).await?;
    args.change.print(&target, &made, "image updated")
}

/// The changes to a pod spec, empty when there are none.
fn plan(spec: &Value, images: &[(&str, &str)]) -> Result<Value> {
    let mut patch = json!({});
    let mut unknown: Vec<&str> = images.iter().map(|(name, _)| *name).filter(|name| *name != "*").collect();
    for list in ["initContainers", "containers"] {
        let mut changed = Vec::new();
        for container in spec[list].as_array().into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default();
            unknown.retain(|other| *other != name);
            // A name says more than the wildcard.
            let wanted =
                images.iter().rev().find(|(of, _)| *of == name).or_else(|| images.iter().find(|(of, _)| *of == "*"));
            if let Some((_, image)) = wanted
                && container["image"] != *image
            {
                changed.push(json!({"name": name, "image": image}));
            }
        }
        if !changed.is_empty() {
            patch[list] = changed.into();
        }
    }
    let missing = unknown.iter().map(|name| Failure::Message(format!("unable to find container named {name:?}")));
    Failure::of(missing.collect())?;
    Ok(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_the_named_containers() {
        let spec = json!({
            "initContainers": [{"name": "i", "image": "a"}],
            "containers": [{"name": "c", "image": "a"}, {"name": "d", "image": "b"}],
        });
        let c = |name: &str, image: &str| json!({"name": name, "image": image});
        let cases = [
            (vec![("c", "b")], json!({"containers": [c("c", "b")]})),
            (vec![("c", "a")], json!({})),
            (vec![("*", "b")], json!({"initContainers": [c("i", "b")], "containers": [c("c", "b")]})),
            (vec![("*", "b"), ("c", "z")], json!({"initContainers": [c("i", "b")], "containers": [c("c", "z")]})),
        ];
        for (images, want) in cases {
            assert_eq!(plan(&spec, &images).unwrap(), want, "{images:?}");
        }
        let said = plan(&spec, &[("nope", "b")]).unwrap_err().text();
        assert_eq!(said, "error: unable to find container named \"nope\"");
    }
}
