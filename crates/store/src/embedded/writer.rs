//! The one thread that changes the store: decides each commit in order, makes a batch durable with one fsync, shows it
//! to readers and watchers, and only then answers.
//!
//! # Invariants
//! - A commit is decided against all commits before it, durable or in the same batch.
//! - Nothing is shown or acknowledged before it is on the disk, a conflict with a commit of the same batch included.
//! - A revision that was tried once is not used again, also when its batch failed.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::timeout_at;

use super::Options;
use super::limits::{AGE_MARKS, BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, COMPACT_STEP_EVENTS};
use super::log::{Batch, Log};
use super::record;
use crate::memory::{COMPACT_SHARE, Hub, Packer, State, Step};
use crate::{Entry, Event, Expect, Op, Revision, StoreError};

/// What the writer is asked.
#[derive(Debug)]
pub(super) enum Command {
    /// Change one key.
    Commit {
        key: Bytes,
        expect: Expect,
        op: Op,
        reply: oneshot::Sender<Result<Revision, StoreError>>,
        /// The room it takes in the queue, given back when it is decided.
        room: OwnedSemaphorePermit,
    },
    /// Forget history.
    Compact { upto: Revision, reply: oneshot::Sender<Result<(), StoreError>> },
}

type CommitReply = (oneshot::Sender<Result<Revision, StoreError>>, Result<Revision, StoreError>);

/// A compaction under way, a step a round.
#[derive(Debug)]
struct Compaction {
    upto: Revision,
    replies: Vec<oneshot::Sender<Result<(), StoreError>>>,
}

/// The writer's own.
#[derive(Debug)]
pub(super) struct Writer {
    log: Log,
    packer: Packer,
    state: Arc<RwLock<State>>,
    hub: Arc<Hub>,
    queue: mpsc::Receiver<Command>,
    options: Options,
    /// The newest revision ever tried.
    tried: Revision,
    compaction: Option<Compaction>,
    ages: Ages,
    /// The clock of commits that may wait; without one none does.
    clock: Option<Runtime>,
}

/// One batch, decided but not yet durable.
#[derive(Debug, Default)]
struct Round {
    events: Vec<Arc<Event>>,
    /// What the batch leaves at the keys it touches.
    overlay: HashMap<Bytes, Option<Entry>>,
    replies: Vec<CommitReply>,
}

impl Writer {
    pub(super) fn new(
        log: Log,
        packer: Packer,
        state: Arc<RwLock<State>>,
        hub: Arc<Hub>,
        queue: mpsc::Receiver<Command>,
        options: Options,
    ) -> Self {
        let tried = read(&state, State::revision);
        let ages = Ages::new(&options);
        Self { log, packer, state, hub, queue, options, tried, compaction: None, ages, clock: None }
    }

    /// Works until the last handle of the store is gone.
    pub(super) fn run(mut self) {
        // Made here, because a runtime may not be dropped where others run.
        self.clock =
            self.options.patient.as_ref().and_then(|_| Builder::new_current_thread().enable_time().build().ok());
        while let Some(commands) = self.gather() {
            self.round(commands);
        }
        self.hub.close();
    }

    /// The next batch: whatever waits, up to the bounds, and what comes while all of it may wait. None: the store closed.
    fn gather(&mut self) -> Option<Vec<Command>> {
        let mut commands = Vec::new();
        let mut bytes = 0;
        // When the batch goes at the latest; None: at once.
        let mut until = None;
        if self.compaction.is_none() {
            let first = self.queue.blocking_recv()?;
            until = self.pause(&first).map(|pause| Instant::now() + pause);
            bytes += first.bytes();
            commands.push(first);
        }
        while commands.len() < BATCH_COMMANDS_MAX && bytes < BATCH_BYTES_MAX {
            let Some(command) = self.next(until) else { break };
            bytes += command.bytes();
            until = until.filter(|_| self.pause(&command).is_some());
            commands.push(command);
        }
        // A compaction goes on without commits, but not in a store that is closed.
        (!commands.is_empty() || !self.queue.is_closed()).then_some(commands)
    }

