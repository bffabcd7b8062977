//! Fields that an applier would change although others manage them.
//!
//! Invariants: worded as a kube-apiserver words it, managers in order.
//! Absent: who manages what.

use super::element::Element;
use super::entries::{Entry, Operation};
use crate::quote::quoted;
use crate::status::{self, Cause, Status};

/// A manager and the paths of its that would change.
pub(super) struct Conflict {
    manager: String,
    paths: Vec<String>,
}

impl Conflict {
    /// The conflict with the manager of an entry.
    pub(super) fn with(entry: &Entry, paths: &[Vec<Element>]) -> Conflict {
        let paths = paths.iter().map(|path| path.iter().map(ToString::to_string).collect()).collect();
        Conflict { manager: named(entry), paths }
    }
}

/// A manager as conflicts name it.
fn named(entry: &Entry) -> String {
    let mut name = quoted(&entry.manager);
    if !entry.subresource.is_empty() {
        name = format!("{name} with subresource {}", quoted(&entry.subresource));
    }
    match entry.operation {
        Operation::Apply => name,
        Operation::Update => format!("{name} using {}", entry.api_version),
    }
}

/// The answer to an apply that has conflicts.
pub(super) fn refusal(mut conflicts: Vec<Conflict>) -> Status {
    conflicts.sort_by(|a, b| a.manager.cmp(&b.manager));
    let causes = conflicts.iter().flat_map(|conflict| {
        conflict.paths.iter().map(|path| Cause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with {}", conflict.manager),
            field: path.clone(),
        })
    });
    let causes: Vec<Cause> = causes.collect();
    let message = match causes.as_slice() {
        [one] => format!("Apply failed with 1 conflict: {}: {}", one.message, one.field),
        several => {
            let mut lines = Vec::new();
            for conflict in &conflicts {
                lines.push(format!("conflicts with {}:", conflict.manager));
                lines.extend(conflict.paths.iter().map(|path| format!("- {path}")));
            }
            format!("Apply failed with {} conflicts: {}", several.len(), lines.join("\n"))
        }
    };
    status::apply_conflict(causes, &message)
}
