//! The verbs, a file each, and what they share.

pub(crate) mod api_resources;
pub(crate) mod apply;
pub(crate) mod attach;
pub(crate) mod auth;
pub(crate) mod cordon;
pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod diff;
pub(crate) mod drain;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod get;
pub(crate) mod label;
pub(crate) mod logs;
pub(crate) mod patch;
pub(crate) mod plan;
pub(crate) mod pod;
pub(crate) mod policy;
pub(crate) mod port_forward;
pub(crate) mod replace;
pub(crate) mod rollout;
pub(crate) mod scale;
pub(crate) mod set;
pub(crate) mod taint;
pub(crate) mod version;
pub(crate) mod wait;
pub(crate) mod why;

use serde_json::Value;

use crate::client::Query;
use crate::failure::Result;
use crate::output::{Output, tidied};
use crate::targets::Target;

/// Whether a change is only tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum DryRun {
    /// It is made.
    #[default]
    None,
    /// Nothing is sent.
    Client,
    /// The server does all but store it.
    Server,
}

impl DryRun {
    /// What stands behind what was done.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}

/// Flags of verbs that change objects.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ChangeArgs {
    /// Try only: client sends nothing, server checks but does not store
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_value = "none", default_missing_value = "client")]
    dry_run: DryRun,
    /// How to print what was changed: json, yaml, name, jsonpath=...
    #[arg(short = 'o', long, value_name = "FORMAT")]
    output: Option<String>,
    /// Name that the change goes by in managed fields
    #[arg(long, value_name = "NAME")]
    field_manager: Option<String>,
}

impl ChangeArgs {
    /// Whether nothing is sent.
    pub(crate) fn is_client(&self) -> bool {
        self.dry_run == DryRun::Client
    }

    /// The flags as request parameters; `manager` is the verb's own name for itself.
    pub(crate) fn query(&self, manager: &str) -> Query {
        let mut query = Query::new().with("fieldManager", self.field_manager.as_deref().unwrap_or(manager));
        if self.dry_run == DryRun::Server {
            query = query.with("dryRun", "All");
        }
        query
    }

    /// Tells what was done, or prints the object as `-o` wants.
    pub(crate) fn print(&self, target: &Target, object: &Value, done: &str) -> Result<()> {
        self.print_with(target, object, done, self.dry_run.suffix())
    }

    /// Whether the object is printed instead of what was done.
    pub(crate) fn prints(&self) -> bool {
        self.output.is_some()
    }

    /// Tells what was done to `target` by a change of another object, or prints that.
    pub(crate) fn print_of(&self, target: &Target, changed: &Target, object: &Value, done: &str) -> Result<()> {
        self.print(if self.prints() { changed } else { target }, object, done)
    }

    /// The same for verbs that don't tell whether it was done or only tried.
    pub(crate) fn print_bare(&self, target: &Target, object: &Value, done: &str) -> Result<()> {
        self.print_with(target, object, done, "")
    }

    fn print_with(&self, target: &Target, object: &Value, done: &str, suffix: &str) -> Result<()> {
        match self.output.as_deref() {
            None => println!("{} {done}{suffix}", target.word()),
            Some(format) => {
                let text =
                    Output::parse(Some(format))?.render(&tidied(object.clone(), Some(&target.mapping), false))?;
                print!("{text}");
            }
        }
        Ok(())
    }
}

/// Has the server refuse fields that it does not know.
pub(crate) fn strict(query: Query) -> Query {
    query.with("fieldValidation", "Strict")
}

/// Does the work for each target, goes on after failures, and returns them all.
pub(crate) async fn each<F, R>(targets: Vec<Target>, mut work: F) -> Result<()>
where
    F: FnMut(Target) -> R,
    R: Future<Output = Result<()>>,
{
    let mut failures = Vec::new();
    for target in targets {
        if let Err(e) = work(target).await {
            failures.push(e);
        }
    }
    crate::failure::Failure::of(failures)
}