    /// The next command, if there is one or one comes in time.
    fn next(&mut self, until: Option<Instant>) -> Option<Command> {
        match (self.queue.try_recv(), until, &self.clock) {
            (Ok(command), ..) => Some(command),
            (Err(TryRecvError::Empty), Some(until), Some(clock)) => {
                clock.block_on(async { timeout_at(until.into(), self.queue.recv()).await }).ok().flatten()
            }
            (Err(_), ..) => None,
        }
    }

    /// How long a command may wait for others; None: not at all.
    fn pause(&self, command: &Command) -> Option<Duration> {
        let Command::Commit { key, .. } = command else { return None };
        self.options.patient.as_ref().filter(|patient| key.starts_with(&patient.prefix)).map(|patient| patient.pause)
    }

    fn round(&mut self, commands: Vec<Command>) {
        let mut round = Round::default();
        for command in commands {
            match command {
                Command::Commit { key, expect, op, reply, room } => {
                    let answer = self.decide(&mut round, key, expect, op);
                    round.replies.push((reply, answer));
                    drop(room);
                }
                Command::Compact { upto, reply } => self.ask_compaction(upto, reply),
            }
        }
        self.compact_by_bounds();
        let step = self
            .compaction
            .as_ref()
            .map(|wanted| read(&self.state, |state| state.plan_compaction(wanted.upto, COMPACT_STEP_EVENTS)));
        if round.events.is_empty() && step.is_none() {
            return round.answer(None);
        }
        match self.log.append(batch(&round.events, step.as_ref())) {
            Ok(()) => {
                self.show(&round.events, step.as_ref());
                round.answer(None);
                self.end_compaction(step.as_ref(), None);
            }
            Err(e) => {
                tracing::error!(error = %e, "the store can't be written");
                let error = StoreError::Unavailable(e.to_string());
                self.end_compaction(step.as_ref(), Some(&error));
                round.answer(Some(&error));
            }
        }
    }

    fn decide(&mut self, round: &mut Round, key: Bytes, expect: Expect, op: Op) -> Result<Revision, StoreError> {
        let previous = match round.overlay.get(&key) {
            Some(pending) => pending.clone(),
            None => read(&self.state, |state| state.get(&key)),
        };
        let as_expected = match (expect, &previous) {
            // There is nothing to delete: the caller is told so, as by any other surprise.
            (Expect::Absent, None) => !matches!(op, Op::Delete),
            (Expect::At(revision), Some(entry)) => entry.mod_revision == revision,
            (Expect::Absent, Some(_)) | (Expect::At(_), None) => false,
        };
        if !as_expected {
            return Err(StoreError::Conflict(previous));
        }
        self.tried = Revision(self.tried.0 + 1);
        let revision = self.tried;
        // One allocation of the key for its whole life.
        let key = previous.as_ref().map_or(key, |entry| entry.key.clone());
        let current = match op {
            Op::Put(value) => Some(Entry {
                key: key.clone(),
                value,
                create_revision: previous.as_ref().map_or(revision, |entry| entry.create_revision),
                mod_revision: revision,
            }),
            Op::Delete => None,
        };
        round.overlay.insert(key.clone(), current.clone());
        round.events.push(Arc::new(Event { revision, key, current, previous }));
        Ok(revision)
    }

