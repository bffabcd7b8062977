//! Who may do what: roles and bindings, escalation, impersonation, the questions about them.

use crate::support::{Answer, Cluster, PODS, pod};
use http::{Method, Request};
use kube::client::Body;
use serde_json::{Value, json};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const AUTHORIZATION: &str = "/apis/authorization.k8s.io/v1";

/// A request on behalf of someone else.
async fn as_user(cluster: &Cluster, user: &str, method: Method, uri: &str, body: Option<&Value>) -> Answer {
    as_member(cluster, user, "", method, uri, body).await
}

/// A request on behalf of someone else, in a group unless that is empty.
pub(crate) async fn as_member(
    cluster: &Cluster,
    user: &str,
    group: &str,
    method: Method,
    uri: &str,
    body: Option<&Value>,
) -> Answer {
    let text = body.map(Value::to_string).unwrap_or_default();
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header("impersonate-user", user)
        .header("content-type", "application/json")
        .body(Body::from(text.into_bytes()))
        .unwrap();
    if !group.is_empty() {
        request.headers_mut().insert("impersonate-group", group.parse().unwrap());
    }
    let response = cluster.response(request).await;
    let code = response.status().as_u16();
    let bytes = response.into_body().collect_bytes().await.unwrap();
    let text = || json!(String::from_utf8_lossy(&bytes));
    Answer { code, body: serde_json::from_slice(&bytes).unwrap_or_else(|_| text()), warnings: Vec::new() }
}

fn role(kind: &str, name: &str, verbs: &[&str], resources: &[&str]) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name},
        "rules": [{"verbs": verbs, "apiGroups": [""], "resources": resources}]})
}

fn binding(kind: &str, name: &str, role_kind: &str, role: &str, user: &str) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]})
}

#[tokio::test]
async fn a_binding_counts_from_its_answer_until_its_end() {
    let cluster = Cluster::start().await;
    let list = |user: &'static str, uri: &'static str| as_user(&cluster, user, Method::GET, uri, None);
    let refused = list("alice", PODS).await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.message(),
        "pods is forbidden: User \"alice\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    assert_eq!(list("alice", "/api/v1/pods").await.code, 403);
    let view = binding("RoleBinding", "alice", "ClusterRole", "view", "alice");
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    assert_eq!(cluster.post(&bindings, &view).await.code, 201);
    assert_eq!(list("alice", PODS).await.code, 200);
    assert_eq!(list("alice", "/api/v1/pods").await.code, 403);
    assert_eq!(as_user(&cluster, "alice", Method::POST, PODS, Some(&pod("p"))).await.code, 403);
    assert_eq!(cluster.delete(&format!("{bindings}/alice"), None).await.code, 200);
    assert_eq!(list("alice", PODS).await.code, 403);
}

#[tokio::test]
async fn what_everyone_may() {
    let cluster = Cluster::start().await;
    for (user, uri, code) in [
        ("system:anonymous", "/version", 200),
        ("system:anonymous", "/healthz", 200),
        ("system:anonymous", "/apis", 403),
        ("system:anonymous", "/metrics", 403),
        ("alice", "/apis", 200),
        ("alice", "/openapi/v2", 200),
        ("alice", "/metrics", 403),
    ] {
        assert_eq!(as_user(&cluster, user, Method::GET, uri, None).await.code, code, "{user} {uri}");
    }
    let answer = as_user(&cluster, "system:anonymous", Method::GET, "/apis", None).await;
    assert_eq!(answer.message(), "forbidden: User \"system:anonymous\" cannot get path \"/apis\"");
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_hold() {
    let cluster = Cluster::start().await;
    let (roles, bindings) =
        (format!("{RBAC}/namespaces/default/roles"), format!("{RBAC}/namespaces/default/rolebindings"));
    cluster.post(&bindings, &binding("RoleBinding", "alice", "ClusterRole", "admin", "alice")).await;
    let post = |uri: String, body: Value| {
        let cluster = &cluster;
        async move { as_user(cluster, "alice", Method::POST, &uri, Some(&body)).await }
    };
    assert_eq!(post(roles.clone(), role("Role", "mine", &["get"], &["pods"])).await.code, 201);
    let more = post(roles.clone(), role("Role", "more", &["get", "list"], &["nodes"])).await;
    assert_eq!(more.code, 403);
    assert_eq!(
        more.message(),
        "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"alice\" (groups=[\"system:authenticated\"]) is \
         attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"nodes\"], \
         Verbs:[\"get\" \"list\"]}"
    );
    let mut grown = role("Role", "mine", &["get"], &["nodes"]);
    let put = as_user(&cluster, "alice", Method::PUT, &format!("{roles}/mine"), Some(&grown)).await;
    assert_eq!(put.code, 403, "{put:?}");
    grown["rules"] = json!([]);
    assert_eq!(as_user(&cluster, "alice", Method::PUT, &format!("{roles}/mine"), Some(&grown)).await.code, 200);
    let bound = post(bindings.clone(), binding("RoleBinding", "b", "ClusterRole", "view", "bob")).await;
    assert_eq!(bound.code, 201, "{bound:?}");
    let bound = post(bindings.clone(), binding("RoleBinding", "c", "ClusterRole", "cluster-admin", "bob")).await;
    assert_eq!(bound.code, 403, "{bound:?}");
    // Who may bind a role may bind it without holding what it grants.
    let mut bind = role("ClusterRole", "binder", &["bind"], &["clusterroles"]);
    bind["rules"][0]["apiGroups"] = json!(["rbac.authorization.k8s.io"]);
    cluster.post(&format!("{RBAC}/clusterroles"), &bind).await;
    cluster.post(&bindings, &binding("RoleBinding", "binder", "ClusterRole", "binder", "alice")).await;
    let bound = post(bindings, binding("RoleBinding", "c", "ClusterRole", "cluster-admin", "bob")).await;
    assert_eq!(bound.code, 201, "{bound:?}");
}

#[tokio::test]
async fn an_update_that_makes_an_object_needs_the_right_to_create() {
    let cluster = Cluster::start().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let mut updater = role("Role", "updater", &["update"], &["services"]);
    cluster.post(&format!("{RBAC}/namespaces/default/roles"), &updater).await;
    let bound = binding("RoleBinding", "updater", "Role", "updater", "alice");
    cluster.post(&format!("{RBAC}/namespaces/default/rolebindings"), &bound).await;
    updater["rules"][0]["apiGroups"] = json!(["coordination.k8s.io"]);
    updater["rules"][0]["resources"] = json!(["leases"]);
    let uri = format!("{RBAC}/namespaces/default/roles/updater");
    assert_eq!(cluster.put(&uri, &updater).await.code, 200);
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}});
    let uri = format!("{leases}/l");
    let refused = as_user(&cluster, "alice", Method::PUT, &uri, Some(&lease)).await;
    assert_eq!(refused.code, 403, "{refused:?}");
    assert!(refused.message().contains("cannot create resource \"leases\""), "{refused:?}");
    assert_eq!(cluster.put(&uri, &lease).await.code, 201);
}

