//! Figures as a table and as JSON.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::load::Usage;

/// What one phase came to.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) phase: String,
    /// How many there were of what the phase does.
    pub(super) count: usize,
    pub(super) took: Duration,
    /// How long each took, sorted.
    pub(super) times: Vec<Duration>,
    pub(super) cpu_seconds: f64,
    pub(super) resident_mib: f64,
}

impl Figure {
    /// Of a phase that began when the server had used `before`.
    pub(super) fn new(
        phase: &str,
        took: Duration,
        mut times: Vec<Duration>,
        count: usize,
        before: Usage,
        after: Usage,
    ) -> Figure {
        times.sort_unstable();
        Figure {
            phase: phase.to_owned(),
            count,
            took,
            times,
            cpu_seconds: after.cpu_seconds - before.cpu_seconds,
            resident_mib: after.resident_mib,
        }
    }

    fn rate(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64().max(1e-9)
    }

    fn milliseconds(&self, share: f64) -> f64 {
        let at = (self.times.len().saturating_sub(1) as f64 * share) as usize;
        self.times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }
}

/// As a table.
pub(super) fn table(figures: &[Figure]) -> String {
    let mut out = String::from(
        "| phase | count | seconds | per second | p50 ms | p99 ms | server's CPU seconds | resident MiB |\n|---|---|---|---|---|---|---|---|\n",
    );
    for figure in figures {
        let _ = writeln!(
            out,
            "| {} | {} | {:.2} | {:.0} | {:.2} | {:.2} | {:.2} | {:.0} |",
            figure.phase,
            figure.count,
            figure.took.as_secs_f64(),
            figure.rate(),
            figure.milliseconds(0.5),
            figure.milliseconds(0.99),
            figure.cpu_seconds,
            figure.resident_mib,
        );
    }
    out
}

/// As JSON.
pub(super) fn json(figures: &[Figure]) -> String {
    let rows: Vec<Value> = figures
        .iter()
        .map(|figure| {
            json!({"phase": figure.phase, "count": figure.count, "seconds": figure.took.as_secs_f64(), "perSecond": figure.rate(),
                "p50Milliseconds": figure.milliseconds(0.5), "p99Milliseconds": figure.milliseconds(0.99),
                "serverCpuSeconds": figure.cpu_seconds, "residentMiB": figure.resident_mib})
        })
        .collect();
    format!("{:#}\n", Value::Array(rows))
}

/// What one phase of a fleet came to.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) phase: String,
    pub(super) nodes: usize,
    pub(super) took: Duration,
    pub(super) server_cpu_seconds: f64,
    pub(super) nodes_cpu_seconds: f64,
    /// This program's own, which watches.
    pub(super) bench_cpu_seconds: f64,
    pub(super) resident_mib: f64,
    pub(super) peak_mib: f64,
}

/// A fleet's phases as a table.
pub(super) fn fleet_table(rows: &[Row]) -> String {
    let mut out = String::from(
        "| phase | nodes | seconds | server's CPU seconds | nodes' CPU seconds | the bench's own | server resident MiB | at most |\n|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let _ = writeln!(
            out,
            "| {} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} |",
            row.phase,
            row.nodes,
            row.took.as_secs_f64(),
            row.server_cpu_seconds,
            row.nodes_cpu_seconds,
            row.bench_cpu_seconds,
            row.resident_mib,
            row.peak_mib,
        );
    }
    out
}

/// The same as JSON.
pub(super) fn fleet_json(rows: &[Row]) -> String {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({"phase": row.phase, "nodes": row.nodes, "seconds": row.took.as_secs_f64(),
                "serverCpuSeconds": row.server_cpu_seconds, "nodesCpuSeconds": row.nodes_cpu_seconds,
                "benchCpuSeconds": row.bench_cpu_seconds,
                "residentMiB": row.resident_mib, "peakMiB": row.peak_mib})
        })
        .collect();
    format!("{:#}\n", Value::Array(rows))
}
