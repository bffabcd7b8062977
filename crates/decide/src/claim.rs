//! Who controls what: which objects a controller owns, which it takes, which it lets go.
//!
//! Invariants: an object of another controller is never touched; a controller that is being deleted takes and releases
//! nothing; an object that is being deleted is not taken.
//!
//! Absent: the writes themselves.

use api::selector::Labels;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use std::collections::BTreeMap;

/// What a controller does about one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It controls the object already.
    Owned,
    /// It becomes the object's controller.
    Adopt,
    /// It gives the object up: its selector no longer matches.
    Release,
    /// It is none of its business.
    Ignore,
}

/// The controller that claims.
#[derive(Debug)]
pub struct Claimant<'a> {
    /// UID of the controller.
    pub uid: &'a str,
    /// Its selector.
    pub selector: &'a Labels,
    /// True once its deletion has been asked for.
    pub deleting: bool,
}

impl Claimant<'_> {
    /// What to do about an object with these labels, controlled by the owner with UID `controller`.
    #[must_use]
    pub fn claim(&self, labels: &BTreeMap<String, String>, controller: Option<&str>, deleting: bool) -> Claim {
        match controller {
            Some(uid) if uid != self.uid => Claim::Ignore,
            Some(_) if self.selector.matches(labels) => Claim::Owned,
            Some(_) if self.deleting => Claim::Ignore,
            Some(_) => Claim::Release,
            None if self.deleting || deleting || !self.selector.matches(labels) => Claim::Ignore,
            None => Claim::Adopt,
        }
    }
}

/// The reference by which `kind` named `name` controls an object.
#[must_use]
pub fn controller_reference(api_version: &str, kind: &str, name: &str, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
