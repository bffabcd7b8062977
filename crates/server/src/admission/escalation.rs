//! Nobody grants by a role or a binding what they do not hold, unless they may escalate or bind.
//!
//! # Invariants
//! A change that only lets go of finalizers or owners grants nothing and is never refused.

use api::quote::quoted;
use api::rbac::{Asked, GROUP, Rule, describe, full_authority, is_aggregated, missing};
use api::status::{self, Status};
use serde_json::Value;
use store::Store;

use crate::app::{App, Place};
use crate::auth::{MASTERS, RoleRef, User};

/// Why an aggregated role may not be written.
const AGGREGATION: &str = "must have cluster-admin privileges to use the aggregationRule";

/// Checks a new role or binding, or one that takes the place of `old`.
///
/// # Errors
/// 403 when it grants more than `user` holds.
pub(super) fn check<S: Store>(
    app: &App<S>,
    user: &User,
    place: Place<'_>,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    if place.kind.group != GROUP || user.is_in(MASTERS) || old.is_some_and(|old| grants_the_same(object, old)) {
        return Ok(());
    }
    match place.kind.plural {
        "roles" | "clusterroles" => role(app, user, place, object, old),
        _ => binding(app, user, place, object),
    }
}

/// Whether two objects differ in finalizers, owners and what the server writes alone.
fn grants_the_same(object: &Value, old: &Value) -> bool {
    let rest = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for field in ["finalizers", "ownerReferences", "managedFields", "resourceVersion", "generation"] {
                metadata.remove(field);
            }
        }
        object
    };
    rest(object) == rest(old)
}

fn role<S: Store>(
    app: &App<S>,
    user: &User,
    place: Place<'_>,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    // A name is asked for only where the request has one, that is for what is there already.
    let name = if old.is_some() { place.name } else { "" };
    let namespace = place.namespace.unwrap_or_default();
    let escalate = Asked { verb: "escalate", group: GROUP, resource: place.kind.plural, subresource: "", name };
    if app.access.may(user, escalate, namespace) {
        return Ok(());
    }
    holds(app, user, place, &Rule::of_role(object))?;
    let gathers = is_aggregated(object) || old.is_some_and(is_aggregated);
    if gathers && holds(app, user, place, &full_authority()).is_err() {
        return Err(place.forbidden(AGGREGATION));
    }
    Ok(())
}

fn binding<S: Store>(app: &App<S>, user: &User, place: Place<'_>, object: &Value) -> Result<(), Status> {
    let role = RoleRef::of(object);
    let namespace = place.namespace.unwrap_or_default();
    let resource = if role.cluster { "clusterroles" } else { "roles" };
    let bind = Asked { verb: "bind", group: GROUP, resource, subresource: "", name: &role.name };
    if app.access.may(user, bind, namespace) {
        return Ok(());
    }
    match app.access.rbac.role(&role, namespace) {
        Some(rules) => holds(app, user, place, &rules),
        None => Err(status::not_found(GROUP, resource.trim_end_matches('s'), &role.name)),
    }
}

/// # Errors
/// 403 with what `user` lacks of the rules.
fn holds<S: Store>(app: &App<S>, user: &User, place: Place<'_>, rules: &[Rule]) -> Result<(), Status> {
    let (held, unresolved) = app.access.rbac.rules(user, place.namespace.unwrap_or_default());
    let missing = missing(&held, rules);
    if missing.is_empty() {
        return Ok(());
    }
    let groups: Vec<String> = user.groups.iter().map(|g| quoted(g)).collect();
    let mut why = format!(
        "user {} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        quoted(&user.name),
        groups.join(" "),
        describe(missing)
    );
    if !unresolved.is_empty() {
        why = format!("{why}; resolution errors: [{}]", unresolved.join(", "));
    }
    Err(place.forbidden(&why))
}
