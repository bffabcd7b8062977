//! Cluster IPs.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use api::status::{self, Status};
use api::validate::{FieldError, Path};
use rand::Rng as _;
use serde_json::{Value, json};
use store::Store;

use super::holding::{self, Holding};
use super::{Claims, Taker};
use crate::app::failure;

/// Addresses tried by chance before all that are taken are looked at: a range that is not nearly full has one by then.
const TRIES: usize = 16;

/// Takes the address that a Service names, or one that is free.
pub(super) async fn claim<S: Store>(
    taker: &Taker<'_, S>,
    service: &mut Value,
    held: &[Holding],
    claims: &mut Claims,
) -> Result<(), Status> {
    let spec = &service["spec"];
    let asked = spec["clusterIP"].as_str().unwrap_or_default().to_owned();
    if spec["type"] == "ExternalName" || asked == "None" {
        return Ok(());
    }
    if asked.is_empty() {
        let address = free(taker, claims).await?.to_string();
        service["spec"]["clusterIP"] = address.as_str().into();
        service["spec"]["clusterIPs"] = json!([address]);
        return Ok(());
    }
    let Ok(address) = asked.parse::<Ipv4Addr>() else { return Ok(()) };
    if held.contains(&Holding::Address(address)) {
        return Ok(());
    }
    let refuse = |why: String| {
        let path = Path::root("spec").child("clusterIPs");
        Err(taker.invalid(FieldError::invalid(&path, json!([asked]), format!("failed to allocate IP {asked}: {why}"))))
    };
    let range = taker.app.service_range;
    if !range.contains(address) {
        return refuse(format!(
            "the provided IP ({asked}) is not in the valid range. The range of valid IPs is {range}"
        ));
    }
    match taker.take(Holding::Address(address), claims).await? {
        true => Ok(()),
        false => refuse("provided IP is already allocated".to_owned()),
    }
}

/// Takes a free address.
async fn free<S: Store>(taker: &Taker<'_, S>, claims: &mut Claims) -> Result<Ipv4Addr, Status> {
    let range = taker.app.service_range;
    // The first is the API server's own.
    let places = 1..range.size();
    for _ in 0..TRIES {
        let address = range.nth(rand::rng().random_range(places.clone()));
        if taker.take(Holding::Address(address), claims).await? {
            return Ok(address);
        }
    }
    let page = taker.app.store.list(holding::addresses().as_bytes(), b"", 0, None).await.map_err(failure)?;
    let taken: BTreeSet<Ipv4Addr> = page
        .entries
        .iter()
        .filter_map(Holding::of_entry)
        .filter_map(|holding| match holding {
            Holding::Address(address) => Some(address),
            Holding::Port(_) => None,
        })
        .collect();
    // Bounded by what is taken: each of the others is free, unless someone takes it right now.
    for address in places.map(|place| range.nth(place)).filter(|address| !taken.contains(address)) {
        if taker.take(Holding::Address(address), claims).await? {
            return Ok(address);
        }
    }
    let name = taker.place.name;
    Err(status::internal(format!("failed to allocate a serviceIP for Service {name:?}: range is full")))
}
