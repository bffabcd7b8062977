//! `set`: changes parts of a workload's containers.

mod env;
mod image;
mod resources;

use serde_json::{Value, json};

use crate::client::Api;
use crate::failure::Result;
use crate::targets::Target;

/// What is set.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Part {
    /// The images of containers
    Image(image::Args),
    /// The environment of containers
    Env(env::Args),
    /// The requests and limits of containers
    Resources(resources::Args),
}

/// Flags of `set`.
#[derive(Debug, clap::Args)]
pub struct SetArgs {
    #[command(subcommand)]
    part: Part,
}

/// Sets what is asked for.
pub(crate) async fn run(api: &Api, set: &SetArgs) -> Result<()> {
    match &set.part {
        Part::Image(args) => image::run(api, args).await,
        Part::Env(args) => env::run(api, args).await,
        Part::Resources(args) => resources::run(api, args).await,
    }
}

/// The object as it stands.
async fn standing(api: &Api, target: &Target) -> Result<Value> {
    match &target.object {
        Some(object) if target.source.is_none() => Ok(object.clone()),
        _ => target.get(api).await,
    }
}

/// The pod spec of a pod or of a workload's template.
fn spec_of<'a>(target: &Target, object: &'a Value) -> &'a Value {
    if target.mapping.kind == "Pod" { &object["spec"] } else { &object["spec"]["template"]["spec"] }
}

/// A patch that changes the pod spec.
fn under_spec(target: &Target, changes: Value) -> Value {
    if target.mapping.kind == "Pod" {
        json!({"spec": changes})
    } else {
        json!({"spec": {"template": {"spec": changes}}})
    }
}

/// Whether `name` is what the pattern, a name with `*` in it, says.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => {
            let rest = name.strip_prefix(before);
            rest.is_some_and(|rest| {
                (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| matches(after, &rest[at..]))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (pattern, name, want) in [
            ("*", "a", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*c", "abc", true),
            ("a*c", "abd", false),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }
}
