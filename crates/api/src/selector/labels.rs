//! Label selectors: the text of `?labelSelector=`, and `metav1.LabelSelector` of objects.
//!
//! Invariants: requirements are sorted by key; all of them must hold.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;
use serde_json::Value;

use crate::quote::quoted;
use crate::validate::content::{label_key, label_value};
use crate::validate::{FieldError, Path, aggregate};

use super::{SelectorError, parser};

/// How a requirement relates a key to its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `key=value`
    Equals,
    /// `key==value`
    DoubleEquals,
    /// `key!=value`, also without the key
    NotEquals,
    /// `key in (a,b)`
    In,
    /// `key notin (a,b)`, also without the key
    NotIn,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
    /// `key>5`
    GreaterThan,
    /// `key<5`
    LessThan,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

impl Requirement {
    /// A checked requirement; `path` says where it stands for the error.
    ///
    /// # Errors
    /// The key, a value or the number of values is not what the operator needs.
    pub fn new(key: &str, operator: Operator, values: Vec<String>, path: &Path) -> Result<Self, SelectorError> {
        let mut errors = Vec::new();
        let words = label_key(key);
        if !words.is_empty() {
            errors.push(FieldError::invalid(&path.child("key"), key, words.join("; ")));
        }
        let values_path = path.child("values");
        let shown = || Value::from(values.clone());
        let wrong_number = match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                Some("for 'in', 'notin' operators, values set can't be empty")
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                Some("exact-match compatibility requires one single value")
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                Some("values set must be empty for exists and does not exist")
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                Some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
            _ => None,
        };
        errors.extend(wrong_number.map(|detail| FieldError::invalid(&values_path, shown(), detail)));
        if matches!(operator, Operator::GreaterThan | Operator::LessThan) {
            for (i, value) in values.iter().enumerate().filter(|(_, value)| value.parse::<i64>().is_err()) {
                let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                errors.push(FieldError::invalid(&values_path.index(i), value.as_str(), detail));
            }
        }
        for (i, value) in values.iter().enumerate() {
            let words = label_value(value);
            if !words.is_empty() {
                let at = values_path.index(i).key(key);
                errors.push(FieldError::invalid(&at, value.as_str(), words.join("; ")));
            }
        }
        if errors.is_empty() {
            Ok(Self { key: key.to_owned(), operator, values })
        } else {
            Err(SelectorError(aggregate(&errors)))
        }
    }

    /// The label's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How the key relates to the values.
    #[must_use]
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// The values as given.
    #[must_use]
    pub fn values(&self) -> &[String] {
        &self.values
    }

    fn holds(&self, label: Option<&str>) -> bool {
        let listed = |label: &str| self.values.iter().any(|value| value == label);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => label.is_some_and(listed),
            Operator::NotIn | Operator::NotEquals => !label.is_some_and(listed),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let numbers = label.and_then(|l| l.parse::<i64>().ok()).zip(self.values.first());
                let numbers = numbers.and_then(|(l, v)| Some((l, v.parse::<i64>().ok()?)));
                numbers.is_some_and(|(l, v)| if self.operator == Operator::GreaterThan { l > v } else { l < v })
            }
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut values = self.values.clone();
        values.sort();
        let (key, values) = (&self.key, values.join(","));
        match self.operator {
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

/// A label selector: all its requirements must hold; without any it selects everything, and
/// [`Labels::nothing`] selects nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    requirements: Option<Vec<Requirement>>,
}

impl Labels {
    /// Selects everything.
    #[must_use]
    pub fn everything() -> Self {
        Self { requirements: Some(Vec::new()) }
    }

