//! A process that runs for long and lets go now and then of what it does not use.

use std::time::Duration;

/// The start is over, and what was used for that can go.
const STARTED_AFTER: Duration = Duration::from_secs(1);

/// Lets go of code that does not run and of free heap, soon after the start and then at this interval. With an agent, letting go
/// and mapping again take a millisecond; with a server under load it was not measured.
pub(crate) async fn stay(every: Duration) {
    tokio::time::sleep(STARTED_AFTER).await;
    loop {
        node::memory::release();
        tokio::time::sleep(every).await;
    }
}
