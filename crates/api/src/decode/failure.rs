//! Why a body was refused, in Kubernetes' words.
//!
//! Invariants: every variant is a 400 BadRequest whose message is the text here.
//! Absent: deciding what is wrong.

use crate::kinds::Kind;
use crate::quote::quoted;
use crate::status::{self, Status};
use std::fmt;

/// Bytes of a body that a message shows.
const SUMMARY_LENGTH: usize = 30;

/// Why a body was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not an object at all.
    #[error("the object provided is unrecognized (must be of type {kind}): {cause} ({summary})")]
    Unrecognized {
        /// The kind that was expected.
        kind: &'static str,
        /// What is wrong.
        cause: String,
        /// The start of the body.
        summary: String,
    },
    /// An object, but not one of the kind.
    #[error("{found} in version {} cannot be handled as a {kind}: {cause}", quoted(version))]
    Unhandled {
        /// The kind that was expected.
        kind: &'static str,
        /// The kind that the body names.
        found: String,
        /// The version that the body names.
        version: String,
        /// What is wrong.
        cause: Cause,
    },
    /// The right kind in a version that the path does not serve.
    #[error("the API version in the data ({found}) does not match the expected API version ({expected})")]
    WrongVersion {
        /// The body's.
        found: String,
        /// The path's.
        expected: String,
    },
}

/// What is wrong within an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A value of a wrong type.
    Type(String),
    /// Unknown and repeated fields.
    Strict(Vec<String>),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Type(text) => f.write_str(text),
            Cause::Strict(errors) => write!(f, "strict decoding error: {}", errors.join(", ")),
        }
    }
}

impl DecodeError {
    pub(crate) fn unreadable(kind: &Kind, cause: String, body: &[u8]) -> Self {
        DecodeError::Unrecognized { kind: kind.kind, cause, summary: summary(body) }
    }

    pub(crate) fn unhandled(kind: &Kind, version: &str, cause: Cause) -> Self {
        DecodeError::Unhandled { kind: kind.kind, found: kind.kind.to_owned(), version: version.to_owned(), cause }
    }

    /// What is wrong, without the sentence around it: the text within a refused patch.
    pub fn cause(&self) -> String {
        match self {
            DecodeError::Unrecognized { cause, .. } => cause.clone(),
            DecodeError::Unhandled { cause, .. } => cause.to_string(),
            DecodeError::WrongVersion { .. } => self.to_string(),
        }
    }
}

impl From<DecodeError> for Status {
    fn from(error: DecodeError) -> Self {
        status::bad_request(error.to_string())
    }
}

/// The start of a body: as it is for JSON, in hexadecimal for anything else.
fn summary(body: &[u8]) -> String {
    let start = &body[..body.len().min(SUMMARY_LENGTH)];
    let more = if body.len() > SUMMARY_LENGTH { " ..." } else { "" };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(start)),
        Some(_) => {
            let hex: String = start.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{hex}{more}")
        }
    }
}
