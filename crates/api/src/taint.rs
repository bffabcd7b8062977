//! Taints and tolerations: which taint of a node keeps a pod away.
//!
//! Absent: the `Gt` and `Lt` operators, which Kubernetes 1.36 keeps behind a gate that is off.

use k8s_openapi::api::core::v1::{Taint, Toleration};

/// Keeps new pods away.
pub const NO_SCHEDULE: &str = "NoSchedule";
/// Keeps new pods away where another node will do.
pub const PREFER_NO_SCHEDULE: &str = "PreferNoSchedule";
/// Keeps new pods away and evicts those that run.
pub const NO_EXECUTE: &str = "NoExecute";

/// Whether one toleration tolerates one taint.
#[must_use]
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or("");
    let key = toleration.key.as_deref().unwrap_or("");
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    if !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("") {
        "" | "Equal" => toleration.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or(""),
        "Exists" => true,
        _ => false,
    }
}

/// The first of the taints that matters (`filter`) and that no toleration tolerates.
pub fn find_untolerated<'a>(
    taints: &'a [Taint],
    tolerations: &[Toleration],
    filter: impl Fn(&Taint) -> bool,
) -> Option<&'a Taint> {
    taints
        .iter()
        .filter(|taint| filter(taint))
        .find(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

/// A filter for [`find_untolerated`]: the taints that keep a new pod off a node.
#[must_use]
pub fn blocks_scheduling(taint: &Taint) -> bool {
    taint.effect == NO_SCHEDULE || taint.effect == NO_EXECUTE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(text: &str) -> Taint {
        let (pair, effect) = text.split_once(':').expect("key=value:effect");
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Taint {
            key: key.into(),
            value: (!value.is_empty()).then(|| value.into()),
            effect: effect.into(),
            time_added: None,
        }
    }

    fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Toleration {
            key: some(key),
            operator: some(operator),
            value: some(value),
            effect: some(effect),
            toleration_seconds: None,
        }
    }

    #[test]
    fn one_toleration() {
        fn check(t: (&str, &str, &str, &str), of: &str, expect: bool) {
            assert_eq!(tolerates(&toleration(t.0, t.1, t.2, t.3), &taint(of)), expect, "{t:?} {of}");
        }
        check(("a", "Equal", "b", "NoSchedule"), "a=b:NoSchedule", true);
        check(("a", "", "b", "NoSchedule"), "a=b:NoSchedule", true);
        check(("a", "", "c", "NoSchedule"), "a=b:NoSchedule", false);
        check(("a", "", "b", "NoExecute"), "a=b:NoSchedule", false);
        check(("a", "", "b", ""), "a=b:NoSchedule", true);
        check(("x", "Exists", "", ""), "a=b:NoSchedule", false);
        check(("a", "Exists", "", ""), "a=b:NoSchedule", true);
        check(("", "Exists", "", ""), "a=b:NoExecute", true);
        check(("", "Exists", "", "NoSchedule"), "a=b:NoExecute", false);
        check(("", "", "", ""), "a=b:NoExecute", false);
        check(("a", "Lt", "5", ""), "a=4:NoExecute", false);
    }

    #[test]
    fn first_untolerated() {
        let taints = [taint("p=:PreferNoSchedule"), taint("a=b:NoSchedule"), taint("c=d:NoExecute")];
        let tolerations = [toleration("a", "Exists", "", "")];
        let found = find_untolerated(&taints, &tolerations, blocks_scheduling).map(|t| t.key.as_str());
        assert_eq!(found, Some("c"));
        assert!(find_untolerated(&taints, &[toleration("", "Exists", "", "")], blocks_scheduling).is_none());
    }
}
