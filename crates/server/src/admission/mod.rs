//! What is checked and filled in before an object is made, beyond its own rules: what else there is counts here.
//!
//! # Invariants
//! Admission runs before validation, so that what it fills in is validated too.

mod classes;
mod escalation;
mod limit_ranges;
mod namespace;
mod node;
mod node_restriction;
mod pod;

use api::status::Status;
use serde_json::Value;
use store::Store;

use crate::app::{App, Place};
use crate::auth;

/// Admits a new object, filling in what it lacks.
///
/// # Errors
/// Why it may not be.
pub(crate) async fn create<S: Store>(app: &App<S>, place: Place<'_>, object: &mut Value) -> Result<(), Status> {
    namespace::must_take_content(app, place).await?;
    let user = auth::current();
    escalation::check(app, &user, place, object, None)?;
    node_restriction::create(&user, place, object)?;
    auth::certificates::admit(&user, place, object)?;
    match (place.kind.group, place.kind.plural) {
        ("", "pods") => {
            pod::admit(app, place, object).await?;
            limit_ranges::admit_pod(app, place, object).await?;
            classes::of_pod(app, place, object).await
        }
        ("", "persistentvolumeclaims") => {
            limit_ranges::admit_claim(app, place, object).await?;
            classes::of_claim(app, object).await
        }
        ("networking.k8s.io", "ingresses") => classes::of_ingress(app, object).await,
        ("scheduling.k8s.io", "priorityclasses") => classes::one_default(app, place, object).await,
        ("", "nodes") => {
            node::taint_until_ready(object);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Admits what takes the place of `old`.
///
/// # Errors
/// Why it may not.
pub(crate) fn update<S: Store>(app: &App<S>, place: Place<'_>, new: &Value, old: &Value) -> Result<(), Status> {
    let user = auth::current();
    escalation::check(app, &user, place, new, Some(old))?;
    node_restriction::update(&user, place, new, old)?;
    auth::certificates::admit_status(app, &user, place, new, old)
}
