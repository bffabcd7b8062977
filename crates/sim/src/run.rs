//! One run: faults, then peace.

use crate::check;
use crate::cluster::Cluster;
use crate::controller::{Controller, Faults};
use crate::random::Random;

/// Steps with faults.
const STEPS: usize = 120;

/// Syncs in which a cluster at peace must become what was asked for: a rollout of the largest simulated cluster, one
/// node after the other, each with its pause for `minReadySeconds`, after the longest pause for failed pods.
const PEACE_MAX: usize = 1500;

/// What goes wrong in a run: a crash every few plans, half the plans on a view of which a part is old.
const FAULTS: Faults = Faults { stale: 16, crash: 6, lost: 6 };

/// Runs one seed.
///
/// # Errors
///
/// Says what went wrong; the same seed says it again.
pub fn run(seed: u64) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mut truth = Cluster::new(&mut random);
    let mut controller = Controller::new(&truth);
    for step in 0..STEPS {
        if random.chance(60) {
            truth.happen(&mut random);
        }
        truth.pass(time(&mut random));
        let before = truth.clone();
        let told = |why| format!("seed {seed}, step {step}: {why}");
        if let Some(synced) = controller.sync(&mut truth, &mut random, FAULTS).map_err(told)? {
            check::step(&before, &synced).map_err(told)?;
        }
    }
    let mut last = String::new();
    for _ in 0..PEACE_MAX {
        controller.sync(&mut truth, &mut random, Faults::NONE).map_err(|why| format!("seed {seed}: {why}"))?;
        truth.nodes_work(&mut random, 100);
        truth.pass(3);
        let fresh = Controller::new(&truth);
        match check::settled(&truth, &fresh.plan()) {
            Ok(()) => return Ok(()),
            Err(why) => last = why,
        }
    }
    Err(format!("seed {seed}: does not settle: {last}"))
}

/// Seconds until the next step: few, and now and then a jump of the clock, forth or back.
fn time(random: &mut Random) -> i64 {
    let few = i64::try_from(random.below(5)).unwrap_or_default();
    match random.below(60) {
        0 => few + 3600,
        1 => few - 40,
        _ => few,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seeds of a test run, in parts that run beside each other.
    const SEEDS: u64 = 1000;
    const PARTS: u64 = 4;

    fn run_part(part: u64) {
        let failed: Vec<String> = (0..SEEDS).filter(|seed| seed % PARTS == part).filter_map(|s| run(s).err()).collect();
        assert!(failed.is_empty(), "{} seeds fail:\n{}", failed.len(), failed.join("\n"));
    }

    #[test]
    fn seeds_are_safe_and_settle_0() {
        run_part(0);
    }

    #[test]
    fn seeds_are_safe_and_settle_1() {
        run_part(1);
    }

    #[test]
    fn seeds_are_safe_and_settle_2() {
        run_part(2);
    }

    #[test]
    fn seeds_are_safe_and_settle_3() {
        run_part(3);
    }

    #[test]
    fn a_run_is_a_function_of_its_seed() {
        let trace = |seed| {
            let mut random = Random::new(seed);
            let mut truth = Cluster::new(&mut random);
            let mut controller = Controller::new(&truth);
            for _ in 0..STEPS {
                truth.happen(&mut random);
                controller.sync(&mut truth, &mut random, FAULTS).unwrap();
            }
            format!("{truth:?}")
        };
        assert_eq!(trace(7), trace(7));
        assert_ne!(trace(7), trace(8));
    }
}
