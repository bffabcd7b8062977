//! Sums over the resources of a pod's containers, and the service class that follows from them.
//!
//! Invariants: init containers run before the others and count by their maximum; those that keep
//! running (`restartPolicy: Always`) count by their sum.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::quantity::Quantity;

/// Amounts by resource name.
pub type Amounts = BTreeMap<String, Quantity>;

fn containers<'a>(spec: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    spec.get(list).and_then(Value::as_array).into_iter().flatten()
}

/// The amounts of one container or pod (`which` is `requests` or `limits`); what is no quantity is
/// left out.
#[must_use]
pub fn amounts(holder: &Value, which: &str) -> Amounts {
    let list = holder.get("resources").and_then(|resources| resources.get(which)).and_then(Value::as_object);
    let parsed = |(name, amount): (&String, &Value)| Some((name.clone(), Quantity::from_json(amount).ok()?));
    list.into_iter().flatten().filter_map(parsed).collect()
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        match sum.get_mut(name) {
            Some(total) => *total += amount,
            None => {
                sum.insert(name.clone(), amount.clone());
            }
        }
    }
}

fn raise(floor: &mut Amounts, to: &Amounts) {
    for (name, amount) in to {
        if floor.get(name).is_none_or(|have| have < amount) {
            floor.insert(name.clone(), amount.clone());
        }
    }
}

/// What the containers of a pod spec together ask for (`which` is `requests` or `limits`).
#[must_use]
pub fn container_totals(spec: &Value, which: &str) -> Amounts {
    let mut total = Amounts::new();
    for container in containers(spec, "containers") {
        add(&mut total, &amounts(container, which));
    }
    let (mut sidecars, mut highest) = (Amounts::new(), Amounts::new());
    for container in containers(spec, "initContainers") {
        let own = amounts(container, which);
        let now = if container.get("restartPolicy").and_then(Value::as_str) == Some("Always") {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            sidecars.clone()
        } else {
            let mut with_sidecars = own;
            add(&mut with_sidecars, &sidecars);
            with_sidecars
        };
        raise(&mut highest, &now);
    }
    raise(&mut total, &highest);
    total
}

/// What a node must have free for a pod: its containers' requests, those of the pod as a whole
/// where given, and its overhead.
#[must_use]
pub fn pod_requests(spec: &Value) -> Amounts {
    let mut total = container_totals(spec, "requests");
    total.extend(amounts(spec, "requests"));
    for (name, amount) in spec.get("overhead").and_then(Value::as_object).into_iter().flatten() {
        if let Ok(amount) = Quantity::from_json(amount) {
            add(&mut total, &Amounts::from([(name.clone(), amount)]));
        }
    }
    total
}

/// `Guaranteed`, `Burstable` or `BestEffort`, by the CPU and memory that a pod asks for.
#[must_use]
pub fn qos_class(spec: &Value) -> &'static str {
    let (mut requests, mut limits, mut all_limited) = (Amounts::new(), Amounts::new(), true);
    let has_own = spec.get("resources").is_some_and(|own| own.as_object().is_some_and(|map| !map.is_empty()));
    let holders: Vec<&Value> = if has_own {
        vec![spec]
    } else {
        containers(spec, "containers").chain(containers(spec, "initContainers")).collect()
    };
    for holder in holders {
        let counted = |which| -> Amounts {
            let counts = |name: &String, amount: &Quantity| {
                matches!(name.as_str(), "cpu" | "memory") && !amount.is_zero() && !amount.is_negative()
            };
            amounts(holder, which).into_iter().filter(|(name, amount)| counts(name, amount)).collect()
        };
        add(&mut requests, &counted("requests"));
        let limited = counted("limits");
        all_limited &= limited.len() == 2;
        add(&mut limits, &limited);
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if all_limited && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(amounts: Amounts) -> Vec<String> {
        amounts.into_iter().map(|(name, amount)| format!("{name}={amount}")).collect()
    }

    fn of(cpu: &str) -> Value {
        json!({"resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn totals() {
        fn check(spec: Value, expect: &[&str]) {
            assert_eq!(texts(pod_requests(&spec)), expect, "{spec}");
        }
        check(json!({"containers": [of("1"), of("500m")]}), &["cpu=1500m"]);
        check(json!({"containers": [of("1")], "initContainers": [of("2")]}), &["cpu=2"]);
        let mut sidecar = of("1");
        sidecar["restartPolicy"] = json!("Always");
        check(json!({"containers": [of("1")], "initContainers": [sidecar, of("2")]}), &["cpu=3"]);
        check(
            json!({"containers": [of("1")], "overhead": {"cpu": "100m", "memory": "1Mi"}}),
            &["cpu=1100m", "memory=1Mi"],
        );
        check(json!({"containers": [of("1")], "resources": {"requests": {"cpu": "4"}}}), &["cpu=4"]);
    }

    #[test]
    fn classes() {
        fn check(resources: Value, expect: &str) {
            assert_eq!(qos_class(&json!({"containers": [{"resources": resources}]})), expect, "{resources}");
        }
        let both = json!({"cpu": "1", "memory": "1Gi"});
        check(json!({}), "BestEffort");
        check(json!({"requests": {"cpu": "0"}}), "BestEffort");
        check(json!({"requests": {"example.com/gpu": "1"}}), "BestEffort");
        check(json!({"requests": {"cpu": "1"}}), "Burstable");
        check(json!({"requests": both, "limits": both}), "Guaranteed");
        check(json!({"limits": both}), "Burstable");
        check(json!({"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}), "Burstable");
    }
}
