//! A server in a temporary directory, and requests to it.

use http::{Method, Request};
use kube::client::Body;
use serde_json::{Value, json};
use server::{Config, Server, ServerError};
use std::net::SocketAddr;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A server and a client of it.
pub(crate) struct Cluster {
    client: kube::Client,
    server: Option<Server>,
    dir: tempfile::TempDir,
}

/// An answer: the code and the JSON, or the text as a JSON string.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
    pub(crate) warnings: Vec<String>,
}

impl Answer {
    /// The message of a Status.
    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    /// The answered object's resourceVersion.
    pub(crate) fn revision(&self) -> String {
        self.body["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned()
    }

    /// The names of a list's items.
    pub(crate) fn names(&self) -> Vec<String> {
        let items = self.body["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().map(|i| i["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl Cluster {
    /// Starts one.
    pub(crate) async fn start() -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path().to_owned(), "127.0.0.1:0".parse().unwrap());
        let server = Server::start(config).await.unwrap();
        Cluster { client: server.client("test"), server: Some(server), dir }
    }

    /// The server, before it serves on its socket.
    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Serves on the socket; returns where, a kubeconfig of a node, and the task.
    pub(crate) fn serve(
        &mut self,
        node: &str,
        shutdown: CancellationToken,
    ) -> (SocketAddr, String, JoinHandle<Result<(), ServerError>>) {
        let server = self.server.take().unwrap();
        let address = server.address();
        let kubeconfig = server::pki::node_kubeconfig(self.dir.path(), node, server.url()).unwrap();
        (address, kubeconfig, tokio::spawn(server.serve(shutdown)))
    }

    /// The administrator's kubeconfig.
    pub(crate) fn admin_kubeconfig(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("admin.kubeconfig")).unwrap()
    }

    /// A response as it comes.
    pub(crate) async fn response(&self, request: Request<Body>) -> http::Response<Body> {
        self.client.send(request).await.unwrap()
    }

    /// Sends a request with an Accept and a Content-Type.
    pub(crate) async fn ask(&self, method: Method, uri: &str, accept: &str, media: &str, body: &str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("accept", accept)
            .header("content-type", media)
            .body(Body::from(body.as_bytes().to_vec()))
            .unwrap();
        let response = self.response(request).await;
        let code = response.status().as_u16();
        let header = response.headers().get_all("warning").iter();
        let warnings = header.map(|w| w.to_str().unwrap().to_owned()).collect();
        let bytes = response.into_body().collect_bytes().await.unwrap();
        let text = || json!(String::from_utf8_lossy(&bytes));
        Answer { code, body: serde_json::from_slice(&bytes).unwrap_or_else(|_| text()), warnings }
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.ask(Method::GET, uri, "application/json", "", "").await
    }

    pub(crate) async fn post(&self, uri: &str, body: &Value) -> Answer {
        self.ask(Method::POST, uri, "application/json", "application/json", &body.to_string()).await
    }

    pub(crate) async fn put(&self, uri: &str, body: &Value) -> Answer {
        self.ask(Method::PUT, uri, "application/json", "application/json", &body.to_string()).await
    }

    pub(crate) async fn delete(&self, uri: &str, body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string).unwrap_or_default();
        self.ask(Method::DELETE, uri, "application/json", "application/json", &body).await
    }

    /// Patches; `how` is json, merge or strategic-merge.
    pub(crate) async fn patch(&self, uri: &str, how: &str, body: &Value) -> Answer {
        let media = format!("application/{how}-patch+json");
        self.ask(Method::PATCH, uri, "application/json", &media, &body.to_string()).await
    }
}

/// Where config maps of the default namespace are.
pub(crate) const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Where pods of the default namespace are.
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";

/// A config map.
pub(crate) fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"value": value}},
        "data": {"a": value}})
}

/// A pod.
pub(crate) fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i"}]}})
}
