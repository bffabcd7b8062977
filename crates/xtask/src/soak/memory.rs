//! Whether the server's memory is flat.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::load::Usage;

/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_secs(1);
/// A run of at least this long says something: the server's history is full by then, and what is old goes.
const LONG_SECONDS: u64 = 240;
/// Memory may grow by this from the middle of a long run to its end.
const GROWTH_MAX: f64 = 1.2;
/// This share of the samples is averaged.
const SHARE: usize = 10;

/// What was sampled, in MiB.
pub(super) struct Samples(Vec<f64>);

/// Samples a process until `end`.
pub(super) async fn sample(process: u32, end: Instant) -> Samples {
    let mut samples = Vec::new();
    while Instant::now() < end {
        samples.push(Usage::of(&[process]).resident_mib);
        tokio::time::sleep(SAMPLE).await;
    }
    Samples(samples)
}

impl Samples {
    /// Says how memory went.
    ///
    /// # Errors
    /// When it grew in the second half of a long run.
    pub(super) fn report(&self, seconds: u64) -> Result<()> {
        let (few, half) = ((self.0.len() / SHARE).max(1), self.0.len() / 2);
        let mean = |samples: &[f64]| samples.iter().sum::<f64>() / samples.len().max(1) as f64;
        let middle = mean(&self.0[half..(half + few).min(self.0.len())]);
        let last = mean(&self.0[self.0.len().saturating_sub(few)..]);
        let first = self.0.first().copied().unwrap_or_default();
        let most = self.0.iter().copied().fold(0.0, f64::max);
        println!(
            "server's memory in MiB: {first:.0} at first, {middle:.0} in the middle, {last:.0} at the end, {most:.0} at most"
        );
        if seconds >= LONG_SECONDS && last > middle * GROWTH_MAX {
            bail!("the server's memory grows: {middle:.0} MiB in the middle, {last:.0} MiB at the end");
        }
        Ok(())
    }
}
