//! What ours would have done for a while, and nobody did.
//!
//! Invariants: something that is wanted, then not, then again begins anew; what is told is not told again while it lasts.
//!
//! Absent: what is wanted.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::Kind;

/// Something that ours would do.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Undone {
    /// By what it is known again in the next snapshot.
    pub(super) id: String,
    pub(super) kind: Kind,
    pub(super) node: Option<String>,
    pub(super) pod: Option<String>,
    pub(super) theirs: String,
    pub(super) ours: String,
    /// It waits its turn: as long as the other gets on elsewhere, it is not late.
    pub(super) in_turn: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Since {
    at: Timestamp,
    told: bool,
}

/// Since when ours would do what.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Late(BTreeMap<String, Since>);

impl Late {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What has been wanted for `patience` and was not told, and when something else will have been. `acted` is when the
    /// other last did anything.
    pub(super) fn look(
        &mut self,
        wanted: Vec<Undone>,
        acted: Option<Timestamp>,
        patience: SignedDuration,
        now: Timestamp,
    ) -> (Vec<Undone>, Option<Timestamp>) {
        let mut before = std::mem::take(&mut self.0);
        let (mut due, mut next) = (Vec::new(), None::<Timestamp>);
        for undone in wanted {
            let mut since = before.remove(&undone.id).unwrap_or(Since { at: now, told: false });
            let from = if undone.in_turn { acted.map_or(since.at, |acted| acted.max(since.at)) } else { since.at };
            let at = from.checked_add(patience).unwrap_or(Timestamp::MAX);
            if !since.told && at > now {
                next = Some(next.map_or(at, |earlier| earlier.min(at)));
            }
            let id = undone.id.clone();
            if !since.told && at <= now {
                since.told = true;
                due.push(undone);
            }
            self.0.insert(id, since);
        }
        (due, next)
    }
}
