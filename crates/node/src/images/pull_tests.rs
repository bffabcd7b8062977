//! Pulls from registries that behave well and badly, all on the loopback.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;

use super::digest::digest_of;
use super::pull::{PullNetwork, Puller};
use super::registry::RegistryConfig;
use super::store::Store;
use super::testing::{TarBall, config, gzip, is_root};
use crate::runtime::RegistryAuth;

/// What a registry serves, and how it fails.
#[derive(Default)]
struct Registry {
    /// Path -> bytes.
    content: BTreeMap<String, Vec<u8>>,
    /// Requests that get 503 before the first that is answered.
    unavailable: usize,
    /// Requests for layers that break off in the middle.
    broken: usize,
    /// Who may pull: "user:password", by a token.
    secret: Option<String>,
    /// Where a token is had.
    address: String,
    /// All requests: path, authorization, range.
    log: Vec<(String, String, String)>,
}

type Shared = Arc<Mutex<Registry>>;

async fn answer(State(registry): State<Shared>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let of = |name| request.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let (auth, range) = (of(header::AUTHORIZATION), of(header::RANGE));
    let mut registry = registry.lock().unwrap();
    registry.log.push((path.clone(), auth.clone(), range.clone()));
    if registry.unavailable > 0 {
        registry.unavailable -= 1;
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if let Some(secret) = &registry.secret {
        let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(secret));
        if path == "/token" {
            let code = if auth == basic { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
            return (code, r#"{"token":"t0"}"#).into_response();
        }
        if auth != "Bearer t0" {
            let challenge = format!("Bearer realm=\"http://{}/token\",service=\"s\"", registry.address);
            return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)], "{}").into_response();
        }
    }
    let Some(bytes) = registry.content.get(&path).cloned() else {
        let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        return (StatusCode::NOT_FOUND, body).into_response();
    };
    if path.contains("/blobs/") && registry.broken > 0 && bytes.len() > 2000 {
        registry.broken -= 1;
        let half = bytes[..bytes.len() / 2].to_vec();
        // Some time between the two, or the half is never sent.
        let half = futures::stream::once(async { Ok(half) });
        let end = futures::stream::once(async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Err(std::io::Error::other("cable pulled"))
        });
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, bytes.len().into());
        return (headers, Body::from_stream(futures::StreamExt::chain(half, end))).into_response();
    }
    match range
        .strip_prefix("bytes=")
        .and_then(|range| range.strip_suffix('-'))
        .map(|from| from.parse::<usize>().unwrap())
    {
        Some(from) => (StatusCode::PARTIAL_CONTENT, bytes[from..].to_vec()).into_response(),
        None => bytes.into_response(),
    }
}

async fn serve(registry: Registry) -> (Shared, SocketAddr) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::new(Mutex::new(Registry { address: address.to_string(), ..registry }));
    let app = axum::Router::new().fallback(answer).with_state(Arc::clone(&shared));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (shared, address)
}

/// A layer with one file that does not compress well.
fn layer(size: usize) -> Vec<u8> {
    let mut state = size as u64 | 1;
    let noise: String = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b' ' + (state % 64) as u8)
    })
    .take(size)
    .collect();
    TarBall::new().file("data", &noise).bytes()
}

/// Content of a registry with one image of two platforms; returns the digest of its index.
fn image(repository: &str, layers: &[Vec<u8>]) -> (BTreeMap<String, Vec<u8>>, String) {
    let mut content = BTreeMap::new();
    let mut add = |what: &str, bytes: Vec<u8>| {
        let digest = digest_of(&bytes);
        let size = bytes.len();
        content.insert(format!("/v2/{repository}/{what}/{digest}"), bytes);
        serde_json::json!({"mediaType": "x", "digest": digest, "size": size})
    };
    let blobs: Vec<_> = layers.iter().map(|layer| add("blobs", gzip(layer))).collect();
    let config = add("blobs", config(layers).into_bytes());
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": blobs}).to_string();
    let mut here = add("manifests", manifest.into_bytes());
    here["platform"] = serde_json::json!({"os": "linux", "architecture": super::record::architecture()});
    let mut other = here.clone();
    other["platform"]["architecture"] = serde_json::json!("s390x");
    other["digest"] = serde_json::json!(digest_of(b"elsewhere"));
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [other, here]}).to_string();
    let digest = digest_of(index.as_bytes());
    content.insert(format!("/v2/{repository}/manifests/v1"), index.clone().into_bytes());
    content.insert(format!("/v2/{repository}/manifests/{digest}"), index.into_bytes());
    (content, digest)
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("images")).unwrap();
    (dir, store)
}

