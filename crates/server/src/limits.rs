//! Every bound of the server in one place, each with its reason.
//!
//! # Invariants
//! Nothing a client sends makes the server hold more than these allow.

use std::time::Duration;

/// A request's body in bytes: what kube-apiserver allows, so that whatever it takes, we take.
pub(crate) const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// An object's stored bytes: etcd's own limit, so that a cluster can move to etcd.
pub(crate) const OBJECT_BYTES_MAX: usize = 1536 * 1024;
/// A request's headers in bytes: room for long tokens and group lists.
pub(crate) const HEADER_BYTES_MAX: usize = 64 * 1024;
/// A client gets this long from its connection's begin to its first request's last header, TLS handshake included.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(20);
/// A connection without a request is closed after this: kube-apiserver's figure, which clients expect.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// An idle connection that was told to go gets this long to say goodbye.
pub(crate) const CLOSE_GRACE: Duration = Duration::from_secs(5);
/// A client that takes nothing of what it asked for is gone after this; long, as a reader may stand still for a while.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// A client gets this long to send its body.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections at once; each agent and client holds one or two.
pub(crate) const CONNECTIONS_MAX: usize = 16 * 1024;
/// The same of one address: half, so that no one machine keeps all others out.
pub(crate) const CONNECTIONS_PER_ADDRESS_MAX: usize = CONNECTIONS_MAX / 2;
/// Bytes of bodies at once, of all requests: a body costs several times its length while it is decoded.
pub(crate) const BODIES_BYTES_MAX: usize = 64 * BODY_BYTES_MAX;
/// HTTP/2 streams at once on one connection: a controller's watches and requests share one connection.
pub(crate) const STREAMS_MAX: u32 = 1000;
/// HTTP/2 keep-alive: a peer that went away silently is noticed within this and the next.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long a ping may stay unanswered.
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// TCP's probes of a silent peer begin after the ping interval and then come this often,
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(15);
/// and the peer is gone when this many stay unanswered.
pub(crate) const PROBES_MAX: u32 = 4;
/// Bytes of one stream from a node that its client has not read yet.
pub(crate) const TUNNEL_STREAM_BYTES: u32 = 256 * 1024;
/// The same of all streams of a node: as many as an agent allows, so that those nobody reads don't stop the others.
pub(crate) const TUNNEL_BYTES: u32 = 128 * TUNNEL_STREAM_BYTES;
/// Watches at once: each costs a task and a small queue in the store.
pub(crate) const WATCHES_MAX: usize = 64 * 1024;
/// The same of one user: a quarter, so that no one user keeps all others out.
pub(crate) const WATCHES_PER_USER_MAX: usize = WATCHES_MAX / 4;
/// A watch without timeoutSeconds ends after this, so that clients spread again; kube-apiserver takes 30 to 60 minutes.
pub(crate) const WATCH_TIMEOUT: Duration = Duration::from_secs(45 * 60);
/// A watch that asked for bookmarks gets one at least this often, as from kube-apiserver.
pub(crate) const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// Characters of all warnings of a response: kube-apiserver's figure.
pub(crate) const WARNINGS_CHARS_MAX: usize = 4096;
/// Characters of each, when all together would be longer than that.
pub(crate) const WARNING_CHARS_MAX: usize = 256;
/// Bodies from this size on are compressed for clients that accept it: kube-apiserver's figure.
pub(crate) const GZIP_BYTES_MIN: usize = 128 * 1024;
/// Patches and deletes are retried this often when someone else wrote in between.
pub(crate) const CONFLICT_RETRIES_MAX: usize = 10;
/// Deletions of one deletecollection that wait for the disk together: enough to share it, few enough that other
/// writers have their turn.
pub(crate) const DELETIONS_AT_ONCE: usize = 64;
/// Names made from generateName are tried this often before the client is told.
pub(crate) const GENERATE_RETRIES_MAX: usize = 8;
/// Open connections get this long to finish their requests when the server stops.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// Keys read from the store at a time while a list is filtered: bounds what one request holds.
pub(crate) const LIST_CHUNK: usize = 2000;
/// Definitions of custom kinds read from the store at a time: published ones reach 150 KB each.
pub(crate) const DEFINITIONS_CHUNK: usize = 50;
/// Pause between two looks at a definition whose objects wait for their finalizers.
pub(crate) const END_POLL: Duration = Duration::from_secs(1);
/// A token's cache entry or a line of the token file: longer ones are an error of the operator.
pub(crate) const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// A write of a role waits this long for the index to see it: the index is fed by the store that took the write, so more
/// would mean that it is stuck, and the write is durable already.
pub(crate) const INDEX_WAIT: Duration = Duration::from_secs(1);
/// While an index lags behind the store it is asked this often how far it has got: a store hands its changes out within
/// less.
pub(crate) const INDEX_LOOK_EVERY: Duration = Duration::from_millis(2);
/// Changes that wait for a watcher of one node's pods: several for each pod that a node may have.
pub(crate) const NODE_EVENTS_MAX: usize = 1024;
/// A task beside the requests that can't reach the store tries again after this.
pub(crate) const FOLLOW_RETRY: Duration = Duration::from_secs(1);
/// History kept for watches and continued lists: older revisions are compacted after this, as kube-apiserver does.
pub(crate) const HISTORY_AGE: Duration = Duration::from_secs(5 * 60);
/// Clients try again after so many seconds when the store or a node's agent is away: both are back in a moment or in
/// minutes, and asking costs little.
pub(crate) const RETRY_SECONDS: u32 = 1;
/// Answers to why nodes run a daemon that are worked on at a time: each reads all nodes, so more would take the processors
/// from everyone else.
pub(crate) const REASONS_AT_ONCE: usize = 2;
/// A question of why waits this long for its turn: longer than an answer takes for the largest fleet.
pub(crate) const REASONS_WAIT: Duration = Duration::from_secs(20);

/// Writes of events that are worked on at a time: as many share a commit, which costs more than the rest of such a write, and
/// they are few beside what a fleet has waiting.
pub(crate) const EVENTS_AT_ONCE: usize = 16;
/// Events go on when there has been no other write for this long: those of a rollout follow each other by less, also where
/// the next of its pods wait for the ones before.
pub(crate) const EVENT_QUIET: Duration = Duration::from_millis(30);
/// Whose turn it is to write an event waits this long at most for that: some thirty events a second come through
/// while a fleet's rollout fills the server, and thousands before and after it.
pub(crate) const EVENT_YIELD: Duration = Duration::from_millis(500);
/// While it waits it looks this often: seldom enough that those who wait take little from the writes that they wait for.
pub(crate) const EVENT_LOOK_EVERY: Duration = Duration::from_millis(10);
/// An event waits this long for its turn: clients give a request about a minute.
pub(crate) const EVENT_WAIT: Duration = Duration::from_secs(30);

/// How long the renewal of a node's lease may wait for others on its way to the disk. At one a node and ten seconds, 5,000
/// nodes then cost 20 fsyncs a second and not 500, and nobody who renews notices.
pub(crate) const HEARTBEAT_PAUSE: Duration = Duration::from_millis(50);
