//! Certificate requests from asking to the certificate.

use crate::access::as_member;
use crate::support::{Answer, Cluster};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::{Value, json};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

fn request(name: &str, signer: &str, user: &str, group: &str) -> Value {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, user);
    params.distinguished_name.push(DnType::OrganizationName, group);
    let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
        "spec": {"request": STANDARD.encode(pem), "signerName": signer, "usages": ["digital signature", "client auth"],
            "expirationSeconds": 3600, "username": "someone-else"}})
}

async fn approve(cluster: &Cluster, user: &str, group: &str, made: &Value) -> Answer {
    let mut approved = made.clone();
    approved["status"]["conditions"] = json!([{"type": "Approved", "status": "True", "reason": "R", "message": "m"}]);
    approved["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let uri = format!("{REQUESTS}/{}/approval", made["metadata"]["name"].as_str().unwrap());
    as_member(cluster, user, group, Method::PUT, &uri, Some(&approved)).await
}

/// Waits until a request has what `field` points to.
async fn wait(cluster: &Cluster, name: &str, field: &str) -> Value {
    loop {
        let found = cluster.get(&format!("{REQUESTS}/{name}")).await.body;
        if found.pointer(field).is_some() {
            return found;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_approved_is_signed() {
    let cluster = Cluster::start().await;
    let made = cluster.post(REQUESTS, &request("alice", CLIENT, "alice", "dev")).await;
    assert_eq!(made.code, 201, "{made:?}");
    assert_eq!(made.body["spec"]["username"], "test");
    let answer = approve(&cluster, "admin", "system:masters", &made.body).await;
    assert_eq!(answer.code, 200, "{answer:?}");
    assert!(answer.body["status"]["conditions"][0]["lastTransitionTime"].is_string());
    let signed = wait(&cluster, "alice", "/status/certificate").await;
    let pem = STANDARD.decode(signed["status"]["certificate"].as_str().unwrap()).unwrap();
    assert!(pem.starts_with(b"-----BEGIN CERTIFICATE-----"));
    let mut less = signed.clone();
    less["status"]["conditions"] = json!([]);
    let uri = format!("{REQUESTS}/alice/approval");
    assert_eq!(cluster.put(&uri, &less).await.code, 422);
}

#[tokio::test]
async fn who_may_approve_and_sign_says_a_role() {
    let cluster = Cluster::start().await;
    let made = cluster.post(REQUESTS, &request("x", CLIENT, "x", "dev")).await.body;
    let masters = request("m", CLIENT, "x", "system:masters");
    let refused = cluster.post(REQUESTS, &masters).await;
    assert_eq!(
        refused.message(),
        "certificatesigningrequests.certificates.k8s.io \"m\" is forbidden: use of \
         kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    );
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"},
        "rules": [{"verbs": ["update"], "apiGroups": ["certificates.k8s.io"],
            "resources": ["certificatesigningrequests/approval", "certificatesigningrequests/status"]}]});
    cluster.post(&format!("{RBAC}/clusterroles"), &role).await;
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "r"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
        "name": "r"}, "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}]});
    cluster.post(&format!("{RBAC}/clusterrolebindings"), &binding).await;
    let refused = approve(&cluster, "bob", "", &made).await;
    assert_eq!(
        refused.message(),
        "certificatesigningrequests.certificates.k8s.io \"x\" is forbidden: user not permitted to approve requests \
         with signerName \"kubernetes.io/kube-apiserver-client\""
    );
    let mut signed = made.clone();
    signed["status"] = json!({"certificate": STANDARD.encode("x")});
    let uri = format!("{REQUESTS}/x/status");
    let refused = as_member(&cluster, "bob", "", Method::PUT, &uri, Some(&signed)).await;
    assert_eq!(refused.code, 403, "{refused:?}");
}

#[tokio::test]
async fn a_new_node_is_approved_by_its_bootstrap_group() {
    let cluster = Cluster::start().await;
    for (name, role) in [
        ("join", "system:node-bootstrapper"),
        ("approve", "system:certificates.k8s.io:certificatesigningrequests:nodeclient"),
    ] {
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": name}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:bootstrappers"}]});
        assert_eq!(cluster.post(&format!("{RBAC}/clusterrolebindings"), &binding).await.code, 201);
    }
    let asked = request("n", "kubernetes.io/kube-apiserver-client-kubelet", "system:node:n", "system:nodes");
    let (user, group) = ("system:bootstrap:abcdef", "system:bootstrappers");
    let made = as_member(&cluster, user, group, Method::POST, REQUESTS, Some(&asked)).await;
    assert_eq!(made.code, 201, "{made:?}");
    let signed = wait(&cluster, "n", "/status/certificate").await;
    assert_eq!(signed["status"]["conditions"][0]["reason"], "AutoApproved");
    // Another group would make another kind of user: it waits for someone to look at it, and fails even then.
    let asked = request("o", "kubernetes.io/kube-apiserver-client-kubelet", "system:node:n", "other");
    let made = as_member(&cluster, user, group, Method::POST, REQUESTS, Some(&asked)).await;
    approve(&cluster, "admin", "system:masters", &made.body).await;
    let failed = wait(&cluster, "o", "/status/conditions/1").await;
    assert_eq!(failed["status"]["conditions"][1]["message"], "subject organization is not system:nodes");
}

