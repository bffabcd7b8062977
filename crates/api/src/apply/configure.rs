//! Applies a configuration: merges it into the object, takes out what the manager applied before and no longer does,
//! and settles who manages what.
//!
//! Invariants: applying the same configuration twice changes nothing the second time; a field goes only when its last
//! manager stops applying it; without `force` nothing changes that another manages.
//! Absent: defaults, admission, validation: they come after. Managers of other versions of a kind are taken to mean the
//! same fields as long as this server knows the version, and are dropped otherwise.

use serde_json::Value;

use super::Writer;
use super::check;
use super::compare::compare;
use super::conflict::{self, Conflict};
use super::entries::{Entries, Entry, Operation};
use super::last_applied;
use super::merge::merge;
use super::owned::owned;
use super::record::{all, zero};
use super::remove::without;
use super::reset::{UNOWNED, reset};
use super::set::Set;
use super::spot::Spot;
use crate::kinds::{self, Kind};
use crate::patch::PatchError;
use crate::status::{self, Status};

/// Whom fields belong to that were there before anyone kept account of them.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// The object that comes of applying `config` to `live`, or of applying it where there is none. It is to be decoded and
/// to get its defaults; its `metadata.managedFields` is settled.
///
/// # Errors
/// What is wrong with the configuration, or which fields are others'.
pub fn apply(
    kind: &Kind,
    live: Option<&Value>,
    config: &Value,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Value, Status> {
    check_identity(kind, config)?;
    let nothing;
    let live = match live {
        Some(live) => live,
        None => {
            nothing = zero(kind);
            &nothing
        }
    };
    let root = Spot::root(kind);
    if let Some(faults) = check::faults(root, config) {
        let message = format!("failed to create typed patch object ({}): {faults}", described(kind, config));
        return Err(PatchError::Contradictory(message).into());
    }
    let mut entries = Entries::stored(live);
    if entries.is_empty() {
        entries = all(kind, live, &Writer { manager: BEFORE_FIRST_APPLY, subresource: "", now: writer.now });
    }
    entries.0.retain(|entry| is_served(kind, &entry.api_version));
    let step = Step { kind, root, live, config, writer };
    let (mut object, entries) = match step.run(entries.clone(), force) {
        Ok(done) => done,
        Err(conflicts) => {
            let allowed = last_applied::owned(kind, live, writer.manager);
            let left: Vec<Conflict> = conflicts
                .iter()
                .filter_map(|(entry, paths)| {
                    let rest: Vec<_> = paths.iter().filter(|path| !allowed.has(path)).cloned().collect();
                    (!rest.is_empty()).then(|| Conflict::with(entry, &rest))
                })
                .collect();
            match left.is_empty() {
                true => step.run(entries, true).unwrap_or_else(|_| (live.clone(), Entries::stored(live))),
                false => return Err(conflict::refusal(left)),
            }
        }
    };
    entries.put_into(&mut object);
    last_applied::renew(&mut object, config, writer.manager);
    Ok(object)
}

/// Holds what a configuration says it is against what it is applied to.
fn check_identity(kind: &Kind, config: &Value) -> Result<(), Status> {
    let text = |name: &str| config[name].as_str().unwrap_or_default();
    if !kind.is_api_version(text("apiVersion")) || text("kind") != kind.kind {
        let (group, version) = kinds::split_api_version(text("apiVersion"));
        return Err(status::bad_request(format!("invalid object type: {group}/{version}, Kind={}", text("kind"))));
    }
    match config["metadata"].get("managedFields") {
        None | Some(Value::Null) => Ok(()),
        Some(_) => Err(status::bad_request("metadata.managedFields must be nil")),
    }
}

/// An object as messages about applies name it.
fn described(kind: &Kind, object: &Value) -> String {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
    format!("{}/{}; {}, Kind={}", text("namespace"), text("name"), go_group_version(kind), kind.kind)
}

fn go_group_version(kind: &Kind) -> String {
    format!("{}/{}", kind.group, kind.version)
}

fn is_served(kind: &Kind, api_version: &str) -> bool {
    if let Some(custom) = &kind.custom {
        let (group, version) = kinds::split_api_version(api_version);
        return group == kind.group && custom.served_versions.iter().any(|served| served == version);
    }
    kind.is_api_version(api_version) || kinds::by_kind(api_version, kind.kind).is_some()
}

type Paths = Vec<Vec<super::element::Element>>;

/// One apply, which may have to be run again with force.
struct Step<'a> {
    kind: &'a Kind,
    root: Spot<'a>,
    live: &'a Value,
    config: &'a Value,
    writer: &'a Writer<'a>,
}

impl Step<'_> {
    /// The object and its entries, or the entries with the paths of theirs that would change.
    fn run(&self, mut entries: Entries, force: bool) -> Result<(Value, Entries), Vec<(Entry, Paths)>> {
        let reset = reset(self.kind, self.writer.subresource);
        let set = owned(self.root, self.config).recursive_difference(&reset);
        let mut own = Entry {
            manager: self.writer.name().to_owned(),
            operation: Operation::Apply,
            api_version: self.kind.api_version(),
            subresource: self.writer.subresource.to_owned(),
            time: None,
            fields: set.clone().difference(&UNOWNED).into(),
        };
        let before = entries.find(&own).map(|place| entries.0.swap_remove(place));
        let mut object = merge(self.root, self.live, self.config);
        if let Some(before) = &before {
            object = self.pruned(object, before.set(), &entries, set);
            own.time.clone_from(&before.time);
        }
        let (written, removed) = compare(self.root, self.live, &object).without(&reset).written();
        let conflicts: Vec<(Entry, Paths)> = entries
            .0
            .iter()
            .filter(|entry| entry.fields.have_of(&written))
            .map(|entry| (entry.clone(), entry.set().intersection(&written).paths()))
            .collect();
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        entries.0.retain_mut(|entry| entry.lose(&written) && entry.lose(&removed));
        if object != *self.live {
            own.time = Some(self.writer.now.to_owned());
        }
        if !own.fields.is_empty() {
            entries.0.push(own);
        }
        Ok((object, entries))
    }

    /// `merged` without what the manager applied before, does not now, and nobody else manages.
    fn pruned(&self, merged: Value, before: Set, others: &Entries, now: Set) -> Value {
        if before.is_empty() {
            return merged;
        }
        let named = |set: Set| set.with_named_fields(self.root);
        let before = named(before);
        let everything = named(owned(self.root, &merged));
        let managed = others.0.iter().map(Entry::set).fold(now, Set::union);
        // First all that was applied goes, then what someone manages comes back, then what was not applied before.
        let pruned = without(self.root, &merged, &before);
        let left = named(owned(self.root, &pruned)).union(named(managed));
        let pruned = without(self.root, &merged, &everything.clone().difference(&left));
        let left = named(owned(self.root, &pruned));
        without(self.root, &merged, &everything.difference(&left).intersection(&before))
    }
}
