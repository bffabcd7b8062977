//! Selectors of objects: by label and by field.

mod fields;
mod labels;
mod parser;

pub use fields::{FieldOperator, FieldRequirement, Fields};
pub use labels::{Labels, Operator, Requirement};

/// Why a selector cannot be used; the words are Kubernetes'.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub(crate) String);
