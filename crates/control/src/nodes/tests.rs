//! What is written about nodes that fall silent, drive pods away or are gone.

use decide::view::{Condition, Phase};
use k8s_openapi::api::core::v1::{Taint, Toleration};

use super::*;
use crate::testing::{hub, lines, status};

fn healthy(name: &str) -> NodeView {
    let condition = Condition { status: "True".into(), ..Condition::default() };
    let conditions = [("Ready".to_owned(), condition)].into();
    NodeView { name: name.into(), uid: name.into(), conditions, created: Some(Timestamp::now()), ..NodeView::default() }
}

fn pod(name: &str, ready: bool) -> PodView {
    let node = Some("n".to_owned());
    let (namespace, name, uid) = ("x".to_owned(), name.to_owned(), name.to_owned());
    PodView { namespace, name, uid, node, ready, phase: Phase::Running, ..PodView::default() }
}

fn put(hub: &Hub, pod: PodView) {
    hub.world().put_pod(Key::new(&pod.namespace, &pod.name), Arc::new(pod));
}

#[tokio::test]
async fn a_silent_node_is_told_lost_with_its_pods_and_tainted() {
    let (hub, requests) = hub(|_, _| (200, json!({"metadata": {}})));
    {
        let mut world = hub.world();
        world.put_node(Arc::new(healthy("n")));
        world.put_node(Arc::new(healthy("other")));
        world.nodes.hear("n", Timestamp::UNIX_EPOCH);
    }
    put(&hub, pod("ready", true));
    put(&hub, pod("unready", false));
    sync(hub, "n".to_owned()).await.unwrap();
    let expect =
        ["PATCH /api/v1/nodes/n/status", "PATCH /api/v1/namespaces/x/pods/ready/status", "PATCH /api/v1/nodes/n"];
    assert_eq!(lines(&requests), expect);
    let requests = requests.lock().unwrap();
    let conditions = requests[0].1["status"]["conditions"].as_array().unwrap();
    let told = |kind: &str| {
        let condition = conditions.iter().find(|c| c["type"] == kind).unwrap();
        (condition["status"].clone(), condition["reason"].clone(), condition["message"].clone())
    };
    let stopped = (json!("Unknown"), json!("NodeStatusUnknown"), json!("Kubelet stopped posting node status."));
    let never = (json!("Unknown"), json!("NodeStatusNeverUpdated"), json!("Kubelet never posted node status."));
    assert_eq!((conditions.len(), told("Ready"), told("DiskPressure")), (4, stopped, never));
    assert_eq!(requests[1].1["status"]["conditions"][0]["status"], "False");
    let effects: Vec<&str> =
        requests[2].1["spec"]["taints"].as_array().unwrap().iter().map(|t| t["effect"].as_str().unwrap()).collect();
    assert_eq!(effects, ["NoSchedule", "NoExecute"]);
}

#[tokio::test]
async fn pods_that_do_not_tolerate_are_told_why_and_deleted() {
    let (hub, requests) = hub(|_, _| (200, json!({"metadata": {}})));
    let mut tainted = healthy("n");
    tainted.taints = vec![Taint { key: "a".into(), effect: "NoExecute".into(), ..Taint::default() }];
    {
        let mut world = hub.world();
        world.put_node(Arc::new(tainted.clone()));
        world.nodes.hear("n", Timestamp::now());
    }
    put(&hub, pod("goes", true));
    put(&hub, PodView { phase: Phase::Succeeded, ..pod("ended", false) });
    let until = |seconds| Toleration {
        operator: Some("Exists".into()),
        toleration_seconds: Some(seconds),
        ..Toleration::default()
    };
    put(&hub, PodView { tolerations: vec![until(600)], ..pod("later", true) });
    sync(hub.clone(), "n".to_owned()).await.unwrap();
    let expect = ["PATCH /api/v1/namespaces/x/pods/goes/status", "DELETE /api/v1/namespaces/x/pods/goes"];
    assert_eq!(lines(&requests), expect);
    let condition = requests.lock().unwrap()[0].1["status"]["conditions"][0].clone();
    assert_eq!(
        (&condition["type"], &condition["reason"]),
        (&json!("DisruptionTarget"), &json!("DeletionByTaintManager"))
    );
    assert_eq!(lock(&hub.leaving)["n"], [Key::new("x", "later")].into());

    tainted.taints.clear();
    hub.world().put_node(Arc::new(tainted));
    sync(hub.clone(), "n".to_owned()).await.unwrap();
    assert!(lock(&hub.leaving).is_empty(), "nobody leaves any more");
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_node_that_is_gone_are_ended_after_a_while() {
    let (hub, requests) = hub(|method, _| match method {
        "GET" => (404, status(404, "NotFound")),
        _ => (200, json!({"metadata": {}})),
    });
    put(&hub, pod("p", true));
    put(&hub, PodView { phase: Phase::Failed, ..pod("q", false) });
    sync(hub.clone(), "n".to_owned()).await.unwrap();
    assert_eq!(lines(&requests), [""; 0], "it may come back");
    tokio::time::advance(LOST_NODE_GRACE).await;
    sync(hub, "n".to_owned()).await.unwrap();
    let expect = [
        "GET /api/v1/nodes/n",
        "PATCH /api/v1/namespaces/x/pods/p/status",
        "DELETE /api/v1/namespaces/x/pods/p",
        "DELETE /api/v1/namespaces/x/pods/q",
    ];
    assert_eq!(lines(&requests), expect);
    let requests = requests.lock().unwrap();
    let told = &requests[1].1["status"];
    assert_eq!((&told["phase"], &told["conditions"][0]["reason"]), (&json!("Failed"), &json!("DeletionByPodGC")));
    assert_eq!(requests[2].1["gracePeriodSeconds"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_the_watch_missed_keeps_its_pods() {
    let (hub, requests) = hub(|_, _| (200, json!({"metadata": {"name": "n"}})));
    put(&hub, pod("p", true));
    sync(hub.clone(), "n".to_owned()).await.unwrap();
    tokio::time::advance(LOST_NODE_GRACE).await;
    sync(hub, "n".to_owned()).await.unwrap();
    assert_eq!(lines(&requests), ["GET /api/v1/nodes/n"]);
}
