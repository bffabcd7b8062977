//! When the agent opens its tunnel.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::client::Body;
use node::agent::Clients;
use tokio::time::Instant;

use super::*;

/// A server that keeps silent is waited for so long before what is kept on disk serves.
const KEPT_AFTER: Duration = Duration::from_secs(5);

/// The client, but for requests to paths with `held` in them, which get no answer. `asked` hears of every path.
fn without_answers(client: &Client, held: &'static str, asked: impl Fn(&str) + Clone + Send + 'static) -> Client {
    let client = client.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (client, asked) = (client.clone(), asked.clone());
        async move {
            asked(request.uri().path());
            if request.uri().path().contains(held) {
                std::future::pending::<()>().await;
            }
            client.send(request).await
        }
    });
    Client::new(service, "default")
}

/// Who asks for logs must not be told that a pod is not here because the agent has not been told of it yet.
#[tokio::test]
async fn an_agent_that_does_not_know_its_pods_opens_no_tunnel() {
    let mut world = World::new().await;
    world.create("p", one("busybox:1")).await;
    world.pod("p", "a ready pod", ready).await;
    world.stop_agent().await;
    let opened = Arc::new(Mutex::new(None));
    let note = {
        let opened = Arc::clone(&opened);
        move |path: &str| {
            if path.ends_with("/tunnel") {
                opened.lock().unwrap().get_or_insert_with(Instant::now);
            }
        }
    };
    let (options, client) = world.agent_parts().await;
    let clients = Clients {
        api: without_answers(&client, "/api/v1/pods", |_| ()),
        tunnel: Some(without_answers(&client, "/nothing", note)),
    };
    let begun = Instant::now();
    world.run_agent(options, clients);
    let at = wait("the tunnel", async || *opened.lock().unwrap()).await;
    assert!(at - begun >= KEPT_AFTER, "it was opened after {:?}", at - begun);
    world.end().await;
}
