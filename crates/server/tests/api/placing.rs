//! Pods of DaemonSets that get their node in the write that makes them.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use server::{Placed, Placer};

use crate::support::{Cluster, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// Places what it is asked about on node `n`, and notes what becomes of it.
#[derive(Clone, Default)]
struct Everywhere(Arc<Mutex<Vec<String>>>);

struct One(Everywhere, String, bool);

impl Everywhere {
    fn note(&self, what: &str, name: &str) {
        self.0.lock().unwrap().push(format!("{what} {name}"));
    }

    fn noted(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Placer for Everywhere {
    fn place(&self, pod: &Value) -> Option<Box<dyn Placed>> {
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        self.note("asked", &name);
        assert!(pod["metadata"]["uid"].is_string() && pod["spec"]["serviceAccountName"].is_string(), "it was admitted");
        (name != "nowhere").then(|| Box::new(One(self.clone(), name, false)) as Box<dyn Placed>)
    }
}

impl Placed for One {
    fn node(&self) -> &str {
        "n"
    }

    fn stored(mut self: Box<Self>) {
        self.2 = true;
        self.0.note("stored", &self.1);
    }
}

impl Drop for One {
    fn drop(&mut self) {
        if !self.2 {
            self.0.note("dropped", &self.1);
        }
    }
}

fn daemon(name: &str) -> Value {
    let mut daemon = pod(name);
    // Its volume would have a name by chance.
    daemon["spec"]["automountServiceAccountToken"] = false.into();
    daemon["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": true}]);
    daemon
}

#[tokio::test]
async fn a_daemon_is_made_as_it_is_after_its_binding() {
    let (cluster, placer) = (Cluster::start().await, Everywhere::default());
    let waits = cluster.post(PODS, &daemon("before")).await;
    assert_eq!((waits.code, &waits.body["spec"]["nodeName"]), (201, &Value::Null), "nobody chooses yet");
    cluster.server().place_pods(Arc::new(placer.clone()));

    let made = cluster.post(PODS, &daemon("d")).await;
    assert_eq!((made.code, &made.body["spec"]["nodeName"]), (201, &Value::from("n")));
    assert_eq!(placer.noted(), ["asked d", "stored d"]);
    let binding = json!({"metadata": {"name": "before"}, "target": {"kind": "Node", "name": "n"}});
    assert_eq!(cluster.post(&format!("{PODS}/before/binding"), &binding).await.code, 201);
    let [mut bound, mut made] =
        [cluster.get(&format!("{PODS}/before")).await.body, cluster.get(&format!("{PODS}/d")).await.body];
    for pod in [&mut bound, &mut made] {
        for field in ["name", "uid", "resourceVersion", "creationTimestamp"] {
            pod["metadata"][field] = Value::Null;
        }
        pod["metadata"]["managedFields"][0]["time"] = Value::Null;
        pod["status"]["conditions"][0]["lastTransitionTime"] = Value::Null;
    }
    assert_eq!(made, bound);

    let nowhere = cluster.post(PODS, &daemon("nowhere")).await;
    assert_eq!((nowhere.code, &nowhere.body["spec"]["nodeName"]), (201, &Value::Null));
    assert_eq!(nowhere.body["status"]["conditions"], Value::Null);
}

#[tokio::test]
async fn who_is_not_stored_takes_no_node_and_only_daemons_are_placed() {
    let (cluster, placer) = (Cluster::start().await, Everywhere::default());
    cluster.server().place_pods(Arc::new(placer.clone()));
    assert_eq!(cluster.post(PODS, &daemon("d")).await.code, 201);
    placer.noted();
    assert_eq!(cluster.post(PODS, &daemon("d")).await.code, 409);
    assert_eq!(placer.noted(), ["asked d", "dropped d"]);
    assert_eq!(cluster.post(&format!("{PODS}?dryRun=All"), &daemon("e")).await.code, 201);
    let mut bad = daemon("bad");
    bad["spec"]["containers"] = json!([]);
    assert_eq!(cluster.post(PODS, &bad).await.code, 422);
    let mut of_set = daemon("of-set");
    of_set["metadata"]["ownerReferences"][0]["kind"] = "ReplicaSet".into();
    let mut has_one = daemon("has-one");
    has_one["spec"]["nodeName"] = "m".into();
    for other in [pod("bare"), of_set, has_one] {
        assert_eq!(cluster.post(PODS, &other).await.code, 201);
    }
    assert_eq!(placer.noted(), [""; 0]);
}
