//! Bodies and responses.
//!
//! # Invariants
//! Every failure leaves as a Status object; large bodies are compressed for clients that accept it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::Write;

use api::status::Status;
use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{Stream, StreamExt};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde_json::Value;

use crate::limits::{GZIP_BYTES_MIN, WARNING_CHARS_MAX, WARNINGS_CHARS_MAX};

/// Any error a body may end with.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A request's or response's body.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;
/// What a handler returns.
pub(crate) type Reply = Result<Response<Body>, Status>;

/// The media type of JSON.
pub(crate) const JSON: &str = "application/json";

/// A body of bytes at hand.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A body that comes in pieces.
pub(crate) fn streamed(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    StreamBody::new(pieces.map(|bytes| Ok::<_, BoxError>(Frame::data(bytes)))).boxed_unsync()
}

/// A response with a body of the media type given.
pub(crate) fn with_type(code: StatusCode, media: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

/// A response with a JSON document.
pub(crate) fn json(code: StatusCode, value: &Value) -> Response<Body> {
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    with_type(code, JSON, full(bytes))
}

/// A response of plain text.
pub(crate) fn text(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = with_type(code, "text/plain; charset=utf-8", full(text));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The response of a failure. Only one that says when to try again carries the header that makes clients do so by
/// themselves.
pub(crate) fn failure(status: &Status) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(code, &status.body);
    if let Some(seconds) = status.retry_after_seconds() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A response of bytes at hand, compressed when that pays and the client accepts it.
pub(crate) fn maybe_gzip(media: &'static str, bytes: Bytes, accepts_gzip: bool) -> Response<Body> {
    if !accepts_gzip || bytes.len() < GZIP_BYTES_MIN {
        return with_type(StatusCode::OK, media, full(bytes));
    }
    gzipped(media, full(gzip(&bytes)))
}

/// A response whose body is compressed already.
pub(crate) fn gzipped(media: &'static str, body: Body) -> Response<Body> {
    let mut response = with_type(StatusCode::OK, media, body);
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

/// Compresses bytes; level 1 costs a tenth of the default's time and objects repeat themselves enough.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::fast());
    // Writing to a Vec can't fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

/// Pieces of a body, compressed one by one so that no copy of the whole is held.
pub(crate) fn gzip_pieces(pieces: impl Iterator<Item = Bytes>) -> impl Iterator<Item = Bytes> {
    let mut encoder = Some(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut pieces = pieces.fuse();
    std::iter::from_fn(move || {
        loop {
            let open = encoder.as_mut()?;
            match pieces.next() {
                Some(piece) => {
                    let _ = open.write_all(&piece);
                    if !open.get_ref().is_empty() {
                        return Some(Bytes::from(std::mem::take(open.get_mut())));
                    }
                }
                None => return encoder.take().and_then(|e| e.finish().ok()).map(Bytes::from),
            }
        }
    })
}

/// Adds a Warning header for each text.
pub(crate) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    let mut told = BTreeSet::new();
    let texts: Vec<&str> = warnings.iter().map(String::as_str).filter(|text| told.insert(*text)).collect();
    let is_long = texts.iter().map(|text| text.chars().count()).sum::<usize>() > WARNINGS_CHARS_MAX;
    let mut room = WARNINGS_CHARS_MAX;
    for text in texts {
        let text: String = if is_long { text.chars().take(WARNING_CHARS_MAX).collect() } else { text.to_owned() };
        if let Some(value) = warning(&text) {
            response.headers_mut().append(header::WARNING, value);
        }
        // As from kube-apiserver, the one that goes over is the last.
        match room.checked_sub(text.chars().count()) {
            Some(left) if left > 0 => room = left,
            _ => return,
        }
    }
}

fn warning(text: &str) -> Option<HeaderValue> {
    let mut quoted = BytesMut::with_capacity(text.len() + 16);
    quoted.extend_from_slice(b"299 - \"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend_from_slice(&[b'\\', byte]),
            b if b < 0x20 || b == 0x7f => quoted.extend_from_slice(b" "),
            b => quoted.extend_from_slice(&[b]),
        }
    }
    quoted.extend_from_slice(b"\"");
    HeaderValue::from_bytes(&quoted).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn compressed_pieces_are_one_stream() {
        let pieces = (0..100).map(|n| Bytes::from(format!("piece {n} ").repeat(500)));
        let want: Vec<u8> = pieces.clone().flatten().collect();
        let packed: Vec<u8> = gzip_pieces(pieces).flatten().collect();
        assert!(packed.len() < want.len() / 4);
        let mut got = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut got).unwrap();
        assert_eq!(got, want);
    }

    #[test]
    fn warnings_are_quoted() {
        let mut response = text(StatusCode::OK, "");
        warn(&mut response, &["unknown field \"spec.x\"\n".to_owned()]);
        assert_eq!(response.headers()[header::WARNING], "299 - \"unknown field \\\"spec.x\\\" \"");
        let long: Vec<String> = (0..1000).map(|n| format!("{n} {}", "x".repeat(5000))).collect();
        let mut response = text(StatusCode::OK, "");
        warn(&mut response, &[long.clone(), long].concat());
        let sizes: Vec<usize> = response.headers().get_all(header::WARNING).iter().map(HeaderValue::len).collect();
        assert_eq!((sizes.len(), sizes[0]), (16, WARNING_CHARS_MAX + "299 - \"\"".len()));
    }
}
