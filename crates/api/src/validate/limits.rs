//! Limit ranges.

use std::collections::BTreeSet;

use serde_json::Value;

use super::at::{At, Errors};
use super::content::label_key;
use super::pod::container_resource_name;
use crate::quantity::{Format, Quantity};

/// Types that need no domain.
const TYPES: [&str; 3] = ["Pod", "Container", "PersistentVolumeClaim"];

pub(super) fn limit_range(obj: &Value, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for item in At::root(obj, "spec").child("limits").items() {
        let kind = item.child("type");
        let wrong = label_key(kind.text());
        if wrong.is_empty() && !kind.text().contains('/') && !TYPES.contains(&kind.text()) {
            errors.push(kind.invalid("must be a standard limit type or fully qualified"));
        }
        errors.extend(wrong.into_iter().map(|detail| kind.invalid(detail)));
        if !seen.insert(kind.text()) {
            errors.push(kind.duplicate());
        }
        one(&item, kind.text(), errors);
    }
}

fn one(item: &At<'_>, kind: &str, errors: &mut Errors) {
    let lists = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
    let mut names = BTreeSet::new();
    for list in lists {
        let list_at = item.child(list);
        if kind == "Pod" && list.starts_with("default") {
            if !list_at.is_empty() {
                errors.push(list_at.forbidden("may not be specified when `type` is 'Pod'"));
            }
            continue;
        }
        for (name, amount) in list_at.entries() {
            match kind {
                "Pod" | "Container" => container_resource_name(name, &amount, errors),
                _ => errors.extend(label_key(name).into_iter().map(|detail| amount.invalid_value(name, detail))),
            }
            if list != "maxLimitRequestRatio" {
                names.insert(name);
            }
        }
    }
    if kind == "PersistentVolumeClaim"
        && ["min", "max"].iter().all(|list| item.child(list).value()["storage"].is_null())
    {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(item.child("limits").required(detail));
    }
    names.into_iter().for_each(|name| amounts(item, name, errors));
}

/// The bounds and defaults of one resource have to fit each other.
fn amounts(item: &At<'_>, name: &str, errors: &mut Errors) {
    let find = |list: &str| {
        let list = item.child(list);
        list.entries().find(|(key, _)| *key == name).and_then(|(_, at)| Some((at.quantity()?, at)))
    };
    let (min, max) = (find("min"), find("max"));
    let (limit, request, ratio) = (find("default"), find("defaultRequest"), find("maxLimitRequestRatio"));
    let mut above =
        |low: &Option<(Quantity, At<'_>)>, high: &Option<(Quantity, At<'_>)>, at: u8, shown: u8, text: [&str; 2]| {
            if let (Some(low), Some(high)) = (low, high)
                && low.0 > high.0
            {
                let sides = [low, high];
                let detail = format!("{} {} is greater than {} {}", text[0], low.0, text[1], high.0);
                errors.push(sides[usize::from(at)].1.invalid_value(sides[usize::from(shown)].0.to_string(), detail));
            }
        };
    above(&min, &max, 0, 0, ["min value", "max value"]);
    above(&min, &request, 1, 1, ["min value", "default request value"]);
    above(&request, &max, 0, 0, ["default request value", "max value"]);
    above(&request, &limit, 0, 0, ["default request value", "default limit value"]);
    above(&min, &limit, 1, 0, ["min value", "default value"]);
    above(&limit, &max, 0, 1, ["default value", "max value"]);
    let Some((ratio, at)) = ratio else { return };
    if ratio < Quantity::from_units(1, Format::DecimalSi) {
        errors.push(at.invalid_value(ratio.to_string(), format!("ratio {ratio} is less than 1")));
    }
    if let (Some((min, _)), Some((max, _))) = (&min, &max) {
        let most = max.milli() as f64 / min.milli() as f64;
        if ratio.milli() as f64 / 1000.0 > most {
            let detail = format!("ratio {ratio} is greater than max/min = {most:.6}");
            errors.push(at.invalid_value(ratio.to_string(), detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::create_errors;
    use serde_json::{Value, json};

    #[test]
    fn limit_ranges() {
        fn check(item: Value, expect: &[&str]) {
            let obj = json!({"metadata": {"name": "x", "namespace": "n"}, "spec": {"limits": [item]}});
            assert_eq!(create_errors("v1", "LimitRange", obj), expect);
        }
        let fits = json!({"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "default": {"cpu": "2"},
            "defaultRequest": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "2"}});
        check(fits, &[]);
        check(
            json!({"type": "Pod", "default": {"cpu": "1"}}),
            &["spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"],
        );
        check(
            json!({"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}),
            &["spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"],
        );
        check(
            json!({"type": "Odd", "min": {"cpu": "2"}}),
            &["spec.limits[0].type: Invalid value: \"Odd\": must be a standard limit type or fully qualified"],
        );
        check(
            json!({"type": "PersistentVolumeClaim"}),
            &[
                "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
            ],
        );
    }
}
