//! Tokens of service accounts: what is asked for, what they say, and when they end.

use crate::support::{Cluster, PODS, pod};
use serde_json::{Value, json};

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

async fn start() -> Cluster {
    let cluster = Cluster::start().await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    assert_eq!(cluster.post(ACCOUNTS, &account).await.code, 201);
    cluster
}

fn request(spec: Value) -> Value {
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec})
}

async fn token(cluster: &Cluster, spec: Value) -> String {
    let answer = cluster.post(&format!("{ACCOUNTS}/robot/token"), &request(spec)).await;
    assert_eq!(answer.code, 201, "{answer:?}");
    answer.body["status"]["token"].as_str().unwrap().to_owned()
}

async fn review(cluster: &Cluster, token: &str, audiences: &[&str]) -> Value {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": token, "audiences": audiences}});
    cluster.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.body["status"].take()
}

#[tokio::test]
async fn a_token_speaks_for_its_account_until_that_is_another() {
    let cluster = start().await;
    let made = cluster.post(&format!("{ACCOUNTS}/robot/token"), &request(json!({}))).await;
    assert_eq!(made.body["spec"]["audiences"], json!([ISSUER]));
    assert_eq!(made.body["spec"]["expirationSeconds"], 3600);
    let token = made.body["status"]["token"].as_str().unwrap();
    let status = review(&cluster, token, &[]).await;
    assert_eq!(status["authenticated"], true, "{status}");
    assert_eq!(status["user"]["username"], "system:serviceaccount:default:robot");
    assert_eq!(
        status["user"]["groups"],
        json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"])
    );
    assert_ne!(review(&cluster, &format!("{token}x"), &[]).await["authenticated"], true);
    cluster.delete(&format!("{ACCOUNTS}/robot"), None).await;
    assert_ne!(review(&cluster, token, &[]).await["authenticated"], true);
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    cluster.post(ACCOUNTS, &account).await;
    assert_ne!(review(&cluster, token, &[]).await["authenticated"], true);
}

#[tokio::test]
async fn audiences_and_durations() {
    let cluster = start().await;
    let vault = token(&cluster, json!({"audiences": ["vault"]})).await;
    assert_ne!(review(&cluster, &vault, &[]).await["authenticated"], true);
    let status = review(&cluster, &vault, &["vault", "other"]).await;
    assert_eq!((&status["authenticated"], &status["audiences"]), (&json!(true), &json!(["vault"])));
    for (seconds, message) in [
        (599, "may not specify a duration less than 10 minutes"),
        ((1_i64 << 32) + 1, "may not specify a duration larger than 2^32 seconds"),
    ] {
        let spec = request(json!({"expirationSeconds": seconds}));
        let refused = cluster.post(&format!("{ACCOUNTS}/robot/token"), &spec).await;
        assert_eq!(refused.code, 422);
        let want = format!(
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: {seconds}: {message}"
        );
        assert_eq!(refused.message(), want);
    }
    let missing = cluster.post(&format!("{ACCOUNTS}/nobody/token"), &request(json!({}))).await;
    assert_eq!((missing.code, missing.message()), (404, "serviceaccounts \"nobody\" not found"));
}

#[tokio::test]
async fn a_token_ends_with_the_pod_it_is_bound_to() {
    let cluster = start().await;
    let mut of_robot = pod("p");
    of_robot["spec"]["serviceAccountName"] = "robot".into();
    let made = cluster.post(PODS, &of_robot).await;
    assert_eq!(made.code, 201, "{made:?}");
    let uid = made.body["metadata"]["uid"].clone();
    let bound = |uid: &Value| json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid}});
    let token = token(&cluster, bound(&uid)).await;
    let status = review(&cluster, &token, &[]).await;
    assert_eq!(status["user"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]), "{status}");
    assert_eq!(status["user"]["extra"]["authentication.kubernetes.io/pod-uid"], json!([uid]));
    let wrong = cluster.post(&format!("{ACCOUNTS}/robot/token"), &request(bound(&json!("other")))).await;
    assert_eq!(wrong.code, 409, "{wrong:?}");
    cluster.post(ACCOUNTS, &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x"}})).await;
    let other = cluster.post(&format!("{ACCOUNTS}/x/token"), &request(bound(&uid))).await;
    assert_eq!(
        other.message(),
        "cannot bind token for serviceaccount \"x\" to pod running with different serviceaccount name."
    );
    let now = json!({"gracePeriodSeconds": 0});
    assert_eq!(cluster.delete(&format!("{PODS}/p"), Some(&now)).await.code, 200);
    let status = review(&cluster, &token, &[]).await;
    assert_eq!(status["error"], "service account token has been invalidated", "{status}");
}

#[tokio::test]
async fn pods_find_their_token_in_a_file_unless_they_decline() {
    let cluster = start().await;
    let made = cluster.post(PODS, &pod("p")).await.body;
    let volume = &made["spec"]["volumes"][0];
    assert!(volume["name"].as_str().unwrap().starts_with("kube-api-access-"), "{made}");
    assert_eq!(volume["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"], 3607);
    assert_eq!(made["spec"]["containers"][0]["volumeMounts"][0]["name"], volume["name"]);
    let mut declined = pod("q");
    declined["spec"]["automountServiceAccountToken"] = false.into();
    assert!(cluster.post(PODS, &declined).await.body["spec"]["volumes"].is_null());
}

#[tokio::test]
async fn others_can_check_tokens() {
    let cluster = start().await;
    let configuration = cluster.get("/.well-known/openid-configuration").await.body;
    assert_eq!(configuration["issuer"], ISSUER);
    assert!(configuration["jwks_uri"].as_str().unwrap().ends_with("/openid/v1/jwks"));
    let keys = cluster.get("/openid/v1/jwks").await.body;
    assert_eq!((&keys["keys"][0]["kty"], &keys["keys"][0]["alg"]), (&json!("EC"), &json!("ES256")));
    assert_eq!(keys["keys"][0]["x"].as_str().map(str::len), Some(43));
}
