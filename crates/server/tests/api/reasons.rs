//! Why nodes run a daemon: who may ask, and what is handed on to whoever finds out.

use std::sync::{Arc, Mutex};

use crate::access::as_member;
use crate::support::Cluster;
use http::Method;
use serde_json::{Value, json};
use server::{Reasons, ReasonsAnswer, ReasonsAsked};

const PATH: &str = "/apis/apps/v1/namespaces/default/daemonsets/d/reasons";

/// Knows the DaemonSet `d` only, and remembers what it was asked.
#[derive(Default)]
struct Known(Mutex<Vec<ReasonsAsked>>);

impl Reasons for Known {
    fn answer(&self, asked: ReasonsAsked) -> ReasonsAnswer {
        self.0.lock().unwrap().push(asked.clone());
        Box::pin(async move {
            match asked.name.as_str() {
                "d" => Ok(json!({"kind": "DaemonSetReasons", "metadata": {"name": "d"}})),
                name => Err(json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound",
                    "message": format!("daemonsets.apps {name:?} not found"), "code": 404})),
            }
        })
    }
}

#[tokio::test]
async fn questions_reach_whoever_finds_out_and_nobody_is_asked_before() {
    let cluster = Cluster::start().await;
    let missing = cluster.get(PATH).await;
    assert_eq!((missing.code, missing.message()), (404, "the server could not find the requested resource"));

    let known = Arc::new(Known::default());
    cluster.server().answer_reasons(known.clone());
    let answer = cluster.get(&format!("{PATH}?node=n-1&labelSelector=a%3Db&summary=true")).await;
    assert_eq!((answer.code, &answer.body["kind"]), (200, &Value::from("DaemonSetReasons")));
    let asked = ReasonsAsked {
        namespace: "default".into(),
        name: "d".into(),
        node: Some("n-1".into()),
        label_selector: Some("a=b".into()),
        summary: true,
    };
    assert_eq!(known.0.lock().unwrap().pop(), Some(asked));

    let unknown = cluster.get(&PATH.replace("/d/", "/x/")).await;
    assert_eq!((unknown.code, unknown.message()), (404, "daemonsets.apps \"x\" not found"));
    let write = cluster.post(PATH, &json!({})).await;
    assert_eq!(write.code, 405, "{write:?}");
    let of_others = cluster.get("/apis/apps/v1/namespaces/default/replicasets/d/reasons").await;
    assert_eq!(of_others.code, 404, "only DaemonSets have reasons");
    let yaml = cluster.ask(Method::GET, PATH, "application/yaml", "", "").await;
    assert_eq!(yaml.body, "kind: DaemonSetReasons\nmetadata:\n  name: d\n");
}

#[tokio::test]
async fn the_subresource_has_a_right_of_its_own_that_viewers_have() {
    let cluster = Cluster::start().await;
    cluster.server().answer_reasons(Arc::new(Known::default()));
    let bind = |name: &str, role: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}]})
    };
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "sets"},
        "rules": [{"verbs": ["get"], "apiGroups": ["apps"], "resources": ["daemonsets"]}]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    assert_eq!(cluster.post(&format!("{rbac}/clusterroles"), &role).await.code, 201);
    for (user, role) in [("alice", "sets"), ("victor", "view")] {
        let made = cluster.post(&format!("{rbac}/namespaces/default/rolebindings"), &bind(user, role)).await;
        assert_eq!(made.code, 201, "{made:?}");
    }
    let get = |user: &'static str| as_member(&cluster, user, "", Method::GET, PATH, None);
    let refused = get("alice").await;
    let want = "daemonsets.apps \"d\" is forbidden: User \"alice\" cannot get resource \"daemonsets/reasons\" in API \
                group \"apps\" in the namespace \"default\"";
    assert_eq!((refused.code, refused.message()), (403, want));
    assert_eq!(get("victor").await.code, 200);
}
