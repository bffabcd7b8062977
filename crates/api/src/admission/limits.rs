//! Limit ranges: what containers get that say nothing, and what a pod or a claim may ask for.
//!
//! Invariants: what the author wrote stays; all broken limits are told at once, in order of their names.
//! Absent: finding the ranges of a namespace (the caller does).

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Refused;
use crate::quantity::Quantity;
use crate::resources::{Amounts, amounts, container_totals};

/// Where the pod tells what was filled in.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Fills in the resources of containers that a limit range has defaults for.
pub fn default_resources(pod: &mut Value, range: &Value) {
    let (mut limits, mut requests) = (Map::new(), Map::new());
    for item in items(range).filter(|item| item["type"] == "Container") {
        limits.extend(item["default"].as_object().cloned().unwrap_or_default());
        requests.extend(item["defaultRequest"].as_object().cloned().unwrap_or_default());
    }
    let mut notes = Vec::new();
    for (list, called) in [("containers", "container"), ("initContainers", "init container")] {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            for (which, defaults, word) in [("requests", &requests, "request"), ("limits", &limits, "limit")] {
                let set = fill(container, which, defaults);
                if !set.is_empty() {
                    let name = container["name"].as_str().unwrap_or_default();
                    notes.push(format!("{} {word} for {called} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        if !pod["metadata"]["annotations"].is_object() {
            pod["metadata"]["annotations"] = json!({});
        }
        pod["metadata"]["annotations"][ANNOTATION] = format!("LimitRanger plugin set: {}", notes.join("; ")).into();
    }
}

/// Sets what a container lacks; the names of that.
fn fill(container: &mut Value, which: &str, defaults: &Map<String, Value>) -> Vec<String> {
    let mut set = Vec::new();
    for (name, amount) in defaults {
        if container["resources"][which].get(name).is_none() {
            if !container["resources"][which].is_object() {
                container["resources"][which] = json!({});
            }
            container["resources"][which][name] = amount.clone();
            set.push(name.clone());
        }
    }
    set.sort_unstable();
    set
}

/// Holds a pod against a limit range.
///
/// # Errors
/// What it may not ask for.
pub fn check_pod(pod: &Value, range: &Value) -> Result<(), Refused> {
    let spec = &pod["spec"];
    let mut broken = Vec::new();
    for item in items(range) {
        let kind = item["type"].as_str().unwrap_or_default();
        match kind {
            "Container" => {
                for list in ["containers", "initContainers"] {
                    for container in spec[list].as_array().into_iter().flatten() {
                        let (requests, limits) = (amounts(container, "requests"), amounts(container, "limits"));
                        Asked { kind, requests: &requests, limits: &limits }.check(item, &mut broken);
                    }
                }
            }
            "Pod" => {
                let total = |which| {
                    let mut total = container_totals(spec, which);
                    total.extend(amounts(spec, which));
                    total
                };
                let (requests, limits) = (total("requests"), total("limits"));
                Asked { kind, requests: &requests, limits: &limits }.check(item, &mut broken);
            }
            _ => {}
        }
    }
    told(broken)
}

/// Holds a claim of a volume against a limit range.
///
/// # Errors
/// What it may not ask for.
pub fn check_claim(claim: &Value, range: &Value) -> Result<(), Refused> {
    let (requests, limits) = (amounts(&claim["spec"], "requests"), Amounts::new());
    let mut broken = Vec::new();
    for item in items(range).filter(|item| item["type"] == "PersistentVolumeClaim") {
        let asked = Asked { kind: "PersistentVolumeClaim", requests: &requests, limits: &limits };
        for (name, bound) in bounds(item, "min") {
            broken.extend(asked.min(&name, &bound));
        }
        for (name, bound) in bounds(item, "max") {
            let refused = match requests.get(&name) {
                None => Some("  No request is specified".to_owned()),
                Some(request) if exceeds(request, &bound) => Some(format!(", but request is {request}")),
                Some(_) => None,
            };
            broken.extend(refused.map(|why| asked.usage("maximum", &name, &bound, &why)));
        }
    }
    told(broken)
}

fn items(range: &Value) -> impl Iterator<Item = &Value> {
    range["spec"]["limits"].as_array().into_iter().flatten()
}

fn bounds(item: &Value, which: &str) -> BTreeMap<String, Quantity> {
    let map = item.get(which).and_then(Value::as_object).into_iter().flatten();
    map.filter_map(|(name, amount)| Some((name.clone(), Quantity::from_json(amount).ok()?))).collect()
}

fn exceeds(amount: &Quantity, bound: &Quantity) -> bool {
    amount.partial_cmp(bound) == Some(Ordering::Greater)
}

fn told(broken: Vec<String>) -> Result<(), Refused> {
    match broken.as_slice() {
        [] => Ok(()),
        [only] => Err(Refused(only.clone())),
        _ => Err(Refused(format!("[{}]", broken.join(", ")))),
    }
}

/// What is asked for, of a container or a pod.
struct Asked<'a> {
    kind: &'a str,
    requests: &'a Amounts,
    limits: &'a Amounts,
}

impl Asked<'_> {
    fn check(&self, item: &Value, broken: &mut Vec<String>) {
        for (name, bound) in bounds(item, "min") {
            broken.extend(self.min(&name, &bound));
        }
        for (name, bound) in bounds(item, "max") {
            broken.extend(self.max(&name, &bound));
        }
        for (name, bound) in bounds(item, "maxLimitRequestRatio") {
            broken.extend(self.ratio(&name, &bound));
        }
    }

    fn usage(&self, which: &str, name: &str, bound: &Quantity, why: &str) -> String {
        let end = if why.starts_with(' ') { "." } else { "" };
        format!("{which} {name} usage per {} is {bound}{end}{why}", self.kind)
    }

    fn min(&self, name: &str, bound: &Quantity) -> Option<String> {
        let why = match (self.requests.get(name), self.limits.get(name)) {
            (None, _) => "  No request is specified".to_owned(),
            (Some(request), _) if exceeds(bound, request) => format!(", but request is {request}"),
            (_, Some(limit)) if exceeds(bound, limit) => format!(", but limit is {limit}"),
            _ => return None,
        };
        Some(self.usage("minimum", name, bound, &why))
    }

    fn max(&self, name: &str, bound: &Quantity) -> Option<String> {
        let why = match (self.limits.get(name), self.requests.get(name)) {
            (None, _) => "  No limit is specified".to_owned(),
            (Some(limit), _) if exceeds(limit, bound) => format!(", but limit is {limit}"),
            (_, Some(request)) if exceeds(request, bound) => format!(", but request is {request}"),
            _ => return None,
        };
        Some(self.usage("maximum", name, bound, &why))
    }

    fn ratio(&self, name: &str, bound: &Quantity) -> Option<String> {
        let set = |amounts: &Amounts| amounts.get(name).filter(|amount| !amount.is_zero()).map(Quantity::milli);
        let why = match (set(self.requests), set(self.limits)) {
            (None, _) => "no request is specified or request is 0".to_owned(),
            (_, None) => "no limit is specified or limit is 0".to_owned(),
            (Some(request), Some(limit)) => {
                let ratio = limit as f64 / request as f64;
                if ratio * 1000.0 <= bound.milli() as f64 {
                    return None;
                }
                format!("provided ratio is {ratio:.6}")
            }
        };
        Some(format!("{name} max limit to request ratio per {} is {bound}, but {why}", self.kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(item: Value) -> Value {
        json!({"spec": {"limits": [item]}})
    }

    #[test]
    fn what_containers_get() {
        let mut pod = json!({"metadata": {}, "spec": {
            "containers": [{"name": "a"}, {"name": "b", "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}}],
            "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "1"}}}]}});
        let item = json!({"type": "Container", "default": {"cpu": "500m", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}});
        default_resources(&mut pod, &range(item));
        let all = json!({"limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"cpu": "100m"}});
        assert_eq!(pod["spec"]["containers"][0]["resources"], all);
        assert_eq!(pod["spec"]["containers"][1]["resources"]["limits"], json!({"cpu": "1", "memory": "1Gi"}));
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container a; cpu, memory limit for container a; \
             memory limit for container b; cpu, memory limit for init container i"
        );
    }

    #[test]
    fn what_pods_may_ask_for() {
        fn check(item: Value, resources: Value, expect: &str) {
            let pod = json!({"spec": {"containers": [{"name": "a", "resources": resources}]}});
            let got = check_pod(&pod, &range(item)).map_err(|refused| refused.0).err().unwrap_or_default();
            assert_eq!(got, expect);
        }
        let min = || json!({"type": "Container", "min": {"cpu": "100m"}});
        check(min(), json!({"requests": {"cpu": "100m"}}), "");
        check(min(), json!({}), "minimum cpu usage per Container is 100m.  No request is specified");
        check(
            min(),
            json!({"requests": {"cpu": "50m"}}),
            "minimum cpu usage per Container is 100m, but request is 50m",
        );
        let max = || json!({"type": "Pod", "max": {"cpu": "1", "memory": "1Gi"}});
        check(
            max(),
            json!({"limits": {"cpu": "2"}}),
            "[maximum cpu usage per Pod is 1, but limit is 2, maximum memory usage per Pod is 1Gi.  No limit is specified]",
        );
        let ratio = || json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "1500m"}});
        check(ratio(), json!({"limits": {"cpu": "3"}, "requests": {"cpu": "2"}}), "");
        check(
            ratio(),
            json!({"limits": {"cpu": "4"}, "requests": {"cpu": "2"}}),
            "cpu max limit to request ratio per Container is 1500m, but provided ratio is 2.000000",
        );
        check(
            ratio(),
            json!({"limits": {"cpu": "4"}}),
            "cpu max limit to request ratio per Container is 1500m, but no request is specified or request is 0",
        );
    }

    #[test]
    fn what_claims_may_ask_for() {
        let item = json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}});
        let claim = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
        assert_eq!(check_claim(&claim("1Gi"), &range(item.clone())), Ok(()));
        let refused = check_claim(&claim("3Gi"), &range(item)).unwrap_err();
        assert_eq!(refused.0, "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi");
    }
}
