//! Which images go when their disk is full.
//!
//! # Invariants
//! - Images of existing containers stay, ended ones too; so do those that no registry has.
//! - Nothing goes that came within the minimum age: a pod may be about to start from it.

use jiff::{SignedDuration, Timestamp};

/// When images go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// From this use of the disk on, in percent.
    pub high_percent: u8,
    /// Until this use, in percent.
    pub low_percent: u8,
    /// No earlier than this after the image came.
    pub min_age: SignedDuration,
}

impl Default for Policy {
    /// As Kubernetes has it.
    fn default() -> Self {
        Self { high_percent: 85, low_percent: 80, min_age: SignedDuration::from_mins(2) }
    }
}

impl Policy {
    /// No image goes for the use of the disk.
    #[must_use]
    pub fn never() -> Self {
        Self { high_percent: NEVER_PERCENT, ..Self::default() }
    }
}

/// From this threshold on no image goes, as in Kubernetes.
const NEVER_PERCENT: u8 = 100;

/// An image of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: String,
    /// Bytes that it takes.
    pub size_bytes: u64,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// When a container was last seen to have it.
    pub last_used: Timestamp,
    /// A container has it.
    pub in_use: bool,
    /// It must stay.
    pub pinned: bool,
}

/// Bytes to free, None while the disk is not full enough. A disk of 0 bytes is one that nobody could measure.
#[must_use]
pub fn to_free(policy: &Policy, capacity: u64, available: u64) -> Option<u64> {
    let available = available.min(capacity);
    let used_percent = 100 - u64::try_from(u128::from(available) * 100 / u128::from(capacity.max(1))).unwrap_or(100);
    if policy.high_percent >= NEVER_PERCENT || capacity == 0 || used_percent < u64::from(policy.high_percent) {
        return None;
    }
    let wanted = u128::from(capacity) * u128::from(100 - policy.low_percent.min(100)) / 100;
    Some(u64::try_from(wanted).unwrap_or(u64::MAX).saturating_sub(available))
}

/// What may go, in order: the longest unused first, among those the one that came first.
#[must_use]
pub fn order<'a>(policy: &Policy, images: &'a [Image], now: Timestamp) -> Vec<&'a Image> {
    let old_enough = |image: &&Image| now.duration_since(image.first_seen) >= policy.min_age;
    let mut list: Vec<&Image> =
        images.iter().filter(|image| !image.in_use && !image.pinned).filter(old_enough).collect();
    list.sort_by_key(|image| (image.last_used, image.first_seen, &image.id));
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn image(id: &str, first_seen: i64, last_used: i64) -> Image {
        let (first_seen, last_used) = (at(first_seen), at(last_used));
        Image { id: id.to_owned(), size_bytes: 1, first_seen, last_used, in_use: false, pinned: false }
    }

    #[test]
    fn a_full_disk_is_freed_to_the_low_mark() {
        let policy = Policy::default();
        for (capacity, available, expect) in
            [(1000, 160, None), (1000, 150, Some(50)), (1000, 0, Some(200)), (0, 0, None), (1000, 2000, None)]
        {
            assert_eq!(to_free(&policy, capacity, available), expect, "{available} of {capacity}");
        }
        assert_eq!(to_free(&Policy::never(), 1000, 0), None);
    }

    #[test]
    fn what_was_unused_longest_goes_first() {
        let images = [
            Image { in_use: true, ..image("used", 0, 0) },
            Image { pinned: true, ..image("pinned", 0, 0) },
            image("young", 990, 0),
            image("b", 10, 500),
            image("a", 5, 500),
            image("old", 20, 100),
        ];
        let ids: Vec<&str> = order(&Policy::default(), &images, at(1000)).iter().map(|i| i.id.as_str()).collect();
        assert_eq!(ids, ["old", "a", "b"]);
    }
}