    /// Selects nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self { requirements: None }
    }

    /// Reads the text of a `labelSelector` parameter; an empty text selects everything.
    ///
    /// # Errors
    /// The text is not a selector.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parser::parse(text).map(Self::of)
    }

    /// A selector of these requirements.
    #[must_use]
    pub fn of(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements: Some(requirements) }
    }

    /// Selects what carries all these labels, which are not checked.
    #[must_use]
    pub fn from_set(set: &BTreeMap<String, String>) -> Self {
        let requirement = |(key, value): (&String, &String)| Requirement {
            key: key.clone(),
            operator: Operator::Equals,
            values: vec![value.clone()],
        };
        Self::of(set.iter().map(requirement).collect())
    }

    /// Reads a `metav1.LabelSelector`: none selects nothing, an empty one everything.
    ///
    /// # Errors
    /// An operator, a key or a value is not allowed.
    pub fn from_label_selector(selector: Option<&LabelSelector>) -> Result<Self, SelectorError> {
        let Some(selector) = selector else { return Ok(Self::nothing()) };
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            requirements.push(Requirement::new(key, Operator::Equals, vec![value.clone()], &Path::none())?);
        }
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError(format!("{} is not a valid label selector operator", quoted(other))));
                }
            };
            let values = expression.values.clone().unwrap_or_default();
            requirements.push(Requirement::new(&expression.key, operator, values, &Path::none())?);
        }
        Ok(Self::of(requirements))
    }

    /// Reads a `metav1.LabelSelector` in JSON form; null selects nothing.
    ///
    /// # Errors
    /// As [`Labels::from_label_selector`], or the JSON is no label selector.
    pub fn from_json(selector: &Value) -> Result<Self, SelectorError> {
        if selector.is_null() {
            return Ok(Self::nothing());
        }
        let selector = LabelSelector::deserialize(selector).map_err(|e| SelectorError(e.to_string()))?;
        Self::from_label_selector(Some(&selector))
    }

    /// Whether an object with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_with(|key| labels.get(key).map(String::as_str))
    }

    /// Whether an object with these labels (a JSON object, or null for none) is selected.
    #[must_use]
    pub fn matches_json(&self, labels: &Value) -> bool {
        self.matches_with(|key| labels.get(key).and_then(Value::as_str))
    }

    /// Whether an object is selected whose labels `label` looks up.
    pub fn matches_with<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.as_ref().is_some_and(|all| all.iter().all(|one| one.holds(label(&one.key))))
    }

    /// Whether it selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether it can never select anything.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.requirements.is_none()
    }

    /// The requirements; none for a selector of nothing.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        self.requirements.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements().iter().enumerate() {
            write!(f, "{}{requirement}", if i > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selects() {
        fn check(selector: &str, labels: Value, expect: bool) {
            let labels_read: BTreeMap<String, String> = serde_json::from_value(labels.clone()).expect("labels");
            let selector_read = Labels::parse(selector).expect(selector);
            assert_eq!(selector_read.matches(&labels_read), expect, "{selector} on {labels}");
            assert_eq!(selector_read.matches_json(&labels), expect, "{selector} on {labels}");
        }
        check("", json!({}), true);
        check("a=b", json!({"a": "b"}), true);
        check("a==b,c", json!({"a": "b"}), false);
        check("a==b,c", json!({"a": "b", "c": ""}), true);
        check("a!=b", json!({}), true);
        check("a!=b", json!({"a": "b"}), false);
        check("a in (b, c)", json!({"a": "c"}), true);
        check("a in ()", json!({"a": ""}), true);
        check("a notin (b)", json!({"a": "b"}), false);
        check("a notin (b)", json!({}), true);
        check("!a", json!({"a": "b"}), false);
        check("a=", json!({"a": ""}), true);
        check("a>5", json!({"a": "6"}), true);
        check("a<5", json!({"a": "6"}), false);
        check("in in (in,notin)", json!({"in": "in"}), true);
    }

    #[test]
    fn texts() {
        fn check(selector: &str, expect: &str) {
            assert_eq!(Labels::parse(selector).expect(selector).to_string(), expect);
        }
        check("z, b in (y,x) ,!c", "b in (x,y),!c,z");
        check("a == b,c!=d,e>1", "a==b,c!=d,e>1");
    }

    #[test]
    fn refused() {
        fn check(selector: &str, expect: &str) {
            assert_eq!(Labels::parse(selector).map_err(|e| e.to_string()), Err(expect.to_owned()), "{selector}");
        }
        check("ssd in true", "unable to parse requirement: found 'true' expected: '('");
        check("a,", "found '', expected: identifier after ','");
        check("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt");
        check("=a", "found '=', expected: !, identifier, or 'end of string'");
        check("a=b c", "found 'c', expected: ',' or 'end of string'");
        check("a in (b", "unable to parse requirement: found '', expected: ',' or ')'");
        check("a in (b=", "unable to parse requirement: found '=', expected: ',' or ')'");
        check("a=(", "unable to parse requirement: found '(', expected: identifier");
        check(
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must \
             be an integer",
        );
        let words = label_key("-a").join("; ");
        check("-a", &format!("unable to parse requirement: <nil>: Invalid value: \"-a\": {words}"));
        let words = label_value("-b").join("; ");
        check("a=-b", &format!("unable to parse requirement: values[0][a]: Invalid value: \"-b\": {words}"));
    }

    #[test]
    fn of_objects() {
        fn check(selector: Value, labels: Value, expect: Result<bool, &str>) {
            let read = Labels::from_json(&selector).map_err(|e| e.to_string());
            let found = read.map(|selector| selector.matches_json(&labels));
            assert_eq!(found, expect.map_err(str::to_owned), "{selector}");
        }
        check(json!(null), json!({}), Ok(false));
        check(json!({}), json!({}), Ok(true));
        check(json!({"matchLabels": {"a": "b"}}), json!({"a": "b"}), Ok(true));
        let expressions = json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]});
        check(expressions, json!({"a": "b"}), Ok(false));
        let odd = json!({"matchExpressions": [{"key": "a", "operator": "Near"}]});
        check(odd, json!({}), Err("\"Near\" is not a valid label selector operator"));
    }
}
