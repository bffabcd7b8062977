//! What was written held against what was seen.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;

use anyhow::{Result, bail};
use serde_json::Value;

use super::KINDS;
use super::watchers::Selection;

/// A uid in eight bytes; two that are taken for one would be found as a mistake that is none, once in many years.
pub(super) fn hash(uid: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    hasher.finish()
}

/// The uid of an object.
pub(super) fn uid(object: &Value) -> u64 {
    hash(object["metadata"]["uid"].as_str().unwrap_or_default())
}

/// A write that the server said yes to.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) kind: usize,
    pub(super) namespace: usize,
    pub(super) name: String,
    pub(super) uid: u64,
    /// None for a deletion.
    pub(super) revision: Option<u64>,
    pub(super) colour: String,
}

/// What an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Added,
    Modified,
    Deleted,
}

impl FromStr for Event {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Event> {
        Ok(match text {
            "ADDED" => Event::Added,
            "MODIFIED" => Event::Modified,
            "DELETED" => Event::Deleted,
            other => bail!("no event is called {other:?}"),
        })
    }
}

/// An event that a watcher got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sighting {
    pub(super) revision: u64,
    pub(super) uid: u64,
    pub(super) event: Event,
}

/// All that one watcher got.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) selection: Selection,
    pub(super) sightings: Vec<Sighting>,
    /// After the first and up to the second of each, it must have got everything.
    pub(super) ranges: Vec<(u64, u64)>,
    /// How often it had to list anew.
    pub(super) again: usize,
}

/// The life of one object.
#[derive(Debug, Default)]
struct Life {
    kind: usize,
    namespace: usize,
    name: String,
    /// The label's value at each revision.
    colours: BTreeMap<u64, String>,
    deleted: bool,
}

/// What the writers were told, by uid.
#[derive(Debug, Default)]
pub(super) struct Truth {
    lives: HashMap<u64, Life>,
    writes: usize,
}

impl Truth {
    /// Takes in what one writer was told.
    pub(super) fn add(&mut self, changes: Vec<Change>) {
        self.writes += changes.len();
        for change in changes {
            let life = self.lives.entry(change.uid).or_default();
            (life.kind, life.namespace, life.name) = (change.kind, change.namespace, change.name);
            match change.revision {
                // A write that changes nothing answers with the revision that is there.
                Some(revision) => drop(life.colours.insert(revision, change.colour)),
                None => life.deleted = true,
            }
        }
    }

    /// What must be there of a kind: uids and revisions, sorted.
    pub(super) fn alive(&self, kind: usize) -> Vec<(u64, u64)> {
        let of_kind = self.lives.iter().filter(|(_, life)| life.kind == kind && !life.deleted);
        let mut alive: Vec<_> =
            of_kind.filter_map(|(uid, life)| Some((*uid, *life.colours.last_key_value()?.0))).collect();
        alive.sort_unstable();
        alive
    }

    /// What a watcher of everything that `selection` selects gets, in order. `deletions` are revisions by uid.
    fn events(&self, selection: &Selection, deletions: &HashMap<u64, u64>) -> Vec<Sighting> {
        let mut events = Vec::new();
        for (&uid, life) in &self.lives {
            let selected = life.kind == selection.kind
                && selection.namespace.is_none_or(|namespace| namespace == life.namespace)
                && selection.name.as_ref().is_none_or(|name| *name == life.name);
            if !selected {
                continue;
            }
            let mut shown = false;
            for (&revision, colour) in &life.colours {
                let shows = selection.colour.is_none_or(|wanted| wanted == colour);
                let event = match (shown, shows) {
                    (false, true) => Some(Event::Added),
                    (true, true) => Some(Event::Modified),
                    (true, false) => Some(Event::Deleted),
                    (false, false) => None,
                };
                events.extend(event.map(|event| Sighting { revision, uid, event }));
                shown = shows;
            }
            if let (true, true, Some(&revision)) = (shown, life.deleted, deletions.get(&uid)) {
                events.push(Sighting { revision, uid, event: Event::Deleted });
            }
        }
        events.sort_unstable_by_key(|event| event.revision);
        events
    }
}

impl fmt::Display for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} writes of {} objects", self.writes, self.lives.len())
    }
}

/// What was found to be right.
pub(super) struct Checked {
    watchers: usize,
    events: usize,
    again: usize,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Checked { watchers, events, again } = self;
        write!(f, "{watchers} watchers saw {events} events, each once and in order; {again} lists anew")
    }
}