    fn show(&mut self, events: &[Arc<Event>], step: Option<&Step>) {
        // Readers do not wait while values are packed.
        let mut keep = |event: &Arc<Event>| event.current.as_ref().map(|entry| self.packer.keep(entry));
        let kept: Vec<_> = events.iter().map(&mut keep).collect();
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            for (event, kept) in events.iter().zip(kept) {
                state.apply(event.revision, &event.key, kept);
            }
            if let Some(step) = step {
                state.compact(step);
            }
        }
        self.hub.hand_out(events);
        if let Some(last) = events.last() {
            self.ages.mark(last.revision);
        }
    }

    fn ask_compaction(&mut self, upto: Revision, reply: oneshot::Sender<Result<(), StoreError>>) {
        let (newest, compacted) = read(&self.state, |state| (state.revision(), state.compacted()));
        let answer = if upto > newest { Err(StoreError::Future { wanted: upto, newest }) } else { Ok(()) };
        if answer.is_err() || upto <= compacted {
            // The asker may be gone; that changes nothing.
            let _ = reply.send(answer);
            return;
        }
        self.want_compaction(upto).replies.push(reply);
    }

    fn compact_by_bounds(&mut self) {
        let Options { history_events_max: events, history_bytes_max: bytes, .. } = self.options;
        let over = read(&self.state, |state| {
            if state.history_len() <= events && state.history_bytes() <= bytes {
                return None;
            }
            state.compaction_target(events - events / COMPACT_SHARE, bytes - bytes / COMPACT_SHARE)
        });
        if let Some(upto) = over.max(self.ages.expired())
            && upto > read(&self.state, State::compacted)
        {
            self.want_compaction(upto);
        }
    }

    fn want_compaction(&mut self, upto: Revision) -> &mut Compaction {
        let wanted = self.compaction.get_or_insert_with(|| Compaction { upto, replies: Vec::new() });
        wanted.upto = wanted.upto.max(upto);
        wanted
    }

    /// Answers those who wait for a compaction that is done or that failed.
    fn end_compaction(&mut self, step: Option<&Step>, error: Option<&StoreError>) {
        let done = |wanted: &mut Compaction| error.is_some() || step.is_some_and(|step| step.upto >= wanted.upto);
        for reply in self.compaction.take_if(done).into_iter().flat_map(|ended| ended.replies) {
            let _ = reply.send(error.map_or(Ok(()), |e| Err(e.clone())));
        }
    }
}

impl Round {
    fn answer(self, failed: Option<&StoreError>) {
        for (reply, answer) in self.replies {
            // The asker may be gone; what was committed stays.
            let _ = reply.send(failed.map_or(answer, |e| Err(e.clone())));
        }
    }
}

impl Command {
    fn bytes(&self) -> usize {
        match self {
            Self::Commit { room, .. } => room.num_permits(),
            Self::Compact { .. } => 0,
        }
    }
}

fn batch(events: &[Arc<Event>], step: Option<&Step>) -> Batch {
    let record = |event: &Arc<Event>| {
        let value = event.current.as_ref().map(|entry| entry.value.as_ref());
        let created = event.current.as_ref().map_or(event.revision, |entry| entry.create_revision);
        (event.revision, record::encode(created, &event.key, value))
    };
    Batch {
        records: events.iter().map(record).collect(),
        removals: step.map_or(Vec::new(), |step| step.records.clone()),
        compacted: step.map(|step| step.upto),
    }
}

fn read<T>(state: &RwLock<State>, look: impl FnOnce(&State) -> T) -> T {
    look(&state.read().unwrap_or_else(PoisonError::into_inner))
}

/// Which revision is how old, to within a share of the bound.
#[derive(Debug)]
struct Ages {
    bound: Option<std::time::Duration>,
    marks: std::collections::VecDeque<(Instant, Revision)>,
}

impl Ages {
    fn new(options: &Options) -> Self {
        Self { bound: options.history_age_max, marks: std::collections::VecDeque::new() }
    }

    /// Notes that `revision` was committed now.
    fn mark(&mut self, revision: Revision) {
        let Some(bound) = self.bound else { return };
        let now = Instant::now();
        if self.marks.back().is_none_or(|(at, _)| now.duration_since(*at) >= bound / AGE_MARKS) {
            self.marks.push_back((now, revision));
        }
    }

    /// The newest revision that is over the age, if any is.
    fn expired(&mut self) -> Option<Revision> {
        let bound = self.bound?;
        let now = Instant::now();
        let mut newest = None;
        while let Some((at, revision)) = self.marks.front() {
            if now.duration_since(*at) < bound {
                break;
            }
            newest = Some(*revision);
            self.marks.pop_front();
        }
        newest
    }
}
