//! Flags of an agent that say when images and pods have to go, how long pods may take when the machine goes down, and how
//! many processes they may have.

use std::time::Duration;

use clap::Args;
use decide::node_pressure::Thresholds;
use decide::node_pressure::images::Policy;
use decide::node_shutdown::Periods;

/// When images and pods have to go.
#[derive(Args, Clone, Debug)]
pub(crate) struct LimitArgs {
    /// Below these amounts pods have to end (memory.available<100Mi,nodefs.available<10%); "" lets none end
    /// [default: memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,
    /// imagefs.inodesFree<5%,pid.available<10%]
    #[arg(long, value_name = "SIGNAL<AMOUNT")]
    eviction_hard: Option<Thresholds>,
    /// From this use of their disk on, in percent, images go that no container has; 100 lets none go
    #[arg(long, value_name = "PERCENT", default_value_t = 85, value_parser = clap::value_parser!(u8).range(0..=100))]
    image_gc_high_threshold: u8,
    /// Images go until this use, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u8).range(0..=100))]
    image_gc_low_threshold: u8,
    /// An image stays at least so long after it came
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = cli::parse_duration)]
    minimum_image_ttl_duration: Duration,
    /// When the machine goes down, pods may take so long to end; 0 ends none in order
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = cli::parse_duration)]
    shutdown_grace_period: Duration,
    /// The part of it that is kept for critical pods, which end last
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = cli::parse_duration)]
    shutdown_grace_period_critical_pods: Duration,
    /// Most processes of one pod; -1 is no limit
    #[arg(long, value_name = "NUMBER", default_value_t = -1, allow_negative_numbers = true,
        value_parser = clap::value_parser!(i64).range(-1..))]
    pod_max_pids: i64,
}

impl LimitArgs {
    /// Puts them into an agent's options.
    ///
    /// # Errors
    /// When they contradict each other.
    pub(crate) fn apply(&self, options: &mut node::agent::Options) -> anyhow::Result<()> {
        if self.image_gc_low_threshold >= self.image_gc_high_threshold {
            anyhow::bail!("--image-gc-low-threshold must be less than --image-gc-high-threshold");
        }
        let periods = Periods { whole: self.shutdown_grace_period, critical: self.shutdown_grace_period_critical_pods };
        if !periods.whole.is_zero() && periods.critical > periods.whole {
            anyhow::bail!("--shutdown-grace-period-critical-pods must not be more than --shutdown-grace-period");
        }
        if self.pod_max_pids == 0 {
            anyhow::bail!("--pod-max-pids must be more than 0, or -1 for no limit");
        }
        options.pod_pids_max = u64::try_from(self.pod_max_pids).ok();
        options.shutdown_periods = periods;
        options.image_gc = Policy {
            high_percent: self.image_gc_high_threshold,
            low_percent: self.image_gc_low_threshold,
            min_age: self.minimum_image_ttl_duration.try_into()?,
        };
        options.eviction = self.eviction_hard.clone().unwrap_or_default();
        Ok(())
    }
}

/// The flags of nodes that share a machine which is somebody's own: what is short there is not theirs to decide.
pub(crate) fn none() -> [String; 4] {
    ["--eviction-hard", "", "--image-gc-high-threshold", "100"].map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: LimitArgs,
    }

    fn apply(words: &[&str]) -> anyhow::Result<node::agent::Options> {
        let mut options = node::agent::Options::new("n", "/d".into(), "/r".into(), "https://s");
        let cli = Cli::try_parse_from(std::iter::once("x").chain(words.iter().copied()))?;
        cli.args.apply(&mut options)?;
        Ok(options)
    }

    #[test]
    fn defaults_are_kubernetes_own() {
        let options = apply(&[]).unwrap();
        assert_eq!((options.image_gc, options.eviction), (Policy::default(), Thresholds::default()));
        let own = apply(&["--eviction-hard", "", "--image-gc-high-threshold", "90"]).unwrap();
        assert_eq!((own.image_gc.high_percent, own.eviction), (90, "".parse().unwrap()));
        let words = none();
        let nothing = apply(&words.each_ref().map(String::as_str)).unwrap();
        assert_eq!((nothing.image_gc, nothing.eviction), (Policy::never(), Thresholds::none()));
        assert!(apply(&["--image-gc-low-threshold", "85"]).unwrap_err().to_string().contains("must be less"));
        let seconds =
            |whole, critical| Periods { whole: Duration::from_secs(whole), critical: Duration::from_secs(critical) };
        assert_eq!(options.shutdown_periods, seconds(30, 10));
        assert_eq!(apply(&["--shutdown-grace-period", "0s"]).unwrap().shutdown_periods, seconds(0, 10));
        assert!(apply(&["--shutdown-grace-period", "5s"]).unwrap_err().to_string().contains("must not be more"));
        assert_eq!((options.pod_pids_max, apply(&["--pod-max-pids", "9"]).unwrap().pod_pids_max), (None, Some(9)));
        assert!(apply(&["--pod-max-pids", "0"]).unwrap_err().to_string().contains("must be more than 0"));
        assert!(apply(&["--eviction-hard", "cpu<1"]).unwrap_err().to_string().contains("is no signal"));
    }
}
