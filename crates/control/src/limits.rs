//! Bounds of queues, retries and waits; each says why it is what it is.
//!
//! Invariants: nothing in this crate waits, retries or holds without one of these.
//!
//! Absent: bounds of single decisions (`decide::limits`).

use std::time::Duration;

/// First pause after a failed sync of a key; doubled from failure to failure.
pub(crate) const RETRY_MIN: Duration = Duration::from_millis(20);

/// Longest pause after failed syncs of a key: long enough to cost nothing, short enough that a repair is noticed.
pub(crate) const RETRY_MAX: Duration = Duration::from_secs(30);

/// How long a key waits for its own writes to come back on the watch. Longer than any relist should take; past it the
/// watch is broken, and preconditions on the writes are what keeps a plan on old data harmless.
pub(crate) const WRITES_SEEN_MAX: Duration = Duration::from_secs(30);

/// How often a key that waits for its own writes looks, in case what it waits for raises no event.
pub(crate) const WRITES_SEEN_POLL: Duration = Duration::from_millis(200);

/// A key rests for this many times as long as its last sync took (that of a DaemonSet: as its plan took), so that a stream of
/// small changes to a large set costs a bounded share of the processor.
pub(crate) const REST_FACTOR: u32 = 4;

/// Longest rest of a key between two syncs: what a user notices.
pub(crate) const REST_MAX: Duration = Duration::from_millis(500);

/// How long a DaemonSet waits after a change of one of its pods for more of them, so that a rollout in which hundreds of pods
/// change every second is not answered one by one. Nobody notices it.
pub(crate) const GATHER: Duration = Duration::from_millis(5);

/// How often a plan that was made from changes is held against one that is made from everything. A difference is a mistake
/// of ours, which is told and mended then; seldom enough that the look at everything costs nothing.
pub(crate) const FLEET_CHECK_PERIOD: Duration = Duration::from_secs(600);

/// Changes that are noted for a DaemonSet that nobody looks at: beyond so many it is no dearer to begin anew, and names need
/// room too.
pub(crate) const FLEET_CHANGES_MAX: usize = 10_000;

/// Pause between two writes of a DaemonSet's status that tell only of progress: a large rollout would otherwise write it
/// several times for each pod, and wait for each write to come back. Short enough that nobody who watches notices.
pub(crate) const STATUS_PAUSE: Duration = Duration::from_millis(250);

/// Keys of one controller in work at once.
pub(crate) const WORKERS: usize = 4;

/// Writes of one plan in flight at once: those that come together share an fsync. Few enough to leave the API server to
/// others too.
pub(crate) const WRITES_IN_FLIGHT: usize = 64;

/// Creations in flight until one has succeeded; each that does lets one more begin, so that a template that cannot be created
/// costs a few requests and not hundreds.
pub(crate) const CREATIONS_AT_FIRST: usize = 4;

/// Bindings in flight at once, for the same reason.
pub(crate) const BINDINGS_IN_FLIGHT: usize = 64;

/// How often a pod that fits nowhere is tried again though nothing changed that could help it.
pub(crate) const UNSCHEDULABLE_RETRY: Duration = Duration::from_secs(60);

/// Events that wait to be written: some three megabytes. A burst beyond it is dropped: events are a courtesy, and memory is not.
pub(crate) const EVENTS_WAITING: usize = 8 * 1024;
/// An event that the server has no time for is tried this often, as Kubernetes does it,
pub(crate) const EVENT_TRIES: u32 = 12;
/// with this pause before each further try: its answer has taken half a minute already.
pub(crate) const EVENT_TRY_AGAIN: Duration = Duration::from_secs(1);

/// Objects and messages that the recorder remembers to tell repetitions; the oldest half goes when it is full.
pub(crate) const EVENTS_REMEMBERED: usize = 2048;

/// Events about one object before it must slow down. Kubernetes' figure.
pub(crate) const EVENTS_PER_OBJECT: f64 = 25.0;

/// Seconds until an object may have one more event. Kubernetes' figure.
pub(crate) const EVENT_REFILL_S: f64 = 300.0;

/// Events of one reason about one object after which further ones are combined. Kubernetes' figure.
pub(crate) const SIMILAR_EVENTS: u32 = 10;

/// Seconds after which the count of similar events starts anew. Kubernetes' figure.
pub(crate) const SIMILAR_WITHIN_S: i64 = 600;

/// How long pods of a node that is gone are left, in case the node comes back. Kubernetes' figure.
pub(crate) const LOST_NODE_GRACE: Duration = Duration::from_secs(40);

/// Pause between two looks for pods that nobody else ends. Kubernetes' figure.
pub(crate) const POD_GC_PERIOD: Duration = Duration::from_secs(20);

/// Pause between two looks for certificate requests that have had their time. Kubernetes' figure.
pub(crate) const CSR_CLEAN_PERIOD: Duration = Duration::from_secs(3600);

/// Requests that are read at once: each may hold a certificate.
pub(crate) const CSR_PAGE: u32 = 500;

/// Longest pause until a token is looked at again, however long it lasts: clocks are set, and machines sleep.
pub(crate) const TOKEN_LOOK_MAX: Duration = Duration::from_secs(3600);

/// Pause between two looks at a namespace that is being emptied.
pub(crate) const NAMESPACE_POLL: Duration = Duration::from_millis(300);

/// How long the content of a namespace is left after its deletion was asked for: whoever deletes a namespace together
/// with things in it should still find those, and creations under way should have failed. Kubernetes waits longer.
pub(crate) const NAMESPACE_GRACE_S: i64 = 2;

/// Pause between two looks at an object whose owner could not be found or whose dependents hold it up.
pub(crate) const COLLECTOR_POLL: Duration = Duration::from_secs(2);

/// Owners that the collector remembers to be gone. All dependents of a large set ask for one and the same owner.
pub(crate) const ABSENT_OWNERS: usize = 512;

/// Longest pause between two looks for a kind that may be missing: how late it is noticed that it is there.
pub(crate) const LACKING_RETRY_MAX: Duration = Duration::from_secs(5);

/// Missing rights that are remembered as told. There are fewer verbs times kinds than that.
pub(crate) const RIGHTS_KNOWN: usize = 128;

/// How long until a missing right is told of again: often enough for whoever looks at the log now, seldom enough to leave
/// room for the rest.
pub(crate) const RIGHT_SAID_AGAIN: Duration = Duration::from_secs(600);
