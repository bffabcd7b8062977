//! A queue of keys that are due at some time.
//!
//! Invariants: a key is in the queue at most once, so the queue is bounded by the number of objects; a key is never in
//! work twice at once; a key that is added while in work comes again afterwards.
//!
//! Absent: what is done about a key. A closed queue takes nothing: nobody works on its keys.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits::{RETRY_MAX, RETRY_MIN};

/// A queue of keys that are due at some time.
pub(crate) struct Queue<K> {
    state: Mutex<State<K>>,
    is_closed: bool,
    wake: Notify,
}

struct State<K> {
    /// What is due when; the number tells keys of the same time apart and keeps their order.
    due: BTreeMap<(Instant, u64), K>,
    /// Where a key stands in `due`.
    place: HashMap<K, (Instant, u64)>,
    working: HashSet<K>,
    /// Keys added while in work.
    again: HashMap<K, Instant>,
    failures: HashMap<K, u32>,
    /// How long keys in work rest afterwards.
    rests: HashMap<K, Duration>,
    counter: u64,
}

impl<K: Clone + Eq + Hash> Queue<K> {
    pub(crate) fn new() -> Self {
        let state = State {
            due: BTreeMap::new(),
            place: HashMap::new(),
            working: HashSet::new(),
            again: HashMap::new(),
            failures: HashMap::new(),
            rests: HashMap::new(),
            counter: 0,
        };
        Self { state: Mutex::new(state), is_closed: false, wake: Notify::new() }
    }

    /// A queue that takes keys only if somebody works on them.
    pub(crate) fn open_if(worked: bool) -> Self {
        Self { is_closed: !worked, ..Self::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a key due now.
    pub(crate) fn add(&self, key: K) {
        self.add_after(key, Duration::ZERO);
    }

    /// Makes a key due after a pause, unless it is due earlier anyway.
    pub(crate) fn add_after(&self, key: K, pause: Duration) {
        if self.is_closed {
            return;
        }
        let at = Instant::now() + pause;
        let mut state = self.lock();
        if state.working.contains(&key) {
            let again = state.again.entry(key).or_insert(at);
            *again = (*again).min(at);
            return;
        }
        state.insert(key, at);
        drop(state);
        self.wake.notify_one();
    }

    /// The next key that is due; it is in work until [`Self::done`].
    pub(crate) async fn next(&self) -> K {
        loop {
            match self.take() {
                Ok(key) => return key,
                Err(Some(at)) => tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                Err(None) => self.wake.notified().await,
            }
        }
    }

    /// The next key if one is due now; else when the first will be. It is in work until [`Self::done`].
    pub(crate) fn take(&self) -> Result<K, Option<Instant>> {
        let mut state = self.lock();
        let Some((&(at, serial), _)) = state.due.first_key_value() else { return Err(None) };
        if at > Instant::now() {
            return Err(Some(at));
        }
        let Some(key) = state.due.remove(&(at, serial)) else { return Err(None) };
        state.place.remove(&key);
        state.working.insert(key.clone());
        if state.due.first_key_value().is_some_and(|((at, _), _)| *at <= Instant::now()) {
            self.wake.notify_one();
        }
        Ok(key)
    }

    /// Says how long a key in work rests afterwards, which is otherwise up to whoever gives it back.
    pub(crate) fn rest(&self, key: &K, rest: Duration) {
        self.lock().rests.insert(key.clone(), rest);
    }

    /// The work on a key is over; it may come again after `rest` at the earliest, unless another rest was said.
    pub(crate) fn done(&self, key: &K, rest: Duration) {
        let mut state = self.lock();
        state.working.remove(key);
        let rest = state.rests.remove(key).unwrap_or(rest);
        if let Some(at) = state.again.remove(key) {
            let at = at.max(Instant::now() + rest);
            state.insert(key.clone(), at);
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Makes a key due after a pause that grows with its failures. Returns their number.
    pub(crate) fn retry(&self, key: K) -> u32 {
        let failures = {
            let mut state = self.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            *failures = failures.saturating_add(1);
            *failures
        };
        let pause = RETRY_MIN.saturating_mul(2_u32.saturating_pow(failures - 1)).min(RETRY_MAX);
        self.add_after(key, pause);
        failures
    }

    /// Forgets the failures of a key.
    pub(crate) fn forget(&self, key: &K) {
        self.lock().failures.remove(key);
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn insert(&mut self, key: K, at: Instant) {
        if let Some(place) = self.place.get(&key).copied() {
            if place.0 <= at {
                return;
            }
            self.due.remove(&place);
        }
        self.counter += 1;
        let place = (at, self.counter);
        self.due.insert(place, key.clone());
        self.place.insert(key, place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_key_is_queued_once_and_at_its_earliest_time() {
        let queue = Queue::new();
        let start = Instant::now();
        queue.add_after("a", 5 * S);
        queue.add_after("a", 2 * S);
        queue.add_after("a", 9 * S);
        queue.add("b");
        assert_eq!(queue.next().await, "b");
        assert_eq!(queue.next().await, "a");
        assert_eq!(start.elapsed().as_secs(), 2);
        queue.done(&"a", Duration::ZERO);
        assert!(tokio::time::timeout(100 * S, queue.next()).await.is_err(), "nothing is left");
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_queue_keeps_nothing() {
        let queue = Queue::open_if(false);
        queue.add("a");
        assert_eq!(queue.take(), Err(None));
        let queue = Queue::open_if(true);
        queue.add("a");
        assert_eq!(queue.take(), Ok("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_in_work_comes_again_after_its_rest() {
        let queue = Queue::new();
        queue.add("a");
        assert_eq!(queue.next().await, "a");
        queue.add("a");
        assert!(tokio::time::timeout(S, queue.next()).await.is_err(), "never twice at once");
        let done = Instant::now();
        queue.done(&"a", 3 * S);
        assert_eq!(queue.next().await, "a");
        assert_eq!(done.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_works_on_a_key_may_say_how_long_it_rests() {
        let queue = Queue::new();
        for expect in [1, 3] {
            queue.add("a");
            assert_eq!(queue.next().await, "a");
            queue.add("a");
            if expect == 1 {
                queue.rest(&"a", S);
            }
            let done = Instant::now();
            queue.done(&"a", 3 * S);
            assert_eq!(queue.next().await, "a");
            assert_eq!(done.elapsed().as_secs(), expect);
            queue.done(&"a", Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retries_wait_longer_and_longer() {
        let queue = Queue::new();
        let mut pauses = Vec::new();
        for _ in 0..14 {
            let start = Instant::now();
            queue.retry("a");
            queue.next().await;
            queue.done(&"a", Duration::ZERO);
            pauses.push(start.elapsed());
        }
        assert!(pauses.is_sorted() && pauses[0] >= RETRY_MIN && pauses[13] >= RETRY_MAX);
        queue.forget(&"a");
        assert_eq!(queue.retry("a"), 1);
    }
}
