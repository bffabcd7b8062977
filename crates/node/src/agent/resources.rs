//! requests and limits to what the kernel understands, by the kubelet's formulas.

use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};

use crate::runtime::{PodResources, ResourceConfig};

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
    asked(container.resources.as_ref()?, kind, name)
}

fn asked(resources: &ResourceRequirements, kind: Kind, name: &str) -> Option<Quantity> {
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
    let (mut asks, mut guaranteed) = (false, true);
    // Those of the pod as a whole stand for those of its containers.
    let whole = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let of_containers = all(pod).filter(|_| whole.is_none()).filter_map(|container| container.resources.as_ref());
    let counted: Vec<_> = of_containers.chain(whole).collect();
    guaranteed &= whole.is_some() || all(pod).all(|container| container.resources.is_some());
    for resources in counted {
        for name in ["cpu", "memory"] {
            let (request, limit) = (asked(resources, Kind::Request, name), asked(resources, Kind::Limit, name));
            asks |= request.is_some() || limit.is_some();
            let same = match (&request, &limit) {
                (Some(r), Some(l)) => r.milli() == l.milli(),
                (None, Some(_)) => true,
                _ => false,
            };
            guaranteed &= same;
        }
    }
    match (asks, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// Whether a container's resources were changed.
pub(super) fn resized(old: &Pod, new: &Pod) -> bool {
    let of =
        |pod: &Pod| all(pod).map(|c| (c.name.clone(), c.resources.clone().unwrap_or_default())).collect::<Vec<_>>();
    of(old) != of(new)
}

/// Limits of the pod as a whole, where it has its own.
pub(super) fn of_pod(pod: &Pod) -> Option<PodResources> {
    let whole = pod.spec.as_ref()?.resources.as_ref()?;
    let limit = asked(whole, Kind::Limit, "cpu");
    let request = asked(whole, Kind::Request, "cpu").or_else(|| limit.clone());
    Some(PodResources {
        cpu_shares: shares(request),
        cpu_quota: quota(limit),
        cpu_period: PERIOD.unsigned_abs(),
        memory_limit: asked(whole, Kind::Limit, "memory").map(|q| q.units()),
    })
}

fn shares(request: Option<Quantity>) -> u64 {
    let shares = request.map_or(0, |q| q.milli().saturating_mul(SHARES_PER_CPU) / 1000);
    u64::try_from(shares).unwrap_or(0).clamp(SHARES_MIN, SHARES_MAX)
}

fn quota(limit: Option<Quantity>) -> Option<i64> {
    limit.map(|q| (q.milli().saturating_mul(PERIOD) / 1000).max(QUOTA_MIN))
}

/// Limits of one container.
pub(crate) fn resources(pod: &Pod, container: &Container, memory_bytes: i64) -> ResourceConfig {
    let limit = wants(container, Kind::Limit, "cpu");
    let request = wants(container, Kind::Request, "cpu").or_else(|| limit.clone());
    ResourceConfig {
        cpu_shares: shares(request),
        cpu_quota: quota(limit),
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
            let own = |of: &Container| wants(of, Kind::Request, "memory").map_or(0, |q| q.units());
            // What the pod asks for beyond its containers is shared out among them.
            let whole = pod.spec.as_ref().and_then(|spec| asked(spec.resources.as_ref()?, Kind::Request, "memory"));
            let count = i64::try_from(all(pod).count()).unwrap_or(1).max(1);
            let rest = whole.map_or(0, |whole| whole.units().saturating_sub(all(pod).map(own).sum()).max(0) / count);
            let request = own(container).saturating_add(rest);
            let score = 1000 - request.saturating_mul(1000) / memory_bytes.max(1);
            score.clamp(1000 + OOM_GUARANTEED, OOM_BEST_EFFORT - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PodSpec;
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
    fn a_pods_own_resources_stand_for_its_containers() {
        let of = |request: &str, limit: &str| {
            let mut pod = pod(&[("memory", "100Mi")], &[]);
            let spec = pod.spec.as_mut().unwrap();
            spec.containers.push(Container { name: "d".to_owned(), ..Default::default() });
            let list = |memory: &str| {
                let amounts = [("cpu", "500m"), ("memory", memory)];
                Some(amounts.map(|(k, v)| (k.to_owned(), resource::Quantity(v.to_owned()))).into())
            };
            spec.resources =
                Some(ResourceRequirements { requests: list(request), limits: list(limit), ..Default::default() });
            pod
        };
        let pod = of("300Mi", "1Gi");
        assert_eq!((qos(&pod), qos(&of("1Gi", "1Gi"))), ("Burstable", "Guaranteed"));
        let whole = of_pod(&pod).unwrap();
        assert_eq!((whole.cpu_shares, whole.cpu_quota, whole.memory_limit), (512, Some(50_000), Some(1 << 30)));
        // 200Mi that no container asks for are shared by two.
        let score = |index: usize| oom_score_adj(&pod, &pod.spec.as_ref().unwrap().containers[index], 1 << 30);
        assert_eq!((score(0), score(1)), (1000 - 195, 1000 - 97));
        assert_eq!(of_pod(&super::tests::pod(&[], &[])), None);
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
