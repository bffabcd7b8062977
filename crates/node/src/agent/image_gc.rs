//! Images that no container has go when their disk is full.
//!
//! # Invariants
//! What may go and in which order is [`decide::node_pressure::images`]'s; the runtime refuses what is in use all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use decide::node_pressure::images::{Image, order, to_free};
use jiff::{SignedDuration, Timestamp};

use super::Agent;
use super::node::reference;
use crate::runtime::{ImageError, Runtime};

/// How often the disk is looked at, as Kubernetes has it.
const LOOK_EVERY: SignedDuration = SignedDuration::from_mins(5);

/// When images were first and last seen.
#[derive(Default)]
pub(super) struct Collector {
    known: BTreeMap<String, (Timestamp, Timestamp)>,
    looked: Option<Timestamp>,
}

impl Collector {
    /// Looks at the disk when it is time, and frees it when it is too full.
    pub(super) async fn turn<R: Runtime>(&mut self, agent: &Arc<Agent<R>>, now: Timestamp) {
        if self.looked.is_some_and(|at| now.duration_since(at).abs() < LOOK_EVERY) {
            return;
        }
        self.looked = Some(now);
        let Ok(images) = self.images(agent, now).await else { return };
        let Some(disk) = agent.runtime.image_fs().await else { return };
        let policy = &agent.options.image_gc;
        let Some(wanted) = to_free(policy, disk.capacity_bytes, disk.available_bytes) else { return };
        let freed = free(agent, order(policy, &images, now), wanted).await;
        if freed < wanted {
            let used =
                100 - (disk.available_bytes.min(disk.capacity_bytes) / (disk.capacity_bytes / 100).max(1)).min(100);
            let text = format!(
                "Insufficient free disk space on the node's image filesystem ({used}% of {} used). Failed to free \
                 sufficient space by deleting unused images (freed {freed} bytes). Investigate disk usage, as it could \
                 be used by active images, logs, volumes, or other data.",
                size(disk.capacity_bytes)
            );
            agent.recorder.node_event(&reference(agent), "Warning", "FreeDiskSpaceFailed", &text);
        }
    }

    /// Frees all that may go: the node is short of disk.
    pub(super) async fn free_all<R: Runtime>(&mut self, agent: &Arc<Agent<R>>, now: Timestamp) {
        if let Ok(images) = self.images(agent, now).await {
            free(agent, order(&agent.options.image_gc, &images, now), u64::MAX).await;
        }
    }

    async fn images<R: Runtime>(&mut self, agent: &Arc<Agent<R>>, now: Timestamp) -> Result<Vec<Image>, ImageError> {
        let list = agent.runtime.list_images().await?;
        let containers = agent.runtime.list_containers().await.map_err(|error| ImageError::Local(error.to_string()))?;
        let stand_ins = agent.stand_ins.images();
        let used = containers.iter().flat_map(|c| [c.image_id.as_str(), c.image.as_str()]);
        let used: BTreeSet<&str> = used.chain(stand_ins.iter().map(String::as_str)).collect();
        let there: BTreeSet<&str> = list.iter().map(|image| image.id.as_str()).collect();
        self.known.retain(|id, _| there.contains(id.as_str()));
        let images = list.iter().map(|image| {
            let names = std::iter::once(&image.id).chain(&image.tags).chain(&image.digests);
            let in_use = names.into_iter().any(|name| used.contains(name.as_str()));
            // What was there before the agent came counts as old: it may have waited for days.
            let first = if self.looked.is_some() { now } else { Timestamp::UNIX_EPOCH };
            let (first_seen, last_used) = self.known.entry(image.id.clone()).or_insert((first, Timestamp::UNIX_EPOCH));
            if in_use {
                *last_used = now;
            }
            Image {
                id: image.id.clone(),
                size_bytes: image.size,
                first_seen: *first_seen,
                last_used: *last_used,
                in_use,
                pinned: image.pinned,
            }
        });
        Ok(images.collect())
    }
}

/// Removes images until so many bytes are free. Returns how many are.
async fn free<R: Runtime>(agent: &Arc<Agent<R>>, images: Vec<&Image>, wanted: u64) -> u64 {
    let mut freed = 0_u64;
    for image in images {
        if freed >= wanted {
            break;
        }
        match agent.runtime.remove_image(&image.id).await {
            Ok(()) => {
                tracing::info!("image {} is removed: its disk is full and no container has it", image.id);
                agent.counters.collected();
                freed = freed.saturating_add(image.size_bytes);
            }
            Err(error) => tracing::debug!("image {} stays: {error}", image.id),
        }
    }
    freed
}

/// Bytes with a binary unit, as Kubernetes writes them in this message.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut number, mut unit) = (bytes as f64, 0);
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    format!("{number:.1} {}", UNITS.get(unit).copied().unwrap_or_default())
}
