//! Counters of requests, for Prometheus.
//!
//! # Invariants
//! Labels come from closed sets (verbs, kinds, codes), so the number of series is bounded.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the latency buckets in seconds.
const BUCKETS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

#[derive(Debug, Default, Clone, Copy)]
struct Series {
    count: u64,
    sum: f64,
    buckets: [u64; BUCKETS.len()],
}

/// What was answered so far.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, &'static str, u16), u64>>,
    latencies: Mutex<BTreeMap<(&'static str, &'static str), Series>>,
}

impl Metrics {
    /// Counts an answered request.
    pub(crate) fn answered(&self, verb: &'static str, resource: &'static str, code: u16, took: Duration) {
        *lock(&self.requests).entry((verb, resource, code)).or_default() += 1;
        // A watch takes as long as its client likes.
        if verb == "watch" {
            return;
        }
        let seconds = took.as_secs_f64();
        let mut latencies = lock(&self.latencies);
        let series = latencies.entry((verb, resource)).or_default();
        series.count += 1;
        series.sum += seconds;
        for (bound, bucket) in BUCKETS.iter().zip(&mut series.buckets) {
            *bucket += u64::from(seconds <= *bound);
        }
    }

    /// The text that Prometheus reads.
    pub(crate) fn text(&self, watches: usize, nodes: usize, revision: u64) -> String {
        let mut out = String::new();
        out.push_str("# TYPE apiserver_request_total counter\n");
        for ((verb, resource, code), count) in lock(&self.requests).iter() {
            let _ = writeln!(
                out,
                "apiserver_request_total{{verb=\"{verb}\",resource=\"{resource}\",code=\"{code}\"}} {count}"
            );
        }
        out.push_str("# TYPE apiserver_request_duration_seconds histogram\n");
        for ((verb, resource), series) in lock(&self.latencies).iter() {
            let labels = format!("verb=\"{verb}\",resource=\"{resource}\"");
            for (bound, count) in BUCKETS.iter().zip(&series.buckets) {
                let _ = writeln!(out, "apiserver_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {count}");
            }
            let (count, sum) = (series.count, series.sum);
            let _ = writeln!(out, "apiserver_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} {count}");
            let _ = writeln!(out, "apiserver_request_duration_seconds_sum{{{labels}}} {sum}");
            let _ = writeln!(out, "apiserver_request_duration_seconds_count{{{labels}}} {count}");
        }
        for (name, value) in [
            ("everynode_watches", watches as u64),
            ("everynode_connected_nodes", nodes as u64),
            ("everynode_store_revision", revision),
        ] {
            let _ = writeln!(out, "# TYPE {name} gauge\n{name} {value}");
        }
        out
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let metrics = Metrics::default();
        metrics.answered("get", "pods", 200, Duration::from_millis(2));
        metrics.answered("watch", "pods", 200, Duration::from_secs(60));
        let text = metrics.text(3, 1, 42);
        for line in [
            "apiserver_request_total{verb=\"get\",resource=\"pods\",code=\"200\"} 1",
            "apiserver_request_duration_seconds_bucket{verb=\"get\",resource=\"pods\",le=\"0.001\"} 0",
            "apiserver_request_duration_seconds_bucket{verb=\"get\",resource=\"pods\",le=\"0.0025\"} 1",
            "everynode_watches 3",
            "everynode_store_revision 42",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} missing in\n{text}");
        }
        assert!(!text.contains("_count{verb=\"watch\""));
    }
}
