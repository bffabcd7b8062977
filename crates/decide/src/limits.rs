//! Bounds of one decision; each says why it is what it is.
//!
//! Invariants: a plan never holds more writes than these allow, whatever the size of the cluster.
//!
//! Absent: bounds of queues and retries (they belong to whoever carries a plan out).

/// Pods that one plan may create, and pods that it may delete. Kubernetes' own figure: it keeps a mistake in a template
/// from reaching more nodes than this before the next look at what happened.
pub const BURST_PODS: usize = 250;

/// The same for ReplicaSets. Kubernetes' own figure.
pub const BURST_REPLICAS: usize = 500;

/// Old revisions kept when a DaemonSet does not say (`spec.revisionHistoryLimit`); the default of `apps/v1`.
pub const REVISION_HISTORY_DEFAULT: i32 = 10;

/// First pause before a failed daemon pod is replaced again on the same node. Kubernetes' figure.
pub const FAILED_POD_BACKOFF_S_MIN: i64 = 1;

/// Longest pause before a failed daemon pod is replaced again on the same node. Kubernetes' figure: long enough that a
/// node which rejects a pod for good costs almost nothing, short enough that a repair is noticed.
pub const FAILED_POD_BACKOFF_S_MAX: i64 = 15 * 60;

/// Nodes that are named when it is said what uses a budget up: as many as a reader follows up, so that a reason stays a
/// line in a cluster of any size.
pub const USED_NODES_NAMED: usize = 5;

/// Nodes that are named beside a cause that many share; the rest is counted, so that a summary stays readable.
pub const CAUSE_NODES_NAMED: usize = 3;

/// Pods that are looked into more closely for one report. Each costs a read of the API; one cause seldom has more faces, and
/// the others are told by their own status.
pub const PODS_LOOKED_INTO: usize = 20;

/// Nodes that use a budget up whose own trouble is told too: one is most often enough to see what is wrong, and the line is
/// repeated for each node that waits.
pub const BLOCKERS_TOLD: usize = 2;

/// Pods whose start times are read for an estimate: the middle of so many is as good as that of all.
pub const START_TIMES_READ: usize = 1000;
