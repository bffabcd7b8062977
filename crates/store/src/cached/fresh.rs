//! Asking for the newest revision, once for all who wait.
//!
//! # Invariants
//! An answer counts only for who asked before the question was sent: a later commit may not be in it.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::{Revision, StoreError};

/// Questions that are shared.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    /// How many questions were sent.
    sent: AtomicU64,
    /// The last answer, and which question it answers.
    answer: Mutex<Option<(u64, Result<Revision, StoreError>)>>,
}

impl Fresh {
    /// The answer to a question that is sent after this call began.
    pub(super) async fn ask<F>(&self, question: impl FnOnce() -> F) -> Result<Revision, StoreError>
    where
        F: Future<Output = Result<Revision, StoreError>>,
    {
        let before = self.sent.load(Ordering::Acquire);
        // Held while the question is on its way: who comes meanwhile waits here, and one of them asks for all.
        let mut answer = self.answer.lock().await;
        // A failure is shared too: those who wait for a store that is silent are told together, not one by one.
        if let Some((number, shared)) = answer.as_ref()
            && *number > before
        {
            return shared.clone();
        }
        let number = self.sent.fetch_add(1, Ordering::AcqRel) + 1;
        let told = question().await;
        *answer = Some((number, told.clone()));
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;
    use tokio::sync::Notify;

    #[tokio::test]
    async fn who_waits_shares_the_next_question_and_never_one_under_way() {
        let fresh = Arc::new(Fresh::default());
        let (asked, go) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
        let ask = || {
            let (fresh, asked, go) = (fresh.clone(), asked.clone(), go.clone());
            tokio::spawn(async move {
                let question = || async {
                    let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
                    go.notified().await;
                    Ok(Revision(number))
                };
                fresh.ask(question).await.unwrap()
            })
        };
        let first = ask();
        while asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        // The first question is on its way: these must not have its answer.
        let others: Vec<_> = (0..5).map(|_| ask()).collect();
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        go.notify_one();
        assert_eq!(first.await.unwrap(), Revision(1));
        while asked.load(Ordering::SeqCst) == 1 {
            tokio::task::yield_now().await;
        }
        go.notify_one();
        for other in others {
            assert_eq!(other.await.unwrap(), Revision(2));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_failure_is_not_kept() {
        let fresh = Fresh::default();
        let failing = || async { Err(StoreError::Unavailable("down".into())) };
        assert!(fresh.ask(failing).await.is_err());
        assert_eq!(fresh.ask(|| async { Ok(Revision(7)) }).await.unwrap(), Revision(7));
    }
}
