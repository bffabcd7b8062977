//! How long an answer of the API server is waited for: one that is mute and keeps its connections may never give one.

use std::time::Duration;

/// The answer, unless it takes too long.
///
/// # Errors
/// Those of the request, and that there was no answer. What was asked for may be done nevertheless.
pub(super) async fn within<T>(
    longest: Duration,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    let late = |_| Err(kube::Error::Service(format!("no answer within {longest:?}").into()));
    tokio::time::timeout(longest, request).await.unwrap_or_else(late)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_answer_is_waited_for_without_an_end() {
        let longest = Duration::from_secs(8);
        assert_eq!(within(longest, async { Ok(7) }).await.unwrap(), 7);
        let late = within::<()>(longest, std::future::pending()).await.unwrap_err();
        assert!(late.to_string().ends_with("no answer within 8s"), "{late}");
    }
}
