//! The rules of `x-kubernetes-validations`, evaluated.
//!
//! Invariants: all rules of one object share one budget; a rule about a change holds where there was nothing before; what
//! did not change is not held against an update.
//! Absent: expressions themselves (`cel`).

use serde_json::Value;

use super::schema::{Schema, Validation};
use crate::cel::{Budget, Fault, Program, Val, from_json};
use crate::schema::ListType;
use crate::validate::{ErrorType, FieldError, Path};

/// The longest message that an expression may make, in bytes: Kubernetes' figure.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// The rules that an object breaks; none are looked at when `others` show that it is not what they were written for.
pub(super) fn broken(new: &Value, old: Option<&Value>, schema: &Schema, others: &[FieldError]) -> Vec<FieldError> {
    if !schema.has_validations {
        return Vec::new();
    }
    if others.iter().any(is_blocking) {
        let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to \
             complete validation";
        return vec![FieldError::invalid(&Path::none(), Value::Null, detail)];
    }
    let mut checker = Checker { budget: Budget::default(), errors: Vec::new() };
    checker.place(&Path::none(), new, old, schema);
    checker.errors
}

/// Whether an error is one after which rules are not evaluated.
fn is_blocking(error: &FieldError) -> bool {
    matches!(
        error.kind,
        ErrorType::NotSupported
            | ErrorType::Required
            | ErrorType::TooLong
            | ErrorType::TooMany
            | ErrorType::TypeInvalid
    )
}

/// What keeps the rules of a schema from being evaluated, told when they are written.
pub(super) fn faults(path: &Path, schema: &Schema) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (at, rule) in schema.validations.iter().enumerate().filter(|(_, rule)| !rule.rule.is_empty()) {
        let path = path.child("x-kubernetes-validations").index(at);
        let check = |program: &Result<Program, String>| match program {
            Ok(program) => program.undeclared(schema),
            Err(why) => Some(why.clone()),
        };
        if let Some(why) = check(&rule.program) {
            let detail = format!("compilation failed: ERROR: <input>:1:1: {why}");
            errors.push(FieldError::invalid(&path.child("rule"), rule.rule.as_str(), detail));
        }
        if let Some(why) = rule.message_expression.as_ref().and_then(check) {
            let detail = format!("messageExpression compilation failed: ERROR: <input>:1:1: {why}");
            errors.push(FieldError::invalid(&path.child("messageExpression"), rule.rule.as_str(), detail));
        }
        if rule.optional_old_self && !rule.uses_old_self {
            let detail = "may not be set if oldSelf is not used in rule";
            errors.push(FieldError::invalid(&path.child("optionalOldSelf"), true, detail));
        }
    }
    for (name, property) in &schema.properties {
        errors.extend(faults(&path.child("properties").key(name), property));
    }
    if let Some(items) = &schema.items {
        errors.extend(faults(&path.child("items"), items));
    }
    if let Some(additional) = schema.additional.as_ref().and_then(|additional| additional.schema()) {
        errors.extend(faults(&path.child("additionalProperties"), additional));
    }
    errors
}

struct Checker {
    budget: Budget,
    errors: Vec<FieldError>,
}

