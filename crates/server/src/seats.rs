//! How much of something each holder may have at once: connections of an address, watches of a user.
//!
//! # Invariants
//! A holder without seats costs nothing; a seat that is dropped is free again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who holds how many seats.
#[derive(Debug)]
pub(crate) struct Seats<K: Hash + Eq> {
    each_max: usize,
    held: Mutex<HashMap<K, usize>>,
}

/// One seat; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat<K: Hash + Eq> {
    holder: K,
    seats: Arc<Seats<K>>,
}

impl<K: Hash + Eq + Clone> Seats<K> {
    /// Up to so many for each holder.
    pub(crate) fn new(each_max: usize) -> Arc<Self> {
        Arc::new(Seats { each_max, held: Mutex::default() })
    }

    /// One for `holder`; None when it has all that it may.
    pub(crate) fn take(self: &Arc<Self>, holder: K) -> Option<Seat<K>> {
        let mut held = self.held();
        let count = held.entry(holder.clone()).or_default();
        if *count == self.each_max {
            return None;
        }
        *count += 1;
        drop(held);
        Some(Seat { holder, seats: self.clone() })
    }
}

impl<K: Hash + Eq> Seats<K> {
    fn held(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut held = self.seats.held();
        if let Some(count) = held.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_and_gets_them_back() {
        let seats = Seats::new(2);
        let first = seats.take("a").unwrap();
        let _second = seats.take("a").unwrap();
        assert!(seats.take("a").is_none());
        let other = seats.take("b").unwrap();
        drop(first);
        let third = seats.take("a").unwrap();
        drop((other, third));
        assert_eq!(seats.held().keys().collect::<Vec<_>>(), [&"a"]);
    }
}
