//! What an agent counts of its own work.
//!
//! # Invariants
//! Labels come from closed sets, and rates are kept of control groups that were asked about in the last look alone.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::page::{Kind, Page};

/// Upper bounds of the time a pod takes to start, in seconds, as the kubelet has them.
const START_BOUNDS: [f64; 16] =
    [0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0];
/// Upper bounds of one turn of a pod's worker, in seconds.
const TURN_BOUNDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

#[derive(Debug)]
struct Histogram<const N: usize> {
    bounds: [f64; N],
    buckets: [u64; N],
    count: u64,
    sum: f64,
}

impl<const N: usize> Histogram<N> {
    const fn new(bounds: [f64; N]) -> Self {
        Self { bounds, buckets: [0; N], count: 0, sum: 0.0 }
    }

    fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.count += 1;
        self.sum += seconds;
        for (bound, bucket) in self.bounds.iter().zip(&mut self.buckets) {
            *bucket += u64::from(seconds <= *bound);
        }
    }

    fn put(&self, page: &mut Page, name: &'static str, labels: &[(&str, &str)]) {
        for (bound, bucket) in self.bounds.iter().zip(&self.buckets) {
            let bound = bound.to_string();
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            page.line(Kind::Histogram, name, "_bucket", &labels, *bucket as f64);
        }
        let all: Vec<(&str, &str)> = labels.iter().copied().chain([("le", "+Inf")]).collect();
        page.line(Kind::Histogram, name, "_bucket", &all, self.count as f64);
        page.line(Kind::Histogram, name, "_sum", labels, self.sum);
        page.line(Kind::Histogram, name, "_count", labels, self.count as f64);
    }
}

#[derive(Debug)]
struct State {
    starts: Histogram<16>,
    turns: Histogram<12>,
    evictions: BTreeMap<&'static str, u64>,
    images_collected: u64,
    /// Processor time of control groups at the last look.
    looks: BTreeMap<String, (Timestamp, u64)>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Counters(Mutex<State>);

impl Default for Counters {
    fn default() -> Self {
        Self(Mutex::new(State {
            starts: Histogram::new(START_BOUNDS),
            turns: Histogram::new(TURN_BOUNDS),
            evictions: BTreeMap::new(),
            images_collected: 0,
            looks: BTreeMap::new(),
        }))
    }
}

impl Counters {
    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers that a panic left behind are no worse than others.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pod runs, this long after it came to the node.
    pub(crate) fn started(&self, after: Duration) {
        self.state().starts.observe(after);
    }

    /// A pod's worker has done one turn.
    pub(crate) fn turned(&self, took: Duration) {
        self.state().turns.observe(took);
    }

    /// A pod was evicted for want of this.
    pub(crate) fn evicted(&self, signal: &'static str) {
        *self.state().evictions.entry(signal).or_default() += 1;
    }

    /// An image was collected.
    pub(crate) fn collected(&self) {
        self.state().images_collected += 1;
    }

    /// Nanoseconds of processor time a second since the last look; None at the first one.
    pub(super) fn rate(&self, group: &str, at: Timestamp, nanos: u64) -> Option<u64> {
        let before = self.state().looks.insert(group.to_owned(), (at, nanos));
        let (then, used) = before?;
        let passed = u64::try_from(at.duration_since(then).as_nanos()).ok().filter(|passed| *passed > 0)?;
        let rate = u128::from(nanos.checked_sub(used)?) * 1_000_000_000 / u128::from(passed);
        u64::try_from(rate).ok()
    }

    /// Forgets control groups that the look of this time did not ask about.
    pub(super) fn forget_others(&self, at: Timestamp) {
        self.state().looks.retain(|_, (then, _)| *then == at);
    }

    pub(super) fn put(&self, page: &mut Page) {
        let state = self.state();
        state.starts.put(page, "kubelet_pod_start_duration_seconds", &[]);
        state.turns.put(page, "kubelet_pod_worker_duration_seconds", &[("operation_type", "sync")]);
        for (signal, count) in &state.evictions {
            page.counter("kubelet_evictions", &[("eviction_signal", signal)], *count as f64);
        }
        let labels = [("reason", "space")];
        page.counter("kubelet_image_garbage_collected_total", &labels, state.images_collected as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_begin_with_the_second_look() {
        let counters = Counters::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(counters.rate("/a", at(10), 1_000), None);
        assert_eq!(counters.rate("/a", at(12), 5_000), Some(2_000));
        assert_eq!(counters.rate("/a", at(13), 4_000), None, "it started anew");
        counters.forget_others(at(14));
        assert_eq!(counters.rate("/a", at(15), 9_000), None);
    }

    #[test]
    fn buckets_hold_all_that_are_smaller() {
        let counters = Counters::default();
        counters.started(Duration::from_millis(1500));
        counters.evicted("memory.available");
        let mut page = Page::default();
        counters.put(&mut page);
        let text = page.text();
        for line in [
            "kubelet_pod_start_duration_seconds_bucket{le=\"1\"} 0\n",
            "kubelet_pod_start_duration_seconds_bucket{le=\"2\"} 1\n",
            "kubelet_pod_start_duration_seconds_bucket{le=\"+Inf\"} 1\n",
            "kubelet_pod_start_duration_seconds_sum 1.5\n",
            "kubelet_evictions{eviction_signal=\"memory.available\"} 1\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
