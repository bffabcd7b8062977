//! Readers of strangers' bytes that are this crate's own, for the fuzz targets; no part of the crate's interface.

use futures::FutureExt;

use crate::verbs;

/// What comes of an upgraded connection is read to its end, whatever it is.
///
/// # Panics
/// When the reader waits for more than there is.
pub fn spdy(data: &[u8]) {
    let (mut reader, _writer) = spdy::open(tokio::io::join(data, tokio::io::sink()));
    let read = async { while reader.next().await.is_some() {} };
    assert!(read.now_or_never().is_some(), "all bytes are there, so there is nothing to wait for");
}

/// A continue token that is taken is written again as one that means the same.
pub fn continue_token(data: &[u8]) {
    verbs::continue_token(&String::from_utf8_lossy(data));
}
