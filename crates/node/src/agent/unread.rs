//! Writes of which it matters only that they were done: the answer, a whole object, is skipped and not read.

use kube::Client;
use serde::de::IgnoredAny;

/// Sends `request`.
///
/// # Errors
/// As for every request: what the server refuses, and that it can't be reached.
pub(super) async fn unread(
    client: &Client,
    request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
) -> Result<(), kube::Error> {
    client.request::<IgnoredAny>(request.map_err(kube::Error::BuildRequest)?).await.map(drop)
}
