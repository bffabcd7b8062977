//! A node that runs short of memory, disk or process ids: what it says, and what it gives up.
//!
//! # Invariants
//! - A condition comes with the first look that shows it, and goes only after [`TRANSITION`] without one, so that a node at
//!   the edge does not go to and fro.
//! - Pods end one at a time, and only while something is short at that very look, not for a condition that lingers.
//! - Critical pods never end; daemons only for want of memory, when nothing else is left to end, and not again and again.
//!
//! # Absent
//! Soft thresholds, which Kubernetes has none of by default.

pub mod eviction;
pub mod images;
mod quantity;
pub mod respite;
mod thresholds;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use self::quantity::binary;
pub use self::thresholds::Thresholds;

/// How long a condition stays after the last look that showed it, as Kubernetes has it.
pub const TRANSITION: SignedDuration = SignedDuration::from_mins(5);
/// What is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Memory.
    Memory,
    /// Bytes of the node's own disk.
    NodeDisk,
    /// Inodes of the node's own disk.
    NodeInodes,
    /// Bytes of the disk that images lie on, where that is another.
    ImageDisk,
    /// Inodes of that disk.
    ImageInodes,
    /// Process ids.
    Pids,
}

/// The conditions of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// MemoryPressure.
    Memory,
    /// DiskPressure.
    Disk,
    /// PIDPressure.
    Pids,
}

impl Condition {
    /// The type of the node's condition.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "MemoryPressure",
            Self::Disk => "DiskPressure",
            Self::Pids => "PIDPressure",
        }
    }
}

impl Signal {
    /// All, the most pressing first.
    pub const ALL: [Self; 6] =
        [Self::Memory, Self::NodeDisk, Self::NodeInodes, Self::ImageDisk, Self::ImageInodes, Self::Pids];

    /// As Kubernetes names it in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory.available",
            Self::NodeDisk => "nodefs.available",
            Self::NodeInodes => "nodefs.inodesFree",
            Self::ImageDisk => "imagefs.available",
            Self::ImageInodes => "imagefs.inodesFree",
            Self::Pids => "pid.available",
        }
    }

    /// As Kubernetes names what is to be reclaimed.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::NodeDisk | Self::ImageDisk => "ephemeral-storage",
            Self::NodeInodes | Self::ImageInodes => "inodes",
            Self::Pids => "pids",
        }
    }

    /// The node's condition.
    #[must_use]
    pub fn condition(self) -> Condition {
        match self {
            Self::Memory => Condition::Memory,
            Self::NodeDisk | Self::NodeInodes | Self::ImageDisk | Self::ImageInodes => Condition::Disk,
            Self::Pids => Condition::Pids,
        }
    }
}

/// Something, and how much of it is left. A whole of 0 is one that nobody could measure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stock {
    /// All of it.
    pub whole: u64,
    /// What is left.
    pub left: u64,
}

/// One look at a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Supplies {
    /// Bytes of memory.
    pub memory: Stock,
    /// Bytes of the node's own disk.
    pub node_disk: Stock,
    /// Inodes of it.
    pub node_inodes: Stock,
    /// Bytes of the disk that images lie on.
    pub image_disk: Stock,
    /// Inodes of it.
    pub image_inodes: Stock,
    /// Process ids.
    pub pids: Stock,
}

impl Supplies {
    fn of(&self, signal: Signal) -> Stock {
        match signal {
            Signal::Memory => self.memory,
            Signal::NodeDisk => self.node_disk,
            Signal::NodeInodes => self.node_inodes,
            Signal::ImageDisk => self.image_disk,
            Signal::ImageInodes => self.image_inodes,
            Signal::Pids => self.pids,
        }
    }
}

/// A threshold that was crossed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// Of what.
    pub signal: Signal,
    /// The threshold, as Kubernetes writes quantities.
    pub threshold: String,
    /// What is left, as Kubernetes writes quantities.
    pub available: String,
}

/// All thresholds that are crossed, the most pressing first: memory, then the others.
#[must_use]
pub fn shortages(thresholds: &Thresholds, supplies: &Supplies) -> Vec<Shortage> {
    // Where images lie on the node's own disk, that disk's thresholds count.
    let same_disk = supplies.node_disk == supplies.image_disk;
    Signal::ALL
        .into_iter()
        .filter(|signal| !same_disk || !matches!(signal, Signal::ImageDisk | Signal::ImageInodes))
        .filter_map(|signal| {
            let stock = supplies.of(signal);
            let threshold = thresholds.of(signal, stock.whole)?;
            if stock.whole == 0 || stock.left >= threshold {
                return None;
            }
            let bytes = matches!(signal, Signal::Memory | Signal::NodeDisk | Signal::ImageDisk);
            let words = |number: u64| if bytes { binary(number) } else { number.to_string() };
            Some(Shortage { signal, threshold: words(threshold), available: words(stock.left) })
        })
        .collect()
}

