//! Every bound of the embedded store, with its reason.

/// Commits that may wait for the writer. More wait outside, in their own tasks: at this depth a batch is full anyway.
pub(super) const QUEUE_COMMANDS_MAX: usize = 2048;

/// Bytes of keys and values that may wait for the writer: 16 of the largest requests an API server takes (3 MiB),
/// so that a flood of large objects can't fill the memory.
pub(super) const QUEUE_BYTES_MAX: usize = 48 << 20;

/// Commits that share one fsync. Beyond this the fsync is noise in the batch's time and only the wait grows.
pub(super) const BATCH_COMMANDS_MAX: usize = 512;

/// Bytes that share one fsync: keeps the longest batch in the tens of milliseconds on a slow disk.
pub(super) const BATCH_BYTES_MAX: usize = 8 << 20;

/// Events that one step of a compaction forgets. A step rides in a batch, so this is what it may delay a commit by
/// (a few milliseconds).
pub(super) const COMPACT_STEP_EVENTS: usize = 2048;

/// Points in time kept to turn an age into a revision: the age is kept to within a sixteenth.
pub(super) const AGE_MARKS: u32 = 16;

/// What memory and the journal hold before the log gets it at once: a hundred pods, so that what a batch costs the engine
/// besides its records is shared by many; few enough that the commit which waits for it waits no longer than for a slow fsync.
pub(super) const JOURNAL_BYTES_MAX: usize = 256 << 10;

/// Memory the engine may use for its page cache. Reads come from our own memory, so it only holds what the next
/// batches change.
pub(super) const ENGINE_CACHE_BYTES: usize = 4 << 20;
