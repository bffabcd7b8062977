//! Static pods of this node: what the files of a directory ask for, with or without an API server.
//!
//! # Invariants
//! - A directory or a file that can't be read stops no pod; that is told in the log, and as an event of the node once the
//!   API server answers.
//! - What an earlier agent ran is known from what it kept, so that nothing is begun a second time.
//!
//! # Absent
//! Decisions: [`decide::static_pods`] has them.

use std::collections::{BTreeMap, BTreeSet};

use decide::static_pods::{self, Desired, Fault};
use k8s_openapi::api::core::v1::Pod;

use super::node::reference;
use super::{Agent, Options};
use directory::Directory;

mod directory;
mod follow;
mod mirror;
mod mirrors;

pub(super) use follow::from_server;
pub(crate) use mirrors::Mirrors;

/// See the module.
pub(super) struct StaticPods {
    directory: Option<Directory>,
    node: String,
    desired: Desired,
    /// What an earlier agent kept, by UID, until it is taken over.
    kept: BTreeMap<String, Pod>,
    /// What is wrong now, so that it is told once.
    known: BTreeSet<Fault>,
    /// What the API server does not know yet of that.
    unsaid: Vec<Fault>,
}

impl StaticPods {
    /// Knows what an earlier agent ran; `kept` holds other pods too.
    pub(super) fn new(options: &Options, kept: Vec<Pod>) -> Self {
        let directory = options.pod_manifest_path.clone().map(Directory::new);
        let kept: Vec<Pod> = kept.into_iter().filter(static_pods::is_static).collect();
        let before = kept.iter().filter(|_| directory.is_some()).map(|pod| {
            let file = static_pods::file(pod).unwrap_or_default().to_owned();
            (file, pod.clone())
        });
        Self {
            desired: Desired { pods: before.collect(), faults: Vec::new() },
            kept: kept.into_iter().filter_map(|pod| Some((pod.metadata.uid.clone()?, pod))).collect(),
            directory,
            node: options.node_name.clone(),
            known: BTreeSet::new(),
            unsaid: Vec::new(),
        }
    }

    /// Waits until it is worth another look. Cancel safe.
    pub(super) async fn changed(&mut self) {
        match &mut self.directory {
            Some(directory) => directory.changed().await,
            None => std::future::pending().await,
        }
    }

    /// Looks at the directory.
    pub(super) async fn look(&mut self) {
        let Some(directory) = &mut self.directory else { return };
        let place = directory.path().display().to_string();
        let mut faults = BTreeSet::new();
        match directory.read().await {
            Ok(texts) => {
                let files = texts.into_iter().map(|(file, text)| {
                    let read = text.and_then(|text| {
                        static_pods::read(&self.node, &place, &file, &text).map_err(|error| error.to_string())
                    });
                    let pod = read.map(|manifest| {
                        let warnings = manifest.warnings.into_iter();
                        faults.extend(warnings.map(|message| Fault { file: file.clone(), message }));
                        manifest.pod
                    });
                    (file, pod)
                });
                let files = files.collect();
                self.desired = self.desired.after(files);
                faults.extend(self.desired.faults.iter().cloned());
            }
            Err(error) => {
                let message = format!("it can't be read: {error}; static pods stay as they are");
                faults.insert(Fault { file: String::new(), message });
            }
        }
        for fault in faults.difference(&self.known) {
            tracing::warn!("{place}/{}: {}", fault.file, fault.message);
            self.unsaid.push(fault.clone());
        }
        self.unsaid.retain(|fault| faults.contains(fault));
        self.known = faults;
    }

    /// Tells the API server, which answers, what it does not know yet.
    pub(super) fn say<R>(&mut self, agent: &Agent<R>) {
        let place = self.directory.as_ref().map(|directory| directory.path().display().to_string()).unwrap_or_default();
        for fault in self.unsaid.drain(..) {
            let text = format!("{place}/{}: {}", fault.file, fault.message);
            agent.recorder.node_event(&reference(agent), "Warning", "StaticPodFile", &text);
        }
    }
}
