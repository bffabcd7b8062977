//! Node ports.

use std::collections::BTreeMap;

use api::status::{self, Status};
use api::validate::{FieldError, Path};
use rand::Rng as _;
use serde_json::Value;
use store::Store;

use super::holding::Holding;
use super::{Claims, Taker};

/// The first port that is given: kube-apiserver's default range.
const FIRST: u16 = 30_000;
/// The last one.
const LAST: u16 = 32_767;

/// Takes the node ports that a Service names, and those that its type asks for.
pub(super) async fn claim<S: Store>(
    taker: &Taker<'_, S>,
    service: &mut Value,
    held: &[Holding],
    claims: &mut Claims,
) -> Result<(), Status> {
    let spec = &service["spec"];
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if !matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        return Ok(());
    }
    let wanted = kind == "NodePort" || spec["allocateLoadBalancerNodePorts"] != Value::Bool(false);
    // Ports of one number and several protocols share a node port.
    let mut given: BTreeMap<i64, u16> = BTreeMap::new();
    let ports = spec["ports"].as_array().cloned().unwrap_or_default();
    for port in ports.iter().filter(|port| port["nodePort"].as_u64().unwrap_or(0) != 0) {
        let asked = u16::try_from(port["nodePort"].as_u64().unwrap_or(0)).unwrap_or(0);
        given.entry(port["port"].as_i64().unwrap_or(0)).or_insert(asked);
    }
    let mut own: Vec<u16> = Vec::new();
    for (place, port) in ports.iter().enumerate() {
        let number = port["port"].as_i64().unwrap_or(0);
        let asked = port["nodePort"].as_u64().unwrap_or(0);
        if asked != 0 {
            let path = Path::root("spec").child("ports").index(place).child("nodePort");
            named(taker, asked, &path, held, &own, claims).await?;
            own.extend(u16::try_from(asked));
            continue;
        }
        if !wanted {
            continue;
        }
        let found = match given.get(&number) {
            Some(same) => *same,
            None => free(taker, "nodePort", claims).await?,
        };
        given.insert(number, found);
        own.push(found);
        service["spec"]["ports"][place]["nodePort"] = found.into();
    }
    health_check(taker, service, &kind, held, claims).await
}

/// A port that the author of the Service chose.
async fn named<S: Store>(
    taker: &Taker<'_, S>,
    asked: u64,
    path: &Path,
    held: &[Holding],
    own: &[u16],
    claims: &mut Claims,
) -> Result<(), Status> {
    let refuse = |why: String| Err(taker.invalid(FieldError::invalid(path, asked, why)));
    let port = match u16::try_from(asked) {
        Ok(port) if held.contains(&Holding::Port(port)) || own.contains(&port) => return Ok(()),
        Ok(port) if (FIRST..=LAST).contains(&port) => port,
        _ => {
            return refuse(format!(
                "provided port is not in the valid range. The range of valid ports is {FIRST}-{LAST}"
            ));
        }
    };
    match taker.take(Holding::Port(port), claims).await? {
        true => Ok(()),
        false => refuse("provided port is already allocated".to_owned()),
    }
}

/// Load balancers that send to local endpoints alone ask each node whether it has some.
async fn health_check<S: Store>(
    taker: &Taker<'_, S>,
    service: &mut Value,
    kind: &str,
    held: &[Holding],
    claims: &mut Claims,
) -> Result<(), Status> {
    let spec = &service["spec"];
    if kind != "LoadBalancer" || spec["externalTrafficPolicy"] != "Local" {
        return Ok(());
    }
    let asked = spec["healthCheckNodePort"].as_u64().unwrap_or(0);
    if asked == 0 {
        service["spec"]["healthCheckNodePort"] = free(taker, "HealthCheck NodePort", claims).await?.into();
        return Ok(());
    }
    let path = Path::root("spec").child("healthCheckNodePort");
    named(taker, asked, &path, held, &[], claims).await
}

/// Takes a free port: all are tried, beginning anywhere.
async fn free<S: Store>(taker: &Taker<'_, S>, what: &str, claims: &mut Claims) -> Result<u16, Status> {
    let count = LAST - FIRST + 1;
    let start = rand::rng().random_range(0..count);
    for place in 0..count {
        let port = FIRST + (start + place) % count;
        if taker.take(Holding::Port(port), claims).await? {
            return Ok(port);
        }
    }
    Err(status::internal(format!("failed to allocate a {what}: range is full")))
}
