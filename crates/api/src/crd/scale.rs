//! Where a custom object keeps its number of replicas.
//!
//! Invariants: paths lead through objects only.
//! Absent: the Scale object.

use serde_json::{Value, json};

use crate::validate::{FieldError, Path};

/// The paths of a scale subresource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    spec: String,
    status: String,
    selector: Option<String>,
}

/// Why an object has no scale.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScaleError {
    /// The field is not there.
    #[error("the spec replicas field {} does not exist", crate::quote::quoted(.0))]
    Missing(String),
    /// A field holds something else.
    #[error("{0}")]
    Wrong(String),
}

impl Scale {
    /// Reads the subresource; none when there is none.
    pub(super) fn read(json: &Value) -> Option<Scale> {
        let text = |key: &str| json[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let spec = text("specReplicasPath")?;
        Some(Scale {
            spec,
            status: text("statusReplicasPath").unwrap_or_default(),
            selector: text("labelSelectorPath"),
        })
    }

    /// The path of the replicas, as managed fields name it.
    pub fn replicas_path(&self) -> &str {
        self.spec.trim_start_matches('.')
    }

    /// The replicas that an object wants, none when it does not say.
    ///
    /// # Errors
    /// What else stands there.
    pub fn replicas(&self, object: &Value) -> Result<Option<i64>, ScaleError> {
        number(object, &self.spec)
    }

    /// The replicas that an object has.
    ///
    /// # Errors
    /// What else stands there.
    pub fn current(&self, object: &Value) -> Result<i64, ScaleError> {
        Ok(number(object, &self.status)?.unwrap_or(0))
    }

    /// The selector of its pods; empty when it does not say.
    ///
    /// # Errors
    /// What else stands there.
    pub fn selector(&self, object: &Value) -> Result<String, ScaleError> {
        let Some(path) = &self.selector else { return Ok(String::new()) };
        match lookup(object, path) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(wrong(path, other, "string")),
        }
    }

    /// Why an object without replicas has no scale.
    pub fn missing(&self) -> ScaleError {
        ScaleError::Missing(self.spec.clone())
    }

    /// Sets the replicas that an object wants.
    pub fn set(&self, object: &mut Value, replicas: i64) {
        let mut place = object;
        for step in steps(&self.spec) {
            if !place.is_object() {
                *place = json!({});
            }
            place = &mut place[step];
        }
        *place = replicas.into();
    }

    /// What is wrong with the fields; those of the status alone when only it is written.
    pub(super) fn broken(&self, object: &Value, is_status: bool) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if !is_status {
            count(&self.spec, self.replicas(object), &mut errors);
        }
        count(&self.status, self.current(object).map(Some), &mut errors);
        if let (Some(path), Err(error)) = (&self.selector, self.selector(object)) {
            errors.push(FieldError::invalid(&Path::root(path), "", error.to_string()));
        }
        errors
    }
}

fn count(path: &str, found: Result<Option<i64>, ScaleError>, errors: &mut Vec<FieldError>) {
    let field = Path::root(path);
    match found {
        Err(error) => errors.push(FieldError::invalid(&field, 0, error.to_string())),
        Ok(Some(number)) if number < 0 => {
            errors.push(FieldError::invalid(&field, number, "should be a non-negative integer"));
        }
        Ok(Some(number)) if number > i64::from(i32::MAX) => {
            let detail = format!("should be less than or equal to {}", i32::MAX);
            errors.push(FieldError::invalid(&field, number, detail));
        }
        Ok(_) => {}
    }
}

fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.trim_start_matches('.').split('.')
}

fn lookup<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    steps(path).try_fold(object, |value, step| value.get(step))
}

fn number(object: &Value, path: &str) -> Result<Option<i64>, ScaleError> {
    match lookup(object, path) {
        None => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or_else(|| wrong(path, value, "int64")),
    }
}

fn wrong(path: &str, value: &Value, expected: &str) -> ScaleError {
    let found = match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let path = path.trim_start_matches('.');
    ScaleError::Wrong(format!(".{path} accessor error: {shown} is of the type {found}, expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_where_the_definition_says() {
        let scale = Scale::read(&json!({"specReplicasPath": ".spec.size.n", "statusReplicasPath": ".status.n",
            "labelSelectorPath": ".status.sel"}))
        .expect("a scale");
        let mut object = json!({"spec": {}, "status": {"n": 2, "sel": "a=b"}});
        assert_eq!(scale.replicas(&object), Ok(None));
        scale.set(&mut object, 5);
        assert_eq!((scale.replicas(&object), scale.current(&object)), (Ok(Some(5)), Ok(2)));
        assert_eq!(scale.selector(&object).as_deref(), Ok("a=b"));
        object["spec"]["size"]["n"] = json!(-1);
        let errors: Vec<String> = scale.broken(&object, false).iter().map(ToString::to_string).collect();
        assert_eq!(errors, [".spec.size.n: Invalid value: -1: should be a non-negative integer"]);
        object["spec"]["size"]["n"] = json!("x");
        let wrong = scale.replicas(&object).expect_err("no number").to_string();
        assert_eq!(wrong, ".spec.size.n accessor error: x is of the type string, expected int64");
    }
}
