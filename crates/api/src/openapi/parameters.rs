//! Query parameters of operations.
//!
//! Invariants: names in alphabetical order within a set.
//! Absent: path parameters and bodies.

/// Type of a query parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParameterType {
    Boolean,
    Integer,
    String,
}

impl ParameterType {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            ParameterType::Boolean => "boolean",
            ParameterType::Integer => "integer",
            ParameterType::String => "string",
        }
    }
}

/// A query parameter.
pub(super) type Parameter = (&'static str, ParameterType);

use ParameterType::{Boolean, Integer, String};

pub(super) const LIST: &[Parameter] = &[
    ("allowWatchBookmarks", Boolean),
    ("continue", String),
    ("fieldSelector", String),
    ("labelSelector", String),
    ("limit", Integer),
    ("resourceVersion", String),
    ("resourceVersionMatch", String),
    ("sendInitialEvents", Boolean),
    ("timeoutSeconds", Integer),
    ("watch", Boolean),
];

pub(super) const WRITE: &[Parameter] = &[("dryRun", String), ("fieldManager", String), ("fieldValidation", String)];

pub(super) const PATCH: &[Parameter] =
    &[("dryRun", String), ("fieldManager", String), ("fieldValidation", String), ("force", Boolean)];

pub(super) const DELETE: &[Parameter] = &[
    ("dryRun", String),
    ("gracePeriodSeconds", Integer),
    ("orphanDependents", Boolean),
    ("propagationPolicy", String),
];

pub(super) const DELETE_COLLECTION: &[Parameter] = &[
    ("continue", String),
    ("dryRun", String),
    ("fieldSelector", String),
    ("gracePeriodSeconds", Integer),
    ("labelSelector", String),
    ("limit", Integer),
    ("orphanDependents", Boolean),
    ("propagationPolicy", String),
    ("resourceVersion", String),
    ("resourceVersionMatch", String),
    ("sendInitialEvents", Boolean),
    ("timeoutSeconds", Integer),
];

pub(super) const LOG: &[Parameter] = &[
    ("container", String),
    ("follow", Boolean),
    ("insecureSkipTLSVerifyBackend", Boolean),
    ("limitBytes", Integer),
    ("previous", Boolean),
    ("sinceSeconds", Integer),
    ("stream", String),
    ("tailLines", Integer),
    ("timestamps", Boolean),
];

pub(super) const EXEC: &[Parameter] = &[
    ("command", String),
    ("container", String),
    ("stderr", Boolean),
    ("stdin", Boolean),
    ("stdout", Boolean),
    ("tty", Boolean),
];

pub(super) const ATTACH: &[Parameter] =
    &[("container", String), ("stderr", Boolean), ("stdin", Boolean), ("stdout", Boolean), ("tty", Boolean)];

pub(super) const PORT_FORWARD: &[Parameter] = &[("ports", Integer)];

pub(super) const PROXY: &[Parameter] = &[("path", String)];
