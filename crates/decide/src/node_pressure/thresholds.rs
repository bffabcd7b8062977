//! How little may be left: Kubernetes' defaults, or what the user says.

use std::collections::BTreeMap;
use std::str::FromStr;

use api::quantity::Quantity;

use super::Signal;

/// A share in millionths of the whole, or an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Least {
    Share(u64),
    Amount(u64),
}

/// Millionths in one percent.
const PERCENT: u64 = 10_000;

/// Below these a node is short of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thresholds(BTreeMap<Signal, Least>);

impl Default for Thresholds {
    /// Kubernetes' hard thresholds; it has none for process ids, but without those nothing starts that would help.
    fn default() -> Self {
        Self(BTreeMap::from([
            (Signal::Memory, Least::Amount(100 << 20)),
            (Signal::NodeDisk, Least::Share(10 * PERCENT)),
            (Signal::NodeInodes, Least::Share(5 * PERCENT)),
            (Signal::ImageDisk, Least::Share(15 * PERCENT)),
            (Signal::ImageInodes, Least::Share(5 * PERCENT)),
            (Signal::Pids, Least::Share(10 * PERCENT)),
        ]))
    }
}

impl Thresholds {
    /// No thresholds: nothing is ever short.
    #[must_use]
    pub fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The least of `whole`; None where nobody minds.
    pub(super) fn of(&self, signal: Signal, whole: u64) -> Option<u64> {
        Some(match self.0.get(&signal)? {
            Least::Amount(amount) => *amount,
            Least::Share(share) => {
                u64::try_from(u128::from(whole) * u128::from(*share) / u128::from(100 * PERCENT)).unwrap_or(u64::MAX)
            }
        })
    }
}

impl FromStr for Thresholds {
    type Err = String;

    /// Reads `memory.available<100Mi,nodefs.available<10%`. What is not named has no threshold.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, least) = part.split_once('<').ok_or_else(|| format!("{part:?}: write SIGNAL<AMOUNT"))?;
            let known = || Signal::ALL.map(Signal::name).join(", ");
            let signal = Signal::ALL.into_iter().find(|signal| signal.name() == name);
            let signal = signal.ok_or_else(|| format!("{name:?} is no signal; there are {}", known()))?;
            let bad = || format!("{least:?} is neither a quantity (100Mi) nor a percentage (10%)");
            let least = match least.strip_suffix('%') {
                Some(percent) => {
                    let percent: f64 = percent.parse().ok().filter(|p| (0.0..=100.0).contains(p)).ok_or_else(bad)?;
                    Least::Share((percent * PERCENT as f64).round() as u64)
                }
                None => {
                    let quantity = Quantity::parse(least).map_err(|_| bad())?;
                    Least::Amount(u64::try_from(quantity.units()).map_err(|_| bad())?)
                }
            };
            if all.insert(signal, least).is_some() {
                return Err(format!("{name} is there twice"));
            }
        }
        Ok(Self(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_says_replaces_all() {
        let own: Thresholds = "memory.available<1Gi, nodefs.available<7.5%".parse().unwrap();
        assert_eq!(own.of(Signal::Memory, 5), Some(1 << 30));
        assert_eq!(own.of(Signal::NodeDisk, 1000), Some(75));
        assert_eq!(own.of(Signal::Pids, 1000), None);
        assert_eq!("".parse::<Thresholds>().unwrap().of(Signal::Memory, 1), None);
        for (text, want) in [
            ("memory.available", "write SIGNAL<AMOUNT"),
            ("cpu<1", "is no signal; there are memory.available, nodefs.available"),
            ("memory.available<x", "neither a quantity"),
            ("memory.available<101%", "neither a quantity"),
            ("memory.available<-1", "neither a quantity"),
            ("memory.available<1,memory.available<2", "there twice"),
        ] {
            let error = text.parse::<Thresholds>().unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