/// The revisions of deletions, as watchers without a label's selection saw them.
fn deletions(truth: &Truth, seen: &[Seen]) -> Result<HashMap<u64, u64>> {
    let mut deletions = HashMap::new();
    for watcher in seen.iter().filter(|watcher| watcher.selection.colour.is_none()) {
        for sighting in watcher.sightings.iter().filter(|sighting| sighting.event == Event::Deleted) {
            let first = *deletions.entry(sighting.uid).or_insert(sighting.revision);
            if first != sighting.revision {
                bail!("one deletion has two revisions: {first} and {}", sighting.revision);
            }
            let last = truth.lives.get(&sighting.uid).and_then(|life| life.colours.last_key_value());
            if last.is_none_or(|(last, _)| *last >= sighting.revision) {
                bail!("a deletion of revision {first} comes before the object's last change, {last:?}");
            }
        }
    }
    Ok(deletions)
}

/// Checks every watcher.
///
/// # Errors
/// The first watcher that missed something, saw it twice, in another order, or saw what nobody wrote.
pub(super) fn check(truth: &Truth, seen: &[Seen]) -> Result<Checked> {
    let deletions = deletions(truth, seen)?;
    let mut events = 0;
    for watcher in seen {
        let inside = |revision: u64| watcher.ranges.iter().any(|(after, upto)| revision > *after && revision <= *upto);
        let mut want = truth.events(&watcher.selection, &deletions);
        want.retain(|sighting| inside(sighting.revision));
        if let Some(at) =
            (0..want.len().max(watcher.sightings.len())).find(|&at| want.get(at) != watcher.sightings.get(at))
        {
            let twice: HashSet<u64> = watcher.sightings.iter().map(|sighting| sighting.revision).collect();
            bail!(
                "{} {:?}: event {at} of {} is {:?}, but should be {:?}; {} seen twice",
                KINDS[watcher.selection.kind].plural,
                watcher.selection,
                want.len(),
                watcher.sightings.get(at),
                want.get(at),
                watcher.sightings.len() - twice.len()
            );
        }
        events += want.len();
    }
    let known = truth.lives.values().filter(|life| life.deleted).count();
    if seen.iter().any(|watcher| watcher.again > 0) || deletions.len() == known {
        return Ok(Checked { watchers: seen.len(), events, again: seen.iter().map(|watcher| watcher.again).sum() });
    }
    bail!("{known} objects were deleted, but watchers saw {} go", deletions.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(uid: u64, revision: Option<u64>, colour: &str) -> Change {
        Change { kind: 0, namespace: 0, name: "a".into(), uid, revision, colour: colour.into() }
    }

    fn watcher(colour: Option<&'static str>, sightings: &[(u64, Event)]) -> Seen {
        let sightings =
            sightings.iter().map(|(revision, event)| Sighting { revision: *revision, uid: 1, event: *event });
        Seen {
            selection: Selection { kind: 0, namespace: None, colour, name: None },
            sightings: sightings.collect(),
            ranges: vec![(0, 10)],
            again: 0,
        }
    }

    #[test]
    fn what_is_missing_doubled_or_out_of_order_is_found() {
        use Event::{Added, Deleted, Modified};
        let mut truth = Truth::default();
        truth.add(vec![change(1, Some(1), "red"), change(1, Some(3), "blue"), change(1, Some(3), "blue")]);
        truth.add(vec![change(1, Some(5), "red"), change(1, None, "")]);
        let all = [(1, Added), (3, Modified), (5, Modified), (8, Deleted)];
        let whole = || watcher(None, &all);
        let red = watcher(Some("red"), &[(1, Added), (3, Deleted), (5, Added), (8, Deleted)]);
        assert!(check(&truth, &[whole(), red]).is_ok());
        for wrong in [
            &all[..3],
            &[(1, Added), (3, Modified), (3, Modified), (5, Modified), (8, Deleted)],
            &[(3, Modified), (1, Added), (5, Modified), (8, Deleted)],
            &[(1, Added), (3, Modified), (5, Modified), (6, Modified), (8, Deleted)],
            &[(1, Added), (3, Modified), (5, Modified), (9, Deleted)],
        ] {
            assert!(check(&truth, &[whole(), watcher(None, wrong)]).is_err(), "{wrong:?}");
        }
        let always_red = watcher(Some("red"), &[(1, Added), (5, Modified), (8, Deleted)]);
        assert!(check(&truth, &[whole(), always_red]).is_err());
    }
}