const JOINERS: &str = "system:bootstrappers:everynode:nodes";

#[tokio::test]
async fn who_joins_finds_the_authority_and_is_approved() {
    let cluster = Cluster::start().await;
    let info = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
    let (nobody, unknown) = ("system:anonymous", "system:unauthenticated");
    let told = as_member(&cluster, nobody, unknown, Method::GET, info, None).await;
    let kubeconfig: Value = serde_json::from_str(told.body["data"]["kubeconfig"].as_str().unwrap()).unwrap();
    let authority = kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"].as_str().unwrap();
    assert!(cluster.admin_kubeconfig().contains(authority));
    let others = "/api/v1/namespaces/kube-public/configmaps";
    assert_eq!(as_member(&cluster, nobody, unknown, Method::GET, others, None).await.code, 403);

    let user = "system:bootstrap:abcdef";
    let asked = request("n", "kubernetes.io/kube-apiserver-client-kubelet", "system:node:n", "system:nodes");
    assert_eq!(as_member(&cluster, user, JOINERS, Method::POST, REQUESTS, Some(&asked)).await.code, 201);
    wait(&cluster, "n", "/status/certificate").await;
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    assert_eq!(as_member(&cluster, user, JOINERS, Method::GET, secrets, None).await.code, 403);
}

#[tokio::test]
async fn a_node_that_is_ready_is_not_given_to_who_joins() {
    let cluster = Cluster::start().await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
    assert_eq!(cluster.post("/api/v1/nodes", &node).await.code, 201);
    let say = |ready: &str| {
        let mut node = node.clone();
        node["status"]["conditions"] = json!([{"type": "Ready", "status": ready}]);
        node
    };
    for (name, ready, reason) in [("a", "True", "NodeIsReady"), ("b", "Unknown", "AutoApproved")] {
        assert_eq!(cluster.put("/api/v1/nodes/n/status", &say(ready)).await.code, 200);
        let asked = request(name, "kubernetes.io/kube-apiserver-client-kubelet", "system:node:n", "system:nodes");
        assert_eq!(
            as_member(&cluster, "system:bootstrap:abcdef", JOINERS, Method::POST, REQUESTS, Some(&asked)).await.code,
            201
        );
        let settled = wait(&cluster, name, "/status/conditions/0").await;
        assert_eq!(settled["status"]["conditions"][0]["reason"], reason, "{settled}");
    }
    // The node itself gets another one while it is Ready, and none of another node.
    assert_eq!(cluster.put("/api/v1/nodes/n/status", &say("True")).await.code, 200);
    for (name, node) in [("c", "system:node:o"), ("d", "system:node:n")] {
        let asked = request(name, "kubernetes.io/kube-apiserver-client-kubelet", node, "system:nodes");
        let made = as_member(&cluster, "system:node:n", "system:nodes", Method::POST, REQUESTS, Some(&asked)).await;
        assert_eq!(made.code, 201, "{made:?}");
    }
    // Requests are looked at in their order.
    wait(&cluster, "d", "/status/certificate").await;
    assert!(cluster.get(&format!("{REQUESTS}/c")).await.body["status"]["conditions"].is_null());
}

#[tokio::test]
async fn bootstrap_tokens_speak_for_their_id() {
    let cluster = Cluster::start().await;
    let data =
        json!({"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bootstrap-token-abcdef"},
        "type": "bootstrap.kubernetes.io/token", "stringData": data});
    assert_eq!(cluster.post("/api/v1/namespaces/kube-system/secrets", &secret).await.code, 201);
    for (token, expect) in [("abcdef.0123456789abcdef", true), ("abcdef.0123456789abcdex", false)] {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
        let status = cluster.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.body["status"].take();
        assert_eq!(status["authenticated"] == true, expect, "{status}");
        assert_eq!(status["user"]["username"] == "system:bootstrap:abcdef", expect, "{status}");
    }
}
