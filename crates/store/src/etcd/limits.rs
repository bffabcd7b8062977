//! Every bound of the etcd backend, with its reason.

use std::time::Duration;

/// A member gets this long to take a connection, TLS included; then the next one is asked.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(3);
/// A member gets this long to answer one request. Longer than an election of etcd's leader (1 to 2 s by default).
pub(super) const ATTEMPT_MAX: Duration = Duration::from_secs(4);
/// A request is tried again on all members for this long: an election and a reconnection fit in, and a client of the API
/// server is told before it gives up by itself.
pub(super) const REQUEST_MAX: Duration = Duration::from_secs(10);
/// The same where no member takes a connection: nobody there is known at once.
pub(super) const CONNECT_RETRY_MAX: Duration = Duration::from_secs(4);
/// Pause before a request is tried again; doubled from try to try.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Longest such pause.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(1);
/// An idle connection is pinged this often: a member that hangs is noticed within this and the next.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(5);
/// How long a ping may stay unanswered.
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(4);
/// Bytes of one answer that etcd may send ahead of what was read.
pub(super) const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// The same for all answers of a connection.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Keys of the first page of a list: small enough for the largest values.
pub(super) const LIST_KEYS_FIRST: usize = 100;
/// Keys of a page at most: etcd answers a page whole, and is not to be kept from other requests for long.
pub(super) const LIST_KEYS_MAX: usize = 5000;
/// Bytes that a page aims at, by the sizes of the page before.
pub(super) const LIST_PAGE_BYTES: usize = 4 << 20;
/// The largest answer that is taken: a page of the first size full of the largest values that etcd is commonly set to
/// take (1.5 MiB), and what a watch that catches up gets in one message (1,000 revisions at most).
pub(super) const ANSWER_BYTES_MAX: usize = 2 << 30;
/// The key of the longest name Kubernetes allows has some 600 bytes; etcd itself sets no bound.
pub(super) const KEY_PREFIX_BYTES_MAX: usize = 256;
/// The revision of an empty etcd: its first commit is 2.
pub(super) const FIRST_REVISION: u64 = 1;
/// A compacted etcd says so to a watch of old revisions within a tenth of a second.
pub(super) const COMPACTED_ANSWER_MAX: Duration = Duration::from_secs(2);