fn puller(store: &Store, mirrors: &[String]) -> Puller {
    Puller::new(store.clone(), RegistryConfig::parse(mirrors, &[]).unwrap(), PullNetwork::current().unwrap())
}

#[tokio::test]
async fn an_index_leads_to_this_machine_and_layers_come_once() {
    if !is_root("an_index_leads_to_this_machine_and_layers_come_once") {
        return;
    }
    let layers = [layer(1000), layer(2000), layer(3000), layer(4000)];
    let (content, digest) = image("a/b", &layers);
    let (registry, address) = serve(Registry { content, ..Registry::default() }).await;
    let (_dir, store) = store();
    let puller = puller(&store, &[]);
    let info = puller.pull(&format!("{address}/a/b:v1"), None).await.unwrap();
    assert_eq!(info.tags, [format!("{address}/a/b:v1")]);
    assert_eq!(info.digests, [format!("{address}/a/b@{digest}")]);
    assert_eq!(info.size, 10_000);
    let top = store.rootfs(&info.id).unwrap().lower_dirs[0].join("data");
    assert_eq!(fs::metadata(top).unwrap().len(), 4000);
    let blobs =
        |registry: &Shared| registry.lock().unwrap().log.iter().filter(|entry| entry.0.contains("/blobs/")).count();
    assert_eq!(blobs(&registry), 5);
    let again = puller.pull(&format!("{address}/a/b@{digest}"), None).await.unwrap();
    assert_eq!(again.id, info.id);
    assert_eq!(blobs(&registry), 6, "only the configuration is read again");
}

#[tokio::test]
async fn pulls_at_once_share_their_downloads() {
    if !is_root("pulls_at_once_share_their_downloads") {
        return;
    }
    let (content, _) = image("a/b", &[layer(200_000)]);
    let (registry, address) = serve(Registry { content, ..Registry::default() }).await;
    let (dir, store) = store();
    // As three agents of one machine.
    let agents: Vec<Puller> = (0..3).map(|_| puller(&Store::open(&dir.path().join("images")).unwrap(), &[])).collect();
    let name = format!("{address}/a/b:v1");
    let pulls = agents.iter().map(|agent| agent.pull(&name, None));
    let infos = futures::future::try_join_all(pulls).await.unwrap();
    assert!(infos.iter().all(|info| info.id == infos[0].id));
    let registry = registry.lock().unwrap();
    let big = registry.content.iter().find(|(path, bytes)| path.contains("/blobs/") && bytes.len() > 2000).unwrap().0;
    assert_eq!(registry.log.iter().filter(|entry| entry.0 == *big).count(), 1);
    assert_eq!(store.list().unwrap().len(), 1);
}

#[tokio::test]
async fn a_weak_server_is_asked_again_and_a_download_goes_on() {
    if !is_root("a_weak_server_is_asked_again_and_a_download_goes_on") {
        return;
    }
    let (content, _) = image("a/b", &[layer(50_000)]);
    let (registry, address) = serve(Registry { content, unavailable: 1, broken: 2, ..Registry::default() }).await;
    let (_dir, store) = store();
    let info = puller(&store, &[]).pull(&format!("{address}/a/b:v1"), None).await.unwrap();
    assert_eq!(info.size, 50_000);
    let registry = registry.lock().unwrap();
    assert!(registry.log.iter().any(|entry| entry.2.starts_with("bytes=")), "it went on where it broke off");
}

#[tokio::test]
async fn a_download_that_was_given_up_goes_on_at_the_next_pull() {
    if !is_root("a_download_that_was_given_up_goes_on_at_the_next_pull") {
        return;
    }
    let (content, _) = image("a/b", &[layer(50_000)]);
    let (registry, address) = serve(Registry { content, broken: usize::MAX, ..Registry::default() }).await;
    let (dir, store) = store();
    let name = format!("{address}/a/b:v1");
    puller(&store, &[]).pull(&name, None).await.unwrap_err();
    {
        let mut registry = registry.lock().unwrap();
        registry.broken = 0;
        registry.log.clear();
    }
    // As after a restart of the agent.
    let again = Store::open(&dir.path().join("images")).unwrap();
    assert_eq!(puller(&again, &[]).pull(&name, None).await.unwrap().size, 50_000);
    let registry = registry.lock().unwrap();
    let ranges: Vec<&str> =
        registry.log.iter().map(|entry| entry.2.as_str()).filter(|range| !range.is_empty()).collect();
    assert!(matches!(ranges[..], [one] if one.starts_with("bytes=")), "{ranges:?}");
    assert_eq!(fs::read_dir(dir.path().join("images/partial")).unwrap().count(), 0, "what is unpacked goes");
}

