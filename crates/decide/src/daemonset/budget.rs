//! How far a rollout may go: `maxUnavailable` and `maxSurge` as numbers of nodes.
//!
//! Invariants: a rolling DaemonSet always has room for at least one step; percentages round up.
//!
//! Absent: what is unavailable now.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// How far a rollout of one DaemonSet may go at this size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// True with the strategy `RollingUpdate`.
    pub rolling: bool,
    /// Nodes that wanted a daemon.
    pub desired: usize,
    /// Daemons that may be missing.
    pub unavailable_max: usize,
    /// Nodes that may run the old and the new daemon side by side.
    pub surge_max: usize,
    /// True when some surge is asked for.
    pub allows_surge: bool,
}

impl Budget {
    /// The budget of `set` when `desired` nodes want a daemon.
    #[must_use]
    pub fn of(set: &DaemonSet, desired: usize) -> Self {
        let strategy = set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
        let rolling = strategy.is_none_or(|s| s.type_.as_deref() != Some("OnDelete"));
        let limits = strategy.filter(|_| rolling).and_then(|s| s.rolling_update.as_ref());
        let surge = limits.and_then(|l| l.max_surge.as_ref());
        let surge_max = surge.map_or(0, |v| scaled(v, desired).unwrap_or_default());
        let unavailable = limits.and_then(|l| l.max_unavailable.as_ref());
        let mut unavailable_max = unavailable.map_or(1, |v| scaled(v, desired).unwrap_or(1));
        if desired > 0 && unavailable_max == 0 && surge_max == 0 {
            unavailable_max = 1;
        }
        let allows_surge = surge.is_some_and(|v| scaled(v, 1).unwrap_or_default() > 0);
        Self { rolling, desired, unavailable_max, surge_max, allows_surge }
    }
}

/// A number as it stands, or a percentage of `total`, rounded up; `None` when it is neither.
#[must_use]
pub fn scaled(value: &IntOrString, total: usize) -> Option<usize> {
    match value {
        IntOrString::Int(number) => usize::try_from(*number).ok(),
        IntOrString::String(text) => {
            let percent: usize = text.strip_suffix('%')?.parse().ok()?;
            Some(percent.saturating_mul(total).div_ceil(100))
        }
    }
}
