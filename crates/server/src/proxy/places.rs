//! Where a request goes: a pod, its node, a port.

use api::status::{self, Status};
use rand::Rng as _;
use serde_json::Value;
use store::Store;

use super::Target;
use crate::app::{App, Place};
use crate::object::{self, meta};

/// A pod that can be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) node: String,
    pub(super) ip: String,
}

/// The pod of an object.
///
/// # Errors
/// 400 while it has no address, in Kubernetes' words.
pub(super) fn pod(namespace: Option<&str>, pod: &Value) -> Result<Pod, Status> {
    let text = |path: &str| pod.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (Some(ip), Some(node)) = (text("/status/podIP"), text("/spec/nodeName")) else {
        return Err(status::bad_request("address not allowed"));
    };
    let namespace = namespace.unwrap_or_default().to_owned();
    Ok(Pod { namespace, name: meta(pod, "name").to_owned(), node: node.to_owned(), ip: ip.to_owned() })
}

/// The port that is asked for, or the first that a container names, or that of HTTP.
///
/// # Errors
/// 503 for one that is no number: Kubernetes looks it up in vain.
pub(super) fn port_of_pod(pod: &Value, asked: &str) -> Result<u16, Status> {
    if asked.is_empty() {
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        let first = containers.into_iter().find_map(|c| c["ports"][0]["containerPort"].as_u64());
        return Ok(first.and_then(|port| u16::try_from(port).ok()).unwrap_or(80));
    }
    asked
        .parse()
        .map_err(|_| status::service_unavailable(&format!("error trying to reach service: unknown port {asked:?}")))
}

/// A pod behind a Service, by its Endpoints, and the port there.
///
/// # Errors
/// 404 without the Service's endpoints, 503 when none of them is a pod.
pub(super) async fn behind_service<S: Store>(
    app: &App<S>,
    place: Place<'_>,
    target: &Target<'_>,
) -> Result<(Pod, u16), Status> {
    let mut port = target.port.to_owned();
    if let Ok(number) = target.port.parse::<i64>() {
        let service = object::decode(&app.entry(place).await?)?;
        let ports = service["spec"]["ports"].as_array().into_iter().flatten();
        let Some(found) = ports.into_iter().find(|port| port["port"] == number) else {
            let name = target.name;
            return Err(status::service_unavailable(&format!("no service port {number} found for service {name:?}")));
        };
        port = found["name"].as_str().unwrap_or_default().to_owned();
    }
    let unserved = || status::service_unavailable(&format!("no endpoints available for service {:?}", target.name));
    let kind = api::kinds::find("", "v1", "endpoints").ok_or_else(unserved)?;
    let endpoints = object::decode(&app.entry(Place { kind, ..place }).await?)?;
    let mut found: Vec<(String, String, u16)> = Vec::new();
    for subset in endpoints["subsets"].as_array().into_iter().flatten() {
        let ports = subset["ports"].as_array().into_iter().flatten();
        let named = ports.into_iter().find(|p| p["name"].as_str().unwrap_or_default() == port);
        let Some(number) = named.and_then(|p| u16::try_from(p["port"].as_u64()?).ok()) else { continue };
        for address in subset["addresses"].as_array().into_iter().flatten() {
            let of = &address["targetRef"];
            let here = of["kind"] == "Pod" && of["namespace"].as_str() == place.namespace;
            if let (true, Some(name), Some(ip)) = (here, of["name"].as_str(), address["ip"].as_str()) {
                found.push((name.to_owned(), ip.to_owned(), number));
            }
        }
    }
    let start = if found.is_empty() { 0 } else { rand::rng().random_range(0..found.len()) };
    found.rotate_left(start);
    let pods = api::kinds::find("", "v1", "pods").ok_or_else(unserved)?;
    for (name, ip, number) in found {
        let Some(entry) = app.lookup(pods, place.namespace, &name).await? else { continue };
        // An endpoint that names a pod of another address is made up.
        if let Ok(pod) = pod(place.namespace, &object::decode(&entry)?)
            && pod.ip == ip
        {
            return Ok((pod, number));
        }
    }
    Err(unserved())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_and_their_ports() {
        let there = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n",
            "containers": [{}, {"ports": [{"containerPort": 8080}]}]}, "status": {"podIP": "10.0.0.9"}});
        let pod = pod(Some("a"), &there).unwrap();
        assert_eq!((pod.node.as_str(), pod.ip.as_str()), ("n", "10.0.0.9"));
        assert_eq!(port_of_pod(&there, "").unwrap(), 8080);
        assert_eq!(port_of_pod(&json!({}), "").unwrap(), 80);
        assert_eq!(port_of_pod(&there, "90").unwrap(), 90);
        assert_eq!(port_of_pod(&there, "web").unwrap_err().code, 503);
        assert_eq!(super::pod(None, &json!({})).unwrap_err().message(), "address not allowed");
    }
}
