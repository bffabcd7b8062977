//! The garbage collector: carries out `decide::owners` over the graph.
//!
//! Invariants: nothing is deleted before the API server itself said that its owners are gone, and the object is as it
//! was when that was decided (UID and resourceVersion).
//!
//! Absent: owners of kinds that nobody serves; their dependents are kept.

use std::sync::Arc;

use decide::owners::{Holding, ORPHAN, Owner, Verdict, judge};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Value, json};

use crate::custom::is_custom;
use crate::graph::{Object, Uid};
use crate::hub::{Hub, lock};
use crate::key::Key;
use crate::limits::COLLECTOR_POLL;
use crate::wire::{self, Deletion, Patch};
use crate::{Sync, SyncError};

/// Looks at one object.
pub(crate) async fn sync(hub: Arc<Hub>, uid: Uid) -> Sync {
    let Some(object) = hub.graph().get(&uid).cloned() else { return Ok(()) };
    // What the watch told may be old; what is decided here must not be.
    let Some(live) = wire::look(&hub.client, object.kind, &object.key).await? else { return Ok(()) };
    if live.uid.as_deref() != Some(&*uid) {
        return Ok(());
    }
    let holding = Holding::from(&live);
    let mut owners = Vec::with_capacity(holding.owners.len());
    for owner in &holding.owners {
        owners.push(standing(&hub, &object, owner).await?);
    }
    let dependents = hub.graph().dependents(&uid);
    let blocking = dependents.iter().filter(|(_, _, blocks)| *blocks).count();
    let verdict = judge(&holding, &owners, dependents.len(), blocking);
    let outcome = carry_out(&hub, &object, &live, &uid, verdict, &dependents).await;
    match outcome {
        Err(SyncError::Api(error)) if wire::is_gone(&error) => Ok(()),
        other => other,
    }
}

async fn carry_out(
    hub: &Hub,
    object: &Object,
    live: &ObjectMeta,
    uid: &Uid,
    verdict: Verdict,
    dependents: &[(Uid, Object, bool)],
) -> Sync {
    match verdict {
        Verdict::Keep => {}
        Verdict::Disown(owners) => disown(hub, object, uid, &owners).await?,
        Verdict::Delete(propagation) => {
            let how = Deletion {
                uid: Some(uid),
                resource_version: live.resource_version.as_deref(),
                propagation: Some(propagation),
                grace_s: None,
            };
            wire::delete(&hub.client, object.kind, &object.key, &how).await?;
        }
        Verdict::Finish(finalizer) => finish(hub, object, live, finalizer).await?,
        Verdict::Orphan => {
            for (dependent, object, _) in dependents {
                match disown(hub, object, dependent, &[uid.to_string()]).await {
                    Err(error) if wire::is_gone(&error) => {}
                    other => other?,
                }
            }
            finish(hub, object, live, ORPHAN).await?;
        }
        Verdict::Push => {
            for (dependent, _, blocks) in dependents {
                if *blocks {
                    hub.objects.add(dependent.clone());
                }
            }
            hub.objects.add_after(uid.clone(), COLLECTOR_POLL);
        }
    }
    Ok(())
}

/// Where an owner stands, as the graph knows or else as the API server says.
async fn standing(hub: &Hub, object: &Object, owner: &OwnerReference) -> Result<Owner, SyncError> {
    let known = hub.graph().owner(&owner.uid);
    if let Some(known) = known {
        return Ok(known);
    }
    if lock(&hub.absent).contains(&owner.uid) {
        return Ok(Owner::Gone);
    }
    let custom = || lock(&hub.customs).by_kind(&owner.api_version, &owner.kind);
    let Some(kind) = api::kinds::by_kind(&owner.api_version, &owner.kind).or_else(custom) else {
        return Ok(Owner::Present);
    };
    let namespace = if kind.namespaced { object.key.namespace.as_str() } else { "" };
    if kind.namespaced && namespace.is_empty() {
        // An object of the whole cluster cannot be owned by one of a namespace; whoever wrote that meant something else.
        return Ok(Owner::Present);
    }
    let live = wire::look(&hub.client, kind, &Key::new(namespace, &owner.name)).await?;
    Ok(match live.filter(|m| m.uid.as_deref() == Some(&owner.uid)) {
        None => {
            hub.note_absent(&owner.uid);
            Owner::Gone
        }
        Some(metadata) if Holding::from(&metadata).waits_for_dependents() => Owner::Waiting,
        Some(_) => Owner::Present,
    })
}

/// Takes owners out of the references of an object.
async fn disown(hub: &Hub, object: &Object, uid: &Uid, owners: &[String]) -> kube::Result<()> {
    if is_custom(object.kind) {
        return disown_custom(hub, object, uid, owners).await;
    }
    let gone: Vec<Value> = owners.iter().map(|owner| json!({"$patch": "delete", "uid": owner})).collect();
    let patch = json!({"metadata": {"uid": &**uid, "ownerReferences": gone}});
    wire::patch(&hub.client, object.kind, &object.key, "", Patch::Strategic, &patch).await?;
    Ok(())
}

/// The same of a custom object, whose lists a patch can only replace: so nobody may have written in between.
async fn disown_custom(hub: &Hub, object: &Object, uid: &Uid, owners: &[String]) -> kube::Result<()> {
    let Some(live) = wire::look(&hub.client, object.kind, &object.key).await? else { return Ok(()) };
    let rest: Vec<&OwnerReference> =
        live.owner_references.iter().flatten().filter(|owner| !owners.contains(&owner.uid)).collect();
    let patch = json!({"metadata": {
        "uid": &**uid, "resourceVersion": live.resource_version, "ownerReferences": rest,
    }});
    wire::patch(&hub.client, object.kind, &object.key, "", Patch::Merge, &patch).await?;
    Ok(())
}

/// Takes a finalizer out of an object.
async fn finish(hub: &Hub, object: &Object, live: &ObjectMeta, finalizer: &str) -> kube::Result<()> {
    let rest: Vec<&String> = live.finalizers.iter().flatten().filter(|f| *f != finalizer).collect();
    let patch = json!({"metadata": {
        "uid": live.uid, "resourceVersion": live.resource_version, "finalizers": rest,
    }});
    wire::patch(&hub.client, object.kind, &object.key, "", Patch::Merge, &patch).await?;
    Ok(())
}
