//! requests and limits to what the kernel understands, by the kubelet's formulas.

use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::runtime::ResourceConfig;

/// Shares of one core.
const SHARES_PER_CPU: i64 = 1024;
/// Fewest shares the kernel takes.
const SHARES_MIN: u64 = 2;
/// Most shares the kernel takes.
const SHARES_MAX: u64 = 262_144;
/// Microseconds of a period, the kernel's default.
const PERIOD: i64 = 100_000;
/// Smallest quota the kernel takes, microseconds.
const QUOTA_MIN: i64 = 1000;
/// oom_score_adj of pods whose requests are their limits, and of those a node can't do without.
const OOM_GUARANTEED: i64 = -997;
/// oom_score_adj of pods that ask for nothing.
const OOM_BEST_EFFORT: i64 = 1000;

fn wants(container: &Container, kind: Kind, name: &str) -> Option<Quantity> {
    let resources = container.resources.as_ref()?;
    let list = match kind {
        Kind::Request => resources.requests.as_ref(),
        Kind::Limit => resources.limits.as_ref(),
    };
    list?.get(name).and_then(|q| Quantity::parse(&q.0).ok()).filter(|q| !q.is_zero())
}

#[derive(Clone, Copy)]
enum Kind {
    Request,
    Limit,
}

fn all(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()))
}

/// Guaranteed, Burstable or BestEffort.
pub(crate) fn qos(pod: &Pod) -> &'static str {
    if let Some(told) = pod.status.as_ref().and_then(|s| s.qos_class.as_deref()) {
        match told {
            "Guaranteed" => return "Guaranteed",
            "Burstable" => return "Burstable",
            "BestEffort" => return "BestEffort",
            _ => {}
        }
    }
    let (mut asked, mut guaranteed) = (false, true);
    for container in all(pod) {
        for name in ["cpu", "memory"] {
            let (request, limit) = (wants(container, Kind::Request, name), wants(container, Kind::Limit, name));
            asked |= request.is_some() || limit.is_some();
            let same = match (&request, &limit) {
                (Some(r), Some(l)) => r.milli() == l.milli(),
                (None, Some(_)) => true,
                _ => false,
            };
            guaranteed &= same;
        }
    }
    match (asked, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// Limits of one container.
pub(crate) fn resources(pod: &Pod, container: &Container, memory_bytes: i64) -> ResourceConfig {
    let limit = wants(container, Kind::Limit, "cpu");
    let request = wants(container, Kind::Request, "cpu").or_else(|| limit.clone());
    let shares = request.map_or(0, |q| q.milli().saturating_mul(SHARES_PER_CPU) / 1000);
    ResourceConfig {
        cpu_shares: u64::try_from(shares).unwrap_or(0).clamp(SHARES_MIN, SHARES_MAX),
        cpu_quota: limit.map(|q| (q.milli().saturating_mul(PERIOD) / 1000).max(QUOTA_MIN)),
        cpu_period: PERIOD.unsigned_abs(),
        memory_limit: wants(container, Kind::Limit, "memory").map(|q| q.units()),
        oom_score_adj: i32::try_from(oom_score_adj(pod, container, memory_bytes)).unwrap_or(1000),
        pids_limit: None,
    }
}

fn oom_score_adj(pod: &Pod, container: &Container, memory_bytes: i64) -> i64 {
    let class = pod.spec.as_ref().and_then(|s| s.priority_class_name.as_deref());
    if class == Some("system-node-critical") {
        return OOM_GUARANTEED;
    }
    match qos(pod) {
        "Guaranteed" => OOM_GUARANTEED,
        "BestEffort" => OOM_BEST_EFFORT,
        _ => {
            let request = wants(container, Kind::Request, "memory").map_or(0, |q| q.units());
            let score = 1000 - request.saturating_mul(1000) / memory_bytes.max(1);
            score.clamp(1000 + OOM_GUARANTEED, OOM_BEST_EFFORT - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
    use k8s_openapi::apimachinery::pkg::api::resource;

    fn pod(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Pod {
        let list = |l: &[(&str, &str)]| {
            Some(l.iter().map(|(k, v)| ((*k).to_owned(), resource::Quantity((*v).to_owned()))).collect())
        };
        let resources = ResourceRequirements { requests: list(requests), limits: list(limits), claims: None };
        let container = Container { name: "c".to_owned(), resources: Some(resources), ..Default::default() };
        Pod { spec: Some(PodSpec { containers: vec![container], ..Default::default() }), ..Default::default() }
    }

    #[test]
    fn classes_and_scores() {
        const GIB: i64 = 1 << 30;
        let cases: [(&[_], &[_], _, _, _, _); 5] = [
            (&[], &[], "BestEffort", 1000, 2, None),
            (&[("cpu", "100m"), ("memory", "100Mi")], &[], "Burstable", 903, 102, None),
            (&[("memory", "2Gi")], &[], "Burstable", 3, 2, None),
            (&[("cpu", "1m")], &[], "Burstable", 999, 2, None),
            (
                &[("cpu", "1"), ("memory", "1Gi")],
                &[("cpu", "1000m"), ("memory", "1Gi")],
                "Guaranteed",
                -997,
                1024,
                Some(100_000),
            ),
        ];
        for (requests, limits, class, score, shares, quota) in cases {
            let pod = pod(requests, limits);
            let config = resources(&pod, &pod.spec.as_ref().unwrap().containers[0], GIB);
            assert_eq!(qos(&pod), class, "{requests:?}");
            assert_eq!(
                (config.oom_score_adj, config.cpu_shares, config.cpu_quota),
                (score, shares, quota),
                "{requests:?}"
            );
        }
    }
}
