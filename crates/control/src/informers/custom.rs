//! Follows definitions of custom kinds, and of each kind that is served the metadata of its objects.
//!
//! Invariants: a kind that is not served any more leaves no object behind in the graph.
//!
//! Absent: the rest of the objects.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::Api;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{metadata, own};
use crate::custom::{Definition, Followed};
use crate::hub::{Hub, lock};
use crate::roster::Controller;
use crate::watch::{Seen, follow};

/// Follows all definitions.
pub(super) fn start(hub: &Arc<Hub>, tasks: &mut JoinSet<()>, shutdown: &CancellationToken) {
    let (hub, api, stop) = (hub.clone(), Api::all(hub.client.clone()), shutdown.clone());
    let seen = move |seen: Seen<Definition>| match seen {
        Seen::Applied(definition) => {
            let name = definition.metadata.name.clone().unwrap_or_default();
            apply(&hub, &name, Some(&definition), &stop);
        }
        Seen::Gone(key) => apply(&hub, &key.name, None, &stop),
        Seen::Listed(names, _) => {
            let names: BTreeSet<String> = names.into_iter().map(|key| key.name).collect();
            let known = lock(&hub.customs).names();
            known.iter().filter(|name| !names.contains(*name)).for_each(|name| apply(&hub, name, None, &stop));
        }
    };
    tasks.spawn(follow(api, "custom resource definitions", shutdown.clone(), seen));
}

fn apply(hub: &Arc<Hub>, name: &str, definition: Option<&Definition>, stop: &CancellationToken) {
    let changed = lock(&hub.customs).apply(name, definition, stop);
    let (before, after) = match changed {
        Ok(changed) => changed,
        Err(error) => {
            tracing::warn!(definition = name, %error, "owners of a custom kind are not followed");
            return;
        }
    };
    if let Some(before) = before {
        let nothing = Seen::<metadata::Metadata>::Listed(BTreeSet::new(), tokio::time::Instant::now());
        own(hub, before.kind, &nothing, |object| &object.metadata);
    }
    if !hub.runs(Controller::GarbageCollector) {
        return;
    }
    if let Some(Followed { kind, end }) = after {
        let (hub, ended) = (hub.clone(), end.clone());
        let api: Api<metadata::Partial> = Api::all_with(hub.client.clone(), &kind);
        let seen = move |seen| {
            if !ended.is_cancelled() {
                own(&hub, kind, &seen, |object: &metadata::Partial| &object.metadata);
            }
        };
        // Ends by its token, which the shutdown cancels too.
        tokio::spawn(follow(api, kind.plural, end, seen));
    }
}
