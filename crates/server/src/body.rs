//! Reading request bodies: within bounds of size and time, into objects of a kind.

use api::decode::{self, Decoded, FieldValidation, Media};
use api::kinds::Kind;
use api::status::{self, Status};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt;
use serde_json::Value;

use crate::limits::{BODY_BYTES_MAX, BODY_TIMEOUT};
use crate::negotiate;
use crate::reply::{Body, BoxError};

/// The media types of objects that we read.
const READABLE: &[&str] = &["application/json", "application/yaml", PROTOBUF];
/// The media type of Kubernetes' protobuf encoding.
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The bytes of a body.
///
/// # Errors
/// 413 when it is too large, 504 when it does not come, 400 when the connection breaks.
pub(crate) async fn bytes(body: Body) -> Result<Bytes, Status> {
    match tokio::time::timeout(BODY_TIMEOUT, up_to(body, BODY_BYTES_MAX)).await {
        Ok(Ok((_, true))) => Err(too_large()),
        Ok(Ok((bytes, false))) => Ok(bytes),
        Ok(Err(error)) => Err(status::bad_request(format!("the body can't be read: {error}"))),
        Err(_) => Err(status::timeout("the body did not come in time", 0)),
    }
}

/// 413 for a body that is longer than any may be.
pub(crate) fn too_large() -> Status {
    status::request_too_large(&format!("limit is {BODY_BYTES_MAX}"))
}

/// The first bytes of a body, and whether there were more.
pub(crate) async fn up_to(mut body: Body, limit: usize) -> Result<(Bytes, bool), BoxError> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if first.len() + all.len() + data.len() > limit {
            return Ok((if all.is_empty() { first } else { all.freeze() }, true));
        }
        // Most bodies are one frame, which then is not copied.
        match (first.is_empty(), all.is_empty()) {
            (true, true) => first = data,
            (false, _) => {
                all.extend_from_slice(&std::mem::take(&mut first));
                all.extend_from_slice(&data);
            }
            (true, false) => all.extend_from_slice(&data),
        }
    }
    Ok((if all.is_empty() { first } else { all.freeze() }, false))
}

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Text(Media),
    Protobuf,
}

/// # Errors
/// 415 for what we can't read.
fn encoding(headers: &HeaderMap) -> Result<Encoding, Status> {
    match negotiate::content_type(headers).as_str() {
        "" | "application/json" => Ok(Encoding::Text(Media::Json)),
        "application/yaml" | "application/x-yaml" | "text/yaml" => Ok(Encoding::Text(Media::Yaml)),
        PROTOBUF => Ok(Encoding::Protobuf),
        _ => Err(status::unsupported_media(READABLE)),
    }
}

/// A body that is here and not decoded yet.
pub(crate) struct Text {
    encoding: Encoding,
    bytes: Bytes,
}

impl Text {
    /// # Errors
    /// 413 and 415 as above.
    pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Result<Text, Status> {
        Ok(Text { encoding: encoding(headers)?, bytes: bytes(body).await? })
    }

    /// It as an object of a kind.
    ///
    /// # Errors
    /// 400 for what is no such object, 415 for a custom one in protobuf.
    pub(crate) fn object(self, kind: &Kind, validation: FieldValidation) -> Result<Decoded, Status> {
        match self.encoding {
            Encoding::Text(media) => Ok(decode::decode(kind, &self.bytes, media, validation)?),
            Encoding::Protobuf if kind.custom.is_some() => Err(status::unsupported_media(&READABLE[..2])),
            Encoding::Protobuf => {
                let mut value = from_protobuf(kind.type_name, &self.bytes)?;
                let warnings = decode::normalize(kind, &mut value, validation)?;
                Ok(Decoded { value, warnings })
            }
        }
    }
}

/// A body as an object of a kind.
///
/// # Errors
/// 400 for what is no such object, 413 and 415 as above.
pub(crate) async fn object(
    kind: &Kind,
    headers: &HeaderMap,
    body: Body,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    Text::read(headers, body).await?.object(kind, validation)
}

/// A body of no stored kind, such as delete options, as it stands; None when there is none.
///
/// # Errors
/// 400 for what is no document, 413 and 415 as above.
pub(crate) async fn document(type_name: &str, headers: &HeaderMap, body: Body) -> Result<Option<Value>, Status> {
    let bytes = bytes(body).await?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    match encoding(headers)? {
        Encoding::Text(Media::Json) => {
            serde_json::from_slice(&bytes).map(Some).map_err(|e| status::bad_request(e.to_string()))
        }
        Encoding::Text(Media::Yaml) => {
            let text = String::from_utf8_lossy(&bytes);
            let documents = api::yaml::read_documents(&text).map_err(|e| status::bad_request(e.to_string()))?;
            Ok(documents.into_iter().next())
        }
        Encoding::Protobuf => from_protobuf(type_name, &bytes).map(Some),
    }
}

fn from_protobuf(type_name: &str, bytes: &[u8]) -> Result<Value, Status> {
    api::protobuf::decode(type_name, bytes).map_err(|e| status::bad_request(e.to_string()))
}
