//! Server-side apply, and the account of who set which field that it rests on.
//!
//! Kubernetes keeps in `metadata.managedFields` a set of fields for each manager. A write that is no apply takes what
//! it changes ([`record()`]); an [`apply`] merges its configuration, refuses to change what others manage, and removes
//! what its manager applied before and applies no longer. Lists and maps are owned as one, by item or by key, as the
//! table of types says.
//!
//! Invariants: functions of their arguments: the time is given; sets are spelled as Kubernetes spells them.
//! Absent: storing, defaults, validation; unions; changes of a kind's schema while its objects are stored.

mod body;
mod check;
mod compare;
mod configure;
mod conflict;
mod custom;
mod element;
mod entries;
mod last_applied;
mod merge;
mod owned;
mod record;
mod remove;
mod reset;
mod scale;
mod set;
mod spot;

pub use body::{Configuration, manager_fault, manager_of_agent};
pub use configure::apply;
pub use element::{Element, ElementError};
pub use record::{keep_times, record};
pub use scale::{from_scale, to_scale};
pub use set::Set;

/// Whom entries name that came without a name.
const UNKNOWN: &str = "unknown";

/// Who writes, what part, and when.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The manager; empty when it has no name.
    pub manager: &'a str,
    /// The subresource written to; empty for the object itself.
    pub subresource: &'a str,
    /// The time, as objects carry it.
    pub now: &'a str,
}

impl Writer<'_> {
    fn name(&self) -> &str {
        if self.manager.is_empty() { UNKNOWN } else { self.manager }
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
