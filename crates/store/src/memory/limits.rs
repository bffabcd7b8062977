//! Every bound of what is kept in memory, with its reason.

/// Default bound of the history, in events: where objects are small, it is met before that in bytes.
pub(crate) const HISTORY_EVENTS_MAX: usize = 100_000;

/// Default bound of what the history holds beyond the current values, as they are kept: most are packed to a fraction. 5,000 nodes
/// renew 500 leases a second, which takes some 0.2 MiB of it by reckoning, so a watcher of a fleet at rest may be away for three
/// minutes, until the bound in events; while much is written, for less. kube-apiserver's watch cache aims at 75 seconds, for each
/// kind by itself (`DefaultEventFreshDuration`).
pub(crate) const HISTORY_BYTES_MAX: usize = 48 << 20;

/// When the history is over a bound, forget this share of it, so that forgetting runs in strides, not at each commit.
pub(crate) const COMPACT_SHARE: usize = 8;

/// What one event costs besides the values that only it holds: the event, its pointers, a key shared with the entry.
pub(super) const EVENT_OVERHEAD_BYTES: usize = 256;

/// Default bound of one watcher's queue beyond its backlog, in events: a second of the busiest kind. Who is slower
/// lists again, which costs less than holding its events.
pub(crate) const WATCH_QUEUE_EVENTS_MAX: usize = 8192;

/// Larger values are not packed, nor is anything packed against them, so that a small value keeps no large one alive.
pub(super) const PACKED_BYTES_MAX: usize = 16 << 10;

/// A value that does not become this many times smaller is not packed: it has little in common with what came before it.
pub(super) const PACKED_SHARE: usize = 3;

/// After this many values another one may take the place of the one that they are packed against; as many share the room that
/// it takes.
pub(super) const DICTIONARY_USES: usize = 64;

/// Values that the next ones are packed against, at most 4 MiB of them; with more kinds of names than that all begin anew. One
/// that was replaced lives as long as what was packed against it.
pub(super) const DICTIONARIES_MAX: usize = 256;