/// When each condition was last seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen(BTreeMap<Condition, Timestamp>);

impl Seen {
    /// Takes a look into account, and says which conditions hold.
    pub fn look(&mut self, shortages: &[Shortage], now: Timestamp) -> Vec<Condition> {
        for shortage in shortages {
            self.0.insert(shortage.signal.condition(), now);
        }
        // A clock that went back must not keep a condition for long.
        self.0.retain(|_, at| now.duration_since(*at).abs() < TRANSITION);
        self.0.keys().copied().collect()
    }
}

/// Why a pod that comes to a node with these conditions is turned away; None lets it in. The message is Kubernetes'.
#[must_use]
pub fn refusal(
    conditions: &[Condition],
    pod: &eviction::Standing,
    best_effort: bool,
    tolerates_memory: bool,
) -> Option<String> {
    if conditions.is_empty() || pod.critical || pod.daemon {
        return None;
    }
    if conditions == [Condition::Memory] && (!best_effort || tolerates_memory) {
        return None;
    }
    let names: Vec<&str> = conditions.iter().map(|condition| condition.name()).collect();
    Some(format!("The node had condition: [{}]. ", names.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn stock(whole: u64, left: u64) -> Stock {
        Stock { whole, left }
    }

    #[test]
    fn thresholds_are_kubernetes_own() {
        let well = Supplies {
            memory: stock(8 << 30, 4 << 30),
            node_disk: stock(100 << 30, 50 << 30),
            node_inodes: stock(1000, 900),
            image_disk: stock(200 << 30, 100 << 30),
            image_inodes: stock(1000, 900),
            pids: stock(32768, 32000),
        };
        for (supplies, expect) in [
            (well, ""),
            (Supplies { memory: stock(8 << 30, 50 << 20), ..well }, "memory.available 100Mi 50Mi"),
            (Supplies { node_disk: stock(100 << 30, 9 << 30), ..well }, "nodefs.available 10Gi 9Gi"),
            (Supplies { node_inodes: stock(1000, 49), ..well }, "nodefs.inodesFree 50 49"),
            (Supplies { image_disk: stock(200 << 30, 29 << 30), ..well }, "imagefs.available 30Gi 29Gi"),
            (Supplies { pids: stock(1000, 99), ..well }, "pid.available 100 99"),
            // One disk for both has the threshold of the node's own.
            (Supplies { node_disk: stock(100, 12), image_disk: stock(100, 12), ..well }, ""),
            (Supplies::default(), ""),
        ] {
            let words = |s: &Shortage| format!("{} {} {}", s.signal.name(), s.threshold, s.available);
            assert_eq!(
                shortages(&Thresholds::default(), &supplies).iter().map(words).collect::<Vec<_>>().join(", "),
                expect
            );
        }
    }

    #[test]
    fn a_condition_lingers() {
        let short = shortages(&Thresholds::default(), &Supplies { memory: stock(8 << 30, 1), ..Supplies::default() });
        let mut seen = Seen::default();
        assert_eq!(seen.look(&[], at(0)), []);
        assert_eq!(seen.look(&short, at(10)), [Condition::Memory]);
        assert_eq!(seen.look(&[], at(309)), [Condition::Memory], "less than five minutes later");
        assert_eq!(seen.look(&[], at(310)), []);
    }

    #[test]
    fn who_is_turned_away() {
        use eviction::Standing;
        let (memory, disk) = ([Condition::Memory], [Condition::Memory, Condition::Disk]);
        let anyone = Standing::default();
        assert_eq!(refusal(&[], &anyone, true, false), None);
        let words = Some("The node had condition: [MemoryPressure DiskPressure]. ".to_owned());
        assert_eq!(refusal(&disk, &anyone, false, true), words);
        assert!(refusal(&memory, &anyone, true, false).is_some());
        assert_eq!(refusal(&memory, &anyone, false, false), None, "it says what it needs");
        assert_eq!(refusal(&memory, &anyone, true, true), None, "it tolerates that");
        assert_eq!(refusal(&disk, &Standing { daemon: true, ..anyone }, true, false), None);
        assert_eq!(refusal(&disk, &Standing { critical: true, ..anyone }, true, false), None);
    }
}