#[tokio::test]
async fn questions() {
    let cluster = Cluster::start().await;
    cluster
        .post(
            &format!("{RBAC}/namespaces/default/rolebindings"),
            &binding("RoleBinding", "alice", "ClusterRole", "view", "alice"),
        )
        .await;
    let attributes = |verb: &str| json!({"verb": verb, "resource": "pods", "namespace": "default"});
    let own = |verb: &str| {
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes(verb)}})
    };
    let uri = format!("{AUTHORIZATION}/selfsubjectaccessreviews");
    let yes = as_user(&cluster, "alice", Method::POST, &uri, Some(&own("list"))).await;
    let reason = r#"RBAC: allowed by RoleBinding "alice/default" of ClusterRole "view" to User "alice""#;
    assert_eq!(yes.body["status"], json!({"allowed": true, "reason": reason}));
    let no = as_user(&cluster, "alice", Method::POST, &uri, Some(&own("delete"))).await;
    assert_eq!(no.body["status"], json!({"allowed": false}));
    let other = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": "alice", "resourceAttributes": attributes("get")}});
    let uri = format!("{AUTHORIZATION}/subjectaccessreviews");
    assert_eq!(cluster.post(&uri, &other).await.body["status"]["allowed"], true);
    assert_eq!(as_user(&cluster, "alice", Method::POST, &uri, Some(&other)).await.code, 403);
    let nobody = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"resourceAttributes": attributes("get")}});
    assert_eq!(cluster.post(&uri, &nobody).await.code, 422);
    let rules = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": "default"}});
    let uri = format!("{AUTHORIZATION}/selfsubjectrulesreviews");
    let answer = as_user(&cluster, "alice", Method::POST, &uri, Some(&rules)).await;
    let listed = answer.body["status"]["resourceRules"].as_array().unwrap().iter();
    assert!(listed.flat_map(|r| r["resources"].as_array()).flatten().any(|r| r == "configmaps"), "{answer:?}");
    assert_eq!(answer.body["status"]["incomplete"], false);
}

#[tokio::test]
async fn impersonation_is_asked_for() {
    let cluster = Cluster::start().await;
    let mut helper = role("ClusterRole", "helper", &["impersonate"], &["users"]);
    helper["rules"][0]["resourceNames"] = json!(["bob"]);
    cluster.post(&format!("{RBAC}/clusterroles"), &helper).await;
    let bound = binding("ClusterRoleBinding", "helper", "ClusterRole", "helper", "helper");
    cluster.post(&format!("{RBAC}/clusterrolebindings"), &bound).await;
    let may = |user: &str, name: &str| {
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": user,
            "resourceAttributes": {"verb": "impersonate", "resource": "users", "name": name}}})
    };
    let uri = format!("{AUTHORIZATION}/subjectaccessreviews");
    for (user, name, expect) in [("helper", "bob", true), ("helper", "admin", false), ("bob", "bob", false)] {
        let answer = cluster.post(&uri, &may(user, name)).await;
        assert_eq!(answer.body["status"]["allowed"], expect, "{user} {name}");
    }
}

#[tokio::test]
async fn default_roles_gather_what_is_labelled_for_them() {
    let cluster = Cluster::start().await;
    let mut widgets = role("ClusterRole", "widgets", &["get"], &["widgets"]);
    widgets["metadata"]["labels"] = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    let view = cluster.get(&format!("{RBAC}/clusterroles/view")).await;
    assert!(view.body["rules"].as_array().is_some_and(|rules| rules.len() > 5), "{view:?}");
    cluster.post(&format!("{RBAC}/clusterroles"), &widgets).await;
    for name in ["view", "edit", "admin"] {
        loop {
            let role = cluster.get(&format!("{RBAC}/clusterroles/{name}")).await;
            if role.body["rules"].as_array().unwrap().contains(&widgets["rules"][0]) {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}
