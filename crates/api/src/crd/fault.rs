//! What a schema's rules found at a place, and the words it is told in.
//!
//! Invariants: a message is told once; a path is that of the field below the object, without a leading dot.
//! Absent: the rules (`check`).

use serde_json::Value;

use crate::validate::{ErrorType, FieldError, Path};

/// What was found at a place. The count tells which of several failures came closest, as Kubernetes counts.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) faults: Vec<Fault>,
    pub(super) count: usize,
}

impl Outcome {
    pub(super) fn of(fault: Fault) -> Outcome {
        Outcome { faults: vec![fault], count: 0 }
    }

    pub(super) fn add(&mut self, fault: Fault) {
        if !self.faults.iter().any(|there| there.message == fault.message) {
            self.faults.push(fault);
        }
    }

    pub(super) fn merge(&mut self, other: Outcome) {
        self.count += other.count;
        other.faults.into_iter().for_each(|fault| self.add(fault));
    }

    pub(super) fn is_valid(&self) -> bool {
        self.faults.is_empty()
    }
}

/// A broken rule, before its path is known.
pub(super) struct Fault {
    /// None for rules that Kubernetes tells without a place.
    path: Option<String>,
    message: String,
    kind: FaultKind,
}

pub(super) enum FaultKind {
    Required,
    Enum { value: Value, allowed: Vec<Value> },
    TooLong(u64),
    TooMany { actual: usize, limit: u64 },
    Type(Value),
    Invalid(Value),
}

impl Fault {
    pub(super) fn new(path: &str, message: String, kind: FaultKind) -> Fault {
        Fault { path: Some(path.to_owned()), message, kind }
    }

    pub(super) fn invalid(path: &str, what: &str, value: Value) -> Fault {
        Fault::new(path, format!("{path} in body {what}"), FaultKind::Invalid(value))
    }

    pub(super) fn placeless(message: String) -> Fault {
        Fault { path: None, message, kind: FaultKind::Invalid(Value::from("")) }
    }

    pub(super) fn wrong_type(path: &str, wanted: &str, found: &str) -> Fault {
        let message = format!("{path} in body must be of type {wanted}: {}", crate::quote::quoted(found));
        Fault::new(path, message, FaultKind::Type(Value::from(found)))
    }

    pub(super) fn told(self, base: &Path) -> FieldError {
        let path = match self.path.as_deref().map(|path| path.trim_start_matches('.')) {
            None | Some("") => base.clone(),
            Some(path) => base.child(path),
        };
        match self.kind {
            FaultKind::Required => FieldError::required(&path, ""),
            FaultKind::Enum { value, allowed } => {
                let allowed: Vec<String> =
                    allowed.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect();
                let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
                FieldError::not_supported(&path, value, &allowed)
            }
            FaultKind::TooLong(limit) => FieldError::too_long(&path, usize::try_from(limit).unwrap_or(usize::MAX)),
            FaultKind::TooMany { actual, limit } => {
                FieldError::too_many(&path, actual, usize::try_from(limit).unwrap_or(usize::MAX))
            }
            FaultKind::Type(value) => {
                FieldError { kind: ErrorType::TypeInvalid, ..FieldError::invalid(&path, value, self.message) }
            }
            FaultKind::Invalid(value) => FieldError::invalid(&path, value, self.message),
        }
    }
}
