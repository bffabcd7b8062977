//! What there is: lists of the runtime's, with what only a status tells.
//!
//! # Invariants
//! - A status is asked for once for each state of a container or sandbox, not once for each look: with every pod looking at
//!   all, a node of N pods would ask N² times.
//! - Only what this node made is listed.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use jiff::Timestamp;

use super::info::{Inside, inside};
use super::proto::{container, sandbox};
use super::sandbox::OWNER;
use super::{Shared, container as words, sandbox as sandbox_words};
use crate::runtime::{
    ContainerId, ContainerState, ContainerStatus, NamespaceMode, RuntimeError, SandboxId, SandboxStatus,
};

/// What was told and will not change before the state does.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// With the state they were told for.
    containers: BTreeMap<String, (i32, ContainerStatus)>,
    sandboxes: BTreeMap<String, SandboxStatus>,
    /// Of both: ids are never the same.
    insides: BTreeMap<String, Inside>,
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        // A cache: whole at every moment, and wrong at worst until the next state.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owned(&self) -> super::proto::Pairs {
        [(OWNER.to_owned(), self.options.owner.clone())].into()
    }

    /// Sandboxes as listed.
    pub(super) async fn sandboxes(&self) -> Result<Vec<sandbox::PodSandbox>, RuntimeError> {
        let question = sandbox::ListRequest { filter: Some(sandbox::Filter { labels: self.owned() }) };
        let answer: sandbox::ListResponse = self.client.ask(sandbox::LIST, question).await?;
        Ok(answer.items)
    }

    /// Containers as listed.
    pub(super) async fn containers(&self) -> Result<Vec<container::Container>, RuntimeError> {
        let question = container::ListRequest { filter: Some(container::Filter { labels: self.owned() }) };
        let answer: container::ListResponse = self.client.ask(container::LIST, question).await?;
        Ok(answer.containers)
    }

    /// What a sandbox or a container is inside, as its last status told.
    pub(super) fn inside(&self, id: &str) -> Inside {
        self.known().insides.get(id).cloned().unwrap_or_default()
    }

    /// All sandboxes.
    pub(super) async fn sandbox_statuses(&self) -> Result<Vec<SandboxStatus>, RuntimeError> {
        let listed = self.sandboxes().await?;
        let mut all = Vec::with_capacity(listed.len());
        for one in &listed {
            let mut status = sandbox_words::status(one);
            let known = self.known().sandboxes.get(&one.id).map(|known| known.ips.clone());
            match known {
                Some(ips) => status.ips = ips,
                // One that is not ready has no addresses to speak of, and may have no status either.
                None if !status.ready => {}
                None => match self.sandbox_details(&status).await {
                    Ok(ips) => status.ips = ips,
                    Err(RuntimeError::NotFound(_)) => continue,
                    Err(error) => return Err(error),
                },
            }
            all.push(status);
        }
        let mut known = self.known();
        known.sandboxes.retain(|id, _| listed.iter().any(|one| one.id == *id));
        Ok(all)
    }

    /// Asks for the addresses of a sandbox that is ready.
    pub(super) async fn sandbox_details(&self, status: &SandboxStatus) -> Result<Vec<std::net::IpAddr>, RuntimeError> {
        let id = status.id.0.clone();
        let question = sandbox::StatusRequest { id: id.clone(), verbose: true };
        let answer: sandbox::StatusResponse = self.client.ask(sandbox::STATUS, question).await?;
        let ips = sandbox_words::addresses(&status.config, &answer.status.unwrap_or_default());
        let mut known = self.known();
        known.insides.insert(id.clone(), inside(&answer.info));
        if !ips.is_empty() || status.config.network == NamespaceMode::Node {
            known.sandboxes.insert(id, SandboxStatus { ips: ips.clone(), ..status.clone() });
        }
        Ok(ips)
    }

    /// All containers.
    pub(super) async fn statuses(&self) -> Result<Vec<ContainerStatus>, RuntimeError> {
        let listed = self.containers().await?;
        let mut all = Vec::with_capacity(listed.len());
        for one in &listed {
            let known = self.known().containers.get(&one.id).filter(|(state, _)| *state == one.state).cloned();
            let status = match known {
                Some((_, status)) => status,
                None => match self.ask_status(one).await {
                    Ok(status) => status,
                    Err(RuntimeError::NotFound(_)) => continue,
                    Err(error) => return Err(error),
                },
            };
            all.push(status);
        }
        let mut known = self.known();
        known.containers.retain(|id, _| listed.iter().any(|one| one.id == *id));
        let Known { containers, sandboxes, insides } = &mut *known;
        insides.retain(|id, _| containers.contains_key(id) || sandboxes.contains_key(id));
        Ok(all)
    }

    /// One container.
    pub(super) async fn one_status(&self, id: &ContainerId) -> Result<ContainerStatus, RuntimeError> {
        let listed = self.containers().await?;
        let found = listed.iter().find(|one| one.id == id.0);
        self.ask_status(found.ok_or_else(|| RuntimeError::NotFound(format!("container {}", id.0)))?).await
    }

    async fn ask_status(&self, listed: &container::Container) -> Result<ContainerStatus, RuntimeError> {
        if listed.state == i32::from(container::State::Unknown) {
            // Nobody knows whether it runs; what is started in its place must not run beside it.
            let question = container::StopRequest { id: listed.id.clone(), timeout: 0 };
            self.client.ask::<_, super::proto::Empty>(container::STOP, question).await?;
        }
        let question = container::StatusRequest { id: listed.id.clone(), verbose: true };
        let answer: container::StatusResponse = self.client.ask(container::STATUS, question).await?;
        let told = answer.status.ok_or_else(|| RuntimeError::NotFound(format!("container {}", listed.id)))?;
        let (state, inside) = (told.state, inside(&answer.info));
        let status = words::status(&SandboxId(listed.sandbox.clone()), told, &inside);
        let mut known = self.known();
        if words::is_settled(&status, Timestamp::now()) {
            known.containers.insert(listed.id.clone(), (state, status.clone()));
            if status.state == ContainerState::Running {
                known.insides.insert(listed.id.clone(), inside);
            }
        }
        Ok(status)
    }
}
