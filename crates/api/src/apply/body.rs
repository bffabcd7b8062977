//! The body of an apply: YAML, of which JSON is a part.
//!
//! Invariants: worded as a kube-apiserver words it.
//! Absent: what the configuration says.

use serde_json::Value;

use crate::decode::FieldValidation;
use crate::status::{self, Status};
use crate::validate::{FieldError, Path};
use crate::yaml;

/// A configuration as it came.
#[derive(Debug)]
pub struct Configuration {
    /// The object that it describes.
    pub value: Value,
    /// Keys that stand in it twice, as one text; none when there are no such keys.
    repeated: Option<String>,
}

impl Configuration {
    /// Reads a body.
    ///
    /// # Errors
    /// 400 for what is no YAML or no object.
    pub fn read(body: &[u8]) -> Result<Configuration, Status> {
        let undecodable = |why: String| status::bad_request(format!("error decoding YAML: {why}"));
        let text = String::from_utf8_lossy(body);
        let document =
            yaml::read_one(&text).map_err(|error| undecodable(format!("error converting YAML to JSON: {error}")))?;
        let found = match &document.value {
            Value::Object(_) => None,
            Value::Array(_) => Some("array"),
            Value::String(_) => Some("string"),
            Value::Number(_) => Some("number"),
            Value::Bool(_) => Some("bool"),
            Value::Null => Some(""),
        };
        if let Some(found) = found.filter(|found| !found.is_empty()) {
            let what = "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal";
            return Err(undecodable(format!("{what} {found} into Go value of type map[string]interface {{}}")));
        }
        let repeated = yaml::unmarshal_errors(&document.duplicates).pop();
        Ok(Configuration { value: document.value, repeated })
    }

    /// What keys that stand twice lead to: texts for `Warning` headers.
    ///
    /// # Errors
    /// 400 under `Strict`.
    pub fn repeated(&self, validation: FieldValidation) -> Result<Vec<String>, Status> {
        let Some(repeated) = self.repeated.as_ref().filter(|_| validation != FieldValidation::Ignore) else {
            return Ok(Vec::new());
        };
        let text = format!("error converting YAML to JSON: {repeated}");
        match validation {
            FieldValidation::Strict => Err(status::bad_request(format!("error strict decoding YAML: {text}"))),
            FieldValidation::Warn | FieldValidation::Ignore => Ok(vec![text]),
        }
    }
}

/// The manager that a `User-Agent` header stands for: what comes before the first slash, as far as it can be printed.
#[must_use]
pub fn manager_of_agent(agent: &str) -> String {
    let first = agent.split('/').next().unwrap_or_default();
    let mut out = String::new();
    for letter in first.chars().filter(|letter| is_printable(*letter)) {
        if out.len() + letter.len_utf8() > MANAGER_BYTES_MAX {
            break;
        }
        out.push(letter);
    }
    out
}

/// The longest name of a manager, as in Kubernetes.
const MANAGER_BYTES_MAX: usize = 128;

/// What is wrong with a `fieldManager` parameter.
#[must_use]
pub fn manager_fault(manager: &str) -> Option<FieldError> {
    let path = Path::root("fieldManager");
    if manager.len() > MANAGER_BYTES_MAX {
        return Some(FieldError::too_long(&path, MANAGER_BYTES_MAX));
    }
    let (place, letter) = manager.char_indices().find(|(_, letter)| !is_printable(*letter))?;
    let code = u32::from(letter);
    Some(FieldError::invalid(&path, manager, format!("invalid character U+{code:04X} (at position {place})")))
}

/// Letters, marks, numbers, punctuation, symbols, and of spaces only the plain one.
fn is_printable(letter: char) -> bool {
    letter == ' ' || !(letter.is_control() || letter.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managers() {
        for (agent, manager) in
            [("kubectl/v1.32.0 (linux/amd64) kubernetes/abc", "kubectl"), ("curl", "curl"), ("", ""), ("a\tb/c", "ab")]
        {
            assert_eq!(manager_of_agent(agent), manager);
        }
        assert_eq!(manager_of_agent(&"é".repeat(100)).len(), 128);
        assert_eq!(manager_fault("a b"), None);
        assert!(manager_fault(&"x".repeat(129)).is_some());
        let fault = "fieldManager: Invalid value: \"a\\n\": invalid character U+000A (at position 1)";
        assert_eq!(manager_fault("a\n").map(|fault| fault.to_string()).as_deref(), Some(fault));
    }

    #[test]
    fn bodies() {
        for (body, message) in [
            ("a: 1", ""),
            ("{\"a\": 1}", ""),
            ("", ""),
            (
                "[]",
                "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type map[string]interface {}",
            ),
        ] {
            let read = Configuration::read(body.as_bytes());
            assert_eq!(read.err().map(|status| status.message().to_owned()).unwrap_or_default(), message, "{body}");
        }
        let twice = Configuration::read(b"a: 1\na: 2\n").expect("YAML");
        assert_eq!(twice.value["a"], 2);
        let text = "error converting YAML to JSON: yaml: unmarshal errors:\n  line 2: key \"a\" already set in map";
        assert_eq!(twice.repeated(FieldValidation::Warn), Ok(vec![text.to_owned()]));
        assert_eq!(twice.repeated(FieldValidation::Ignore), Ok(Vec::new()));
        let refused = twice.repeated(FieldValidation::Strict).expect_err("a refusal");
        assert_eq!(refused.message(), format!("error strict decoding YAML: {text}"));
    }
}