#[tokio::test]
async fn mirrors_and_their_secrets_come_from_files_of_the_node() {
    if !is_root("mirrors_and_their_secrets_come_from_files_of_the_node") {
        return;
    }
    let (content, _) = image("a/b", &[layer(10)]);
    let (mirror, address) = serve(Registry { content, secret: Some("me:pass".into()), ..Registry::default() }).await;
    let (dir, store) = store();
    let (hosts, credentials) = (dir.path().join("docker.io"), dir.path().join("config.json"));
    fs::create_dir(&hosts).unwrap();
    let text = format!("server = \"http://127.0.0.1:1\"\n[host.\"http://{address}\"]\n");
    fs::write(hosts.join("hosts.toml"), text).unwrap();
    let text = format!(r#"{{"auths":{{"{address}":{{"username":"me","password":"pass"}}}}}}"#);
    fs::write(&credentials, text).unwrap();
    let config = RegistryConfig {
        dirs: vec![dir.path().to_owned()],
        credentials: vec![credentials],
        ..RegistryConfig::default()
    };
    let puller = Puller::new(store, config, PullNetwork::current().unwrap());
    let info = puller.pull("a/b:v1", None).await.unwrap();
    assert_eq!(info.tags, ["docker.io/a/b:v1"]);
    assert!(mirror.lock().unwrap().log.iter().any(|entry| entry.1 == "Bearer t0"));
    let error = puller.pull("a/c:v1", None).await.unwrap_err().to_string();
    assert!(error.contains("not found; http://127.0.0.1:1: "), "then the server of the file: {error}");
}

#[tokio::test]
async fn what_is_forged_is_refused() {
    if !is_root("what_is_forged_is_refused") {
        return;
    }
    let (good, _) = image("a/b", &[layer(5000)]);
    for (part, want) in
        [("/blobs/", "digest"), ("/manifests/sha256", "Invalid digest"), ("/manifests/v1", "manifest: ")]
    {
        let mut content = good.clone();
        for (path, bytes) in &mut content {
            if path.contains(part) {
                let at = bytes.len() / 2;
                bytes[at] ^= 1;
                if part == "/manifests/v1" {
                    bytes[0] = b'x';
                }
            }
        }
        let (_registry, address) = serve(Registry { content, ..Registry::default() }).await;
        let (_dir, store) = store();
        let error = puller(&store, &[]).pull(&format!("{address}/a/b:v1"), None).await.unwrap_err().to_string();
        assert!(error.starts_with("failed to pull image") && error.contains(want), "{part}: {error}");
        assert!(store.list().unwrap().is_empty());
    }
}

#[tokio::test]
async fn errors_say_what_and_where() {
    let (_, address) = serve(Registry::default()).await;
    let (_dir, store) = store();
    let puller = puller(&store, &[]);
    let name = format!("{address}/none");
    let error = puller.pull(&name, None).await.unwrap_err().to_string();
    assert_eq!(error, format!("failed to pull image {name:?}: http://{address}: {address}/none:latest: not found"));
    let error = puller.pull("127.0.0.1:1/none", None).await.unwrap_err().to_string();
    assert!(error.contains("http://127.0.0.1:1: ") && error.contains("refused"), "{error}");
    let error = puller.pull("No", None).await.unwrap_err().to_string();
    assert_eq!(error, "couldn't parse image name \"No\": invalid reference format");
}

#[tokio::test]
async fn secrets_are_for_the_registry_and_not_for_its_mirrors() {
    if !is_root("secrets_are_for_the_registry_and_not_for_its_mirrors") {
        return;
    }
    let (content, _) = image("a/b", &[layer(10)]);
    let (registry, address) = serve(Registry { content, secret: Some("me:pass".into()), ..Registry::default() }).await;
    let (mirror, mirror_address) = serve(Registry::default()).await;
    let (_dir, store) = store();
    let puller = puller(&store, &[format!("{address}=http://{mirror_address}")]);
    let name = format!("{address}/a/b:v1");
    let auth = |password: &str| Some(RegistryAuth { username: "me".into(), password: password.into() });
    for wrong in [None, auth("wrong")] {
        let error = puller.pull(&name, wrong).await.unwrap_err().to_string();
        assert!(error.contains("pull access denied"), "{error}");
    }
    puller.pull(&name, auth("pass")).await.unwrap();
    assert!(registry.lock().unwrap().log.iter().any(|entry| entry.1 == "Bearer t0"));
    let mirror = mirror.lock().unwrap();
    assert!(!mirror.log.is_empty() && mirror.log.iter().all(|entry| entry.1.is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_reaches_the_loopback_of_the_machine_from_another_namespace() {
    if !is_root("a_pull_reaches_the_loopback_of_the_machine_from_another_namespace") {
        return;
    }
    let (content, _) = image("app", &[layer(10)]);
    let (_registry, address) = serve(Registry { content, ..Registry::default() }).await;
    let (dir, store) = store();
    let puller = puller(&store, &[]);
    let netns = dir.path().join("netns");
    crate::network::netns::create(&netns).unwrap();
    let inside = netns.clone();
    let pulled = tokio::task::spawn_blocking(move || {
        crate::network::netns::run_inside(&inside, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            assert!(std::net::TcpStream::connect(address).is_err(), "this namespace has no way to it");
            Ok((runtime.block_on(puller.pull(&format!("{address}/app:v1"), None)), address))
        })
    });
    let (info, address) = pulled.await.unwrap().unwrap();
    crate::network::netns::remove(&netns).unwrap();
    assert_eq!(info.unwrap().tags, [format!("{address}/app:v1")]);
}

struct RealRegistry(Child);

impl Drop for RealRegistry {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts docker-registry; None, said aloud, where it is not installed.
async fn real_registry(dir: &Path, port: u16) -> Option<RealRegistry> {
    let config = dir.join("config.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
        dir.join("data").display()
    );
    fs::write(&config, text).unwrap();
    let started = Command::new("docker-registry").arg("serve").arg(config).stderr(Stdio::null()).spawn();
    let Ok(child) = started else {
        eprintln!("skipped: docker-registry is not installed (apt-get install docker-registry)");
        return None;
    };
    let child = RealRegistry(child);
    for _ in 0..500 {
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return Some(child);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("docker-registry does not listen");
}

#[tokio::test]
async fn a_real_registry_is_understood() {
    use oci_client::client::{Client, ClientConfig, ClientProtocol};
    use oci_client::manifest::OCI_IMAGE_MEDIA_TYPE;

    if !is_root("a_real_registry_is_understood") {
        return;
    }
    let (dir, store) = store();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Some(_registry) = real_registry(dir.path(), port).await else { return };
    let layers = [layer(100), layer(300_000)];
    let (content, _) = image("library/app", &layers);
    drop(rustls::crypto::ring::default_provider().install_default());
    let protocol = ClientProtocol::Http;
    let client = Client::new(ClientConfig { protocol, accept_invalid_certificates: true, ..ClientConfig::default() });
    let target: oci_client::Reference = format!("127.0.0.1:{port}/library/app:v2").parse().unwrap();
    client.store_auth_if_needed(&format!("127.0.0.1:{port}"), &oci_client::secrets::RegistryAuth::Anonymous).await;
    for (path, bytes) in content.iter().filter(|(path, _)| path.contains("/blobs/")) {
        let digest = path.rsplit('/').next().unwrap();
        client.push_blob(&target, bytes.clone(), digest).await.unwrap();
    }
    let manifest = content.values().find(|bytes| bytes.starts_with(b"{\"config\"")).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(manifest).unwrap();
    manifest["mediaType"] = OCI_IMAGE_MEDIA_TYPE.into();
    let media = OCI_IMAGE_MEDIA_TYPE.parse().unwrap();
    client.push_manifest_raw(&target, manifest.to_string().into_bytes(), media).await.unwrap();
    let puller = puller(&store, &[format!("docker.io=http://127.0.0.1:{port}")]);
    let info = puller.pull("app:v2", None).await.unwrap();
    assert_eq!((info.size, info.digests.len()), (300_100, 1));
    let error = puller.pull(&format!("127.0.0.1:{port}/library/app:v3"), None).await.unwrap_err().to_string();
    assert!(error.ends_with("/library/app:v3: not found"), "{error}");
}