impl Checker {
    fn place(&mut self, path: &Path, new: &Value, old: Option<&Value>, schema: &Schema) {
        if !schema.has_validations || new.is_null() {
            return;
        }
        for rule in &schema.validations {
            if self.budget.is_empty() {
                return;
            }
            self.rule(path, new, old.filter(|old| !old.is_null()), schema, rule);
        }
        match new {
            Value::Array(items) => {
                let Some(below) = &schema.items else { return };
                let is_keyed = schema.list_type == Some(ListType::Map);
                for (at, item) in items.iter().enumerate() {
                    let is_same = |there: &&Value| schema.list_keys.iter().all(|key| there.get(key) == item.get(key));
                    let before = old.and_then(Value::as_array).filter(|_| is_keyed);
                    self.place(&path.index(at), item, before.and_then(|old| old.iter().find(is_same)), below);
                }
            }
            Value::Object(map) => {
                for (name, value) in map {
                    let before = old.and_then(|old| old.get(name));
                    match schema.properties.get(name) {
                        Some(below) => self.place(&path.child(name), value, before, below),
                        None => {
                            if let Some(below) = schema.field(name) {
                                self.place(&path.key(name), value, before, below);
                            }
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn rule(&mut self, path: &Path, new: &Value, old: Option<&Value>, schema: &Schema, rule: &Validation) {
        let shown = rule_shown(rule);
        let ty = schema.ty.as_str();
        let program = match &rule.program {
            Ok(program) => program,
            Err(why) => {
                self.errors.push(FieldError::invalid(path, ty, format!("rule compile error: {why}")));
                return;
            }
        };
        if rule.uses_old_self && old.is_none() && !rule.optional_old_self {
            return;
        }
        let before = match (rule.optional_old_self, old) {
            (true, Some(old)) => Val::some(from_json(old, Some(schema))),
            (true, None) => Val::Optional(None),
            (false, Some(old)) => from_json(old, Some(schema)),
            (false, None) => Val::Null,
        };
        let variables = [("self", from_json(new, Some(schema))), ("oldSelf", before)];
        let outcome = self.eval(program, &variables);
        let fault = match outcome {
            Ok(Val::Bool(true)) => return,
            Ok(_) => None,
            Err(fault) => Some(fault),
        };
        let detail = match fault {
            None => {
                if !rule.uses_old_self && old == Some(new) {
                    return;
                }
                let own = rule.message_expression.as_ref().and_then(|message| self.message(message, &variables));
                let detail = own.unwrap_or_else(|| match rule.message.is_empty() {
                    true => format!("failed rule: {}", rule.rule),
                    false => rule.message.clone(),
                });
                self.errors.push(told(path, new, schema, rule, detail));
                return;
            }
            Some(Fault::OverBudget) if self.budget.is_empty() => {
                "validation failed due to running out of cost budget, no further validation rules will be run"
                    .to_owned()
            }
            Some(fault @ Fault::OverBudget) => {
                format!(
                    "'{fault}': no further validation rules will be run due to call cost exceeds limit for rule: {shown}"
                )
            }
            Some(fault @ Fault::NoOverload) => format!(
                "'{fault}': call arguments did not match a supported operator, function or macro signature for rule: {shown}"
            ),
            Some(fault) => format!("{fault} evaluating rule: {shown}"),
        };
        self.errors.push(FieldError::invalid(path, ty, detail));
    }

    fn eval<'a>(&mut self, program: &'a Program, variables: &[(&'a str, Val<'a>)]) -> Result<Val<'a>, Fault> {
        let mut call = self.budget.of_call();
        let outcome = program.eval(variables, &mut call);
        self.budget.settle(&call);
        outcome
    }

    /// The message that an expression makes; none when it makes none that can be shown.
    fn message<'a>(
        &mut self,
        program: &'a Result<Program, String>,
        variables: &[(&'a str, Val<'a>)],
    ) -> Option<String> {
        match self.eval(program.as_ref().ok()?, variables) {
            Ok(Val::Text(text)) => {
                let text = text.trim();
                let is_fine = !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains(['\n', '\r']);
                is_fine.then(|| text.to_owned())
            }
            _ => None,
        }
    }
}

fn rule_shown(rule: &Validation) -> &str {
    if rule.message.is_empty() { &rule.rule } else { &rule.message }
}

/// A broken rule, at the field and with the reason that it names.
fn told(path: &Path, value: &Value, schema: &Schema, rule: &Validation, detail: String) -> FieldError {
    let steps = rule.field_path.trim_start_matches('.').replace("['", ".").replace("']", "");
    let path = steps.split('.').filter(|step| !step.is_empty()).fold(path.clone(), |path, step| path.child(step));
    let is_large = matches!(schema.ty.as_str(), "object" | "array");
    match rule.reason.as_str() {
        "FieldValueRequired" => FieldError::required(&path, detail),
        "FieldValueForbidden" => FieldError::forbidden(&path, detail),
        "FieldValueDuplicate" => FieldError { detail, ..FieldError::duplicate(&path, value.clone()) },
        _ if is_large => {
            FieldError { kind: ErrorType::InvalidUnshown, ..FieldError::invalid(&path, Value::Null, detail) }
        }
        _ => FieldError::invalid(&path, value.clone(), detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(rules: Value, new: Value, old: Option<Value>, want: &[&str]) {
        let schema = Schema::compile(&json!({"type": "object", "properties": {"spec": {"type": "object",
            "x-kubernetes-validations": rules, "properties": {"n": {"type": "integer"}, "max": {"type": "integer"}}}}}));
        let found = broken(&json!({ "spec": new }), old.map(|old| json!({ "spec": old })).as_ref(), &schema, &[]);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, want);
    }

    #[test]
    fn rules_hold_or_say_why_not() {
        let rule = json!([{"rule": "self.n <= self.max", "message": "n must not exceed max"}]);
        check(rule.clone(), json!({"n": 1, "max": 2}), None, &[]);
        check(rule.clone(), json!({"n": 3, "max": 2}), None, &["spec: Invalid value: n must not exceed max"]);
        check(
            rule.clone(),
            json!({"n": 3}),
            None,
            &["spec: Invalid value: \"object\": no such key: max evaluating rule: n must not exceed max"],
        );
        check(rule, json!({"n": 3, "max": 2}), Some(json!({"n": 3, "max": 2})), &[]);
        let with_message = json!([{"rule": "self.n < 5", "messageExpression": "'n is ' + string(self.n)",
            "reason": "FieldValueForbidden", "fieldPath": ".n"}]);
        check(with_message, json!({"n": 7}), None, &["spec.n: Forbidden: n is 7"]);
        let change = json!([{"rule": "self.n >= oldSelf.n"}]);
        check(change.clone(), json!({"n": 1}), None, &[]);
        check(
            change,
            json!({"n": 1}),
            Some(json!({"n": 2})),
            &["spec: Invalid value: failed rule: self.n >= oldSelf.n"],
        );
        let optional = json!([{"rule": "oldSelf.hasValue() || self.n == 0", "optionalOldSelf": true}]);
        check(
            optional,
            json!({"n": 1}),
            None,
            &["spec: Invalid value: failed rule: oldSelf.hasValue() || self.n == 0"],
        );
    }

    #[test]
    fn rules_are_checked_when_they_are_written() {
        let of = |rule: &str| {
            let schema = Schema::compile(&json!({"type": "object", "properties": {"a": {"type": "string"}},
                "x-kubernetes-validations": [{"rule": rule}]}));
            faults(&Path::root("s"), &schema).first().map(|error| error.detail.clone()).unwrap_or_default()
        };
        assert_eq!(of("has(self.a)"), "");
        assert!(of("has(self.z)").ends_with("undefined field 'z'"));
        assert!(of("self = 42").contains("Syntax error"));
        assert!(of("other == 1").contains("undeclared reference to 'other'"));
    }
}
