//! Rollouts under policies, from the API server's memory and back.

use std::collections::BTreeSet;

use api::rollout_policy::{Memory, Phase, RolloutPolicy};
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use super::fixture::Cluster;
use super::{daemon_set, is_rolled_out, merge};

fn policy(name: &str, spec: Value) -> RolloutPolicy {
    let mut value = json!({"metadata": {"name": name}, "spec": {"targets": {"names": ["d"]}}});
    value["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

struct Story {
    cluster: Cluster,
    sets: Api<DaemonSet>,
    policies: Api<RolloutPolicy>,
}

impl Story {
    /// A DaemonSet that has rolled out under a policy.
    async fn begin(nodes: usize, spec: Value) -> Self {
        let cluster = Cluster::start(nodes).await;
        let (sets, policies): (Api<DaemonSet>, Api<RolloutPolicy>) = (cluster.api(), cluster.api());
        cluster.until("policies are served", async || policies.list(&Default::default()).await.is_ok()).await;
        policies.create(&PostParams::default(), &policy("p", spec)).await.unwrap();
        sets.create(&PostParams::default(), &daemon_set("d", json!({}))).await.unwrap();
        let story = Self { cluster, sets, policies };
        let count = i32::try_from(nodes).unwrap();
        story.cluster.until("rolled out", async || is_rolled_out(&story.set().await, count)).await;
        let good = async || story.memory().await.is_some_and(|m| m.last_good_revision == Some(m.revision));
        story.cluster.until("known to be good", good).await;
        story
    }

    async fn set(&self) -> DaemonSet {
        self.sets.get("d").await.unwrap()
    }

    async fn memory(&self) -> Option<Memory> {
        let set = self.set().await;
        self.policies.get("p").await.unwrap().memory("d", set.metadata.uid.as_deref().unwrap()).cloned()
    }

    async fn until(&self, phase: Phase) {
        let what = format!("{phase:?}");
        self.cluster.until(&what, async || self.memory().await.is_some_and(|m| m.phase == phase)).await;
    }

    async fn set_image(&self, image: &str) {
        let container = json!({"name": "c", "image": image});
        merge(&self.sets, "d", json!({"spec": {"template": {"spec": {"containers": [container]}}}})).await;
    }

    async fn images(&self) -> Vec<String> {
        let pods = self.cluster.pods("app=d").await;
        let pods = pods.into_iter().filter(|p| p.metadata.deletion_timestamp.is_none());
        let mut all: Vec<String> = pods.map(|p| p.spec.unwrap().containers[0].image.clone().unwrap()).collect();
        all.sort();
        all
    }

    async fn says(&self, kind: &str) -> Option<(String, String)> {
        let conditions = self.set().await.status?.conditions?;
        let found = conditions.into_iter().find(|c| c.type_ == kind)?;
        Some((found.status, found.reason?))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wave_waits_for_its_promotion_through_a_restart_of_the_controllers() {
    let waves = json!({"waves": [{"name": "canary", "nodes": {"count": 1}, "gate": "Manual"}]});
    let mut story = Story::begin(3, waves).await;
    story.set_image("x:2").await;
    story.until(Phase::WaitingForPromotion).await;
    assert_eq!(story.images().await, ["x:1", "x:1", "x:2"]);
    story.cluster.restart_controllers().await;
    merge(&story.sets, "d", json!({"metadata": {"labels": {"look": "again"}}})).await;
    let waiting = Some(("True".to_owned(), "WaitingForPromotion".to_owned()));
    story.cluster.until("it is told", async || story.says("Progressing").await == waiting).await;
    assert_eq!(story.images().await, ["x:1", "x:1", "x:2"]);
    let mut object = story.policies.get("p").await.unwrap();
    object.status.as_mut().unwrap().daemon_sets[0].promoted = Some("canary".into());
    story.policies.replace_status("p", &PostParams::default(), &object).await.unwrap();
    story.until(Phase::Complete).await;
    assert_eq!(story.images().await, ["x:2"; 3]);
    story.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_revision_goes_back_by_itself() {
    // Not from the start: on a busy machine the first pods may take longer than that.
    let story = Story::begin(2, json!({})).await;
    merge(&story.policies, "p", json!({"spec": {"failure": {"maxUnreadySeconds": 5, "action": "Rollback"}}})).await;
    let first: BTreeSet<_> = story.cluster.pods("app=d").await.into_iter().map(|p| p.metadata.uid).collect();
    story.set_image("bad:1").await;
    let back =
        async || story.memory().await.is_some_and(|m| m.rolled_back_from.is_some() && m.phase == Phase::Complete);
    story.cluster.until("rolled back", back).await;
    assert_eq!(story.images().await, ["x:1"; 2]);
    let rolled_back = Some(("True".to_owned(), "RolledBack".to_owned()));
    story.cluster.until("it is told", async || story.says("Degraded").await == rolled_back).await;
    let now: BTreeSet<_> = story.cluster.pods("app=d").await.into_iter().map(|p| p.metadata.uid).collect();
    assert_eq!(first.intersection(&now).count(), 1, "the other node kept its daemon");
    story.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_rollout_goes_on_when_its_policy_is_gone() {
    let story = Story::begin(2, json!({})).await;
    merge(&story.policies, "p", json!({"spec": {"paused": true}})).await;
    story.until(Phase::Paused).await;
    story.set_image("x:2").await;
    let seen = async || {
        let set = story.set().await;
        let observed = set.status.as_ref().and_then(|s| s.observed_generation);
        observed == set.metadata.generation
            && story.memory().await.is_some_and(|m| m.last_good_revision != Some(m.revision))
    };
    story.cluster.until("the change is seen", seen).await;
    assert_eq!(story.images().await, ["x:1"; 2]);
    story.policies.delete("p", &DeleteParams::default()).await.unwrap();
    story.cluster.until("rolled out", async || is_rolled_out(&story.set().await, 2)).await;
    assert_eq!(story.images().await, ["x:2"; 2]);
    story.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_say_whether_they_can_work() {
    let story = Story::begin(1, json!({})).await;
    let accepted = async |name: &str| -> Option<(String, String)> {
        let status = story.policies.get(name).await.unwrap().status?;
        let found = status.conditions.into_iter().find(|c| c.type_ == "Accepted")?;
        Some((found.status, found.reason))
    };
    let is = |status: &str, reason: &str| Some((status.to_owned(), reason.to_owned()));
    story.cluster.until("accepted", async || accepted("p").await == is("True", "Accepted")).await;
    let selector = json!({"targets": {"selector": {"matchLabels": {"tier": "x"}}}});
    story.policies.create(&PostParams::default(), &policy("q", selector)).await.unwrap();
    story.cluster.until("for none", async || accepted("q").await == is("True", "NoTarget")).await;
    merge(&story.sets, "d", json!({"metadata": {"labels": {"tier": "x"}}})).await;
    story.cluster.until("in the way", async || accepted("q").await == is("False", "Conflict")).await;
    story.policies.delete("p", &DeleteParams::default()).await.unwrap();
    story.cluster.until("not any more", async || accepted("q").await == is("True", "Accepted")).await;
    let wave = json!({"name": "w", "nodes": {"selector": {"matchLabels": {"canary": "yes"}}}});
    merge(&story.policies, "q", json!({"spec": {"waves": [wave]}})).await;
    story.cluster.until("no node", async || accepted("q").await == is("False", "WaveSelectsNoNode")).await;
    merge(
        &story.cluster.all::<k8s_openapi::api::core::v1::Node>(),
        "n-0",
        json!({"metadata": {"labels": {"canary": "yes"}}}),
    )
    .await;
    story.cluster.until("a node", async || accepted("q").await == is("True", "Accepted")).await;
    story.cluster.stop().await;
}
