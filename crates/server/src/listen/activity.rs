//! What a connection is busy with, so that one that is not can be closed.
//!
//! # Invariants
//! A request is open from when its headers are there until its answer's body has ended or was given up.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use crate::reply::{Body, BoxError};

/// What is known of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its client has not asked for anything yet.
    Silent,
    /// Requests are open.
    Busy,
    /// None is, since then.
    IdleSince(Instant),
}

#[derive(Debug)]
struct Requests {
    open: usize,
    state: State,
}

/// The requests of one connection.
#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<Mutex<Requests>>);

impl Activity {
    pub(super) fn new() -> Self {
        Activity(Arc::new(Mutex::new(Requests { open: 0, state: State::Silent })))
    }

    /// A request is there.
    pub(super) fn begin(&self) -> Open {
        let mut requests = self.requests();
        requests.open += 1;
        requests.state = State::Busy;
        Open(self.clone())
    }

    pub(super) fn state(&self) -> State {
        self.requests().state
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open request.
#[derive(Debug)]
pub(super) struct Open(Activity);

impl Drop for Open {
    fn drop(&mut self) {
        let mut requests = self.0.requests();
        requests.open -= 1;
        if requests.open == 0 {
            requests.state = State::IdleSince(Instant::now());
        }
    }
}

/// An answer's body, with which its request ends.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: Body,
    pub(super) _open: Open,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
