//! Why a verb failed, and the words kubectl has for it.
//!
//! # Invariants
//! - A failure is printed once, on standard error, and makes the exit code 1.

use std::fmt::Write as _;

use serde_json::Value;

/// Why a verb failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server answered with a Status.
    Status(Box<Value>),
    /// The server could not be reached, or did not speak as expected.
    Connection(String),
    /// Anything else; printed after `error: `.
    Message(String),
    /// Printed as it is.
    Bare(String),
    /// Several at once.
    Many(Vec<Failure>),
    /// The same with an exit code of its own.
    Coded(Box<Failure>, u8),
    /// What is to say has been said.
    Silent,
}

/// What verbs return.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// A failure with this message.
pub(crate) fn message<T>(text: impl Into<String>) -> Result<T> {
    Err(Failure::Message(text.into()))
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Message(text)
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self::Message(text.to_owned())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Message(error.to_string())
    }
}

impl Failure {
    /// The Status' reason, such as `NotFound`.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Status(status) => status["reason"].as_str().unwrap_or_default(),
            _ => "",
        }
    }

    /// Whether the server said that the object is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        self.reason() == "NotFound"
    }

    /// The same failure, told with what was being done to what was read from `source`.
    pub(crate) fn during(self, doing: &str, source: Option<&str>) -> Self {
        let Some(source) = source else { return self };
        match self {
            Self::Status(mut status) => {
                let text = status["message"].as_str().unwrap_or_default();
                status["message"] = format!("error when {doing} {source:?}: {text}").into();
                Self::Status(status)
            }
            Self::Message(text) => Self::Message(format!("error when {doing} {source:?}: {text}")),
            other => other,
        }
    }

    /// One failure of many; none for none.
    pub(crate) fn of(mut failures: Vec<Self>) -> Result<()> {
        match failures.pop() {
            None => Ok(()),
            Some(only) if failures.is_empty() => Err(only),
            Some(last) => {
                failures.push(last);
                Err(Self::Many(failures))
            }
        }
    }

    /// What is printed; ends without a newline.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Status(status) => status_text(status),
            Self::Connection(text) | Self::Bare(text) => text.clone(),
            Self::Message(text) if text.starts_with("error: ") => text.clone(),
            Self::Message(text) => format!("error: {text}"),
            Self::Many(all) => all.iter().map(Self::line).collect::<Vec<_>>().join("\n"),
            Self::Coded(failure, _) => failure.text(),
            Self::Silent => String::new(),
        }
    }

    /// The exit code of the process.
    pub(crate) fn code(&self) -> u8 {
        if let Self::Coded(_, code) = self { *code } else { 1 }
    }

    /// The failure as one of several.
    fn line(&self) -> String {
        match self {
            // In a list kubectl tells an invalid object by the server's message.
            Self::Status(status) => server_text(status),
            other => other.text(),
        }
    }
}

fn status_text(status: &Value) -> String {
    if status["reason"] != "Invalid" {
        return server_text(status);
    }
    let message = status["message"].as_str().unwrap_or_default();
    let details = &status["details"];
    let Some(details) = details.as_object() else {
        return if message.is_empty() {
            "The request is invalid".into()
        } else {
            format!("The request is invalid: {message}")
        };
    };
    let word = |name: &str| details.get(name).and_then(Value::as_str).unwrap_or_default();
    let causes = details.get("causes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut text = if word("kind").is_empty() && word("name").is_empty() {
        let mut text = "The request is invalid".to_owned();
        if causes.is_empty() && !message.is_empty() {
            let _ = write!(text, ": {message}");
        }
        text
    } else {
        format!("The {} {:?} is invalid", word("kind"), word("name"))
    };
    let mut lines: Vec<String> = Vec::new();
    for cause in causes {
        let part = |name: &str| cause[name].as_str().unwrap_or_default();
        let line = format!("{}: {}", part("field"), part("message"));
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    match lines.as_slice() {
        [] => {}
        [only] => {
            let _ = write!(text, ": {only}");
        }
        many => {
            let _ = write!(text, ": ");
            for line in many {
                let _ = write!(text, "\n* {line}");
            }
        }
    }
    text
}

fn server_text(status: &Value) -> String {
    let message = status["message"].as_str().unwrap_or_default();
    match status["reason"].as_str().unwrap_or_default() {
        "Unauthorized" => format!("error: You must be logged in to the server ({message})"),
        "" => format!("Error from server: {message}"),
        reason => format!("Error from server ({reason}): {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn speaks_as_kubectl_does() {
        let cause = |field: &str, message: &str| json!({"field": field, "message": message});
        let invalid = |causes: Vec<Value>| json!({"reason": "Invalid", "message": "m", "details": {"kind": "DaemonSet", "name": "x", "causes": causes}});
        let cases = [
            (
                json!({"reason": "NotFound", "message": "nodes \"nope\" not found"}),
                "Error from server (NotFound): nodes \"nope\" not found",
            ),
            (json!({"reason": "", "message": "odd"}), "Error from server: odd"),
            (
                json!({"reason": "Unauthorized", "message": "Unauthorized"}),
                "error: You must be logged in to the server (Unauthorized)",
            ),
            (invalid(vec![cause("a", "b")]), "The DaemonSet \"x\" is invalid: a: b"),
            (
                invalid(vec![cause("a", "b"), cause("c", "d"), cause("a", "b")]),
                "The DaemonSet \"x\" is invalid: \n* a: b\n* c: d",
            ),
            (json!({"reason": "Invalid", "message": "m", "details": {}}), "The request is invalid: m"),
            (json!({"reason": "Invalid", "message": "m"}), "The request is invalid: m"),
        ];
        for (status, want) in cases {
            assert_eq!(Failure::Status(Box::new(status)).text(), want);
        }
    }

    #[test]
    fn names_what_was_being_done() {
        let status = json!({"reason": "AlreadyExists", "message": "it exists"});
        let failure = Failure::Status(Box::new(status)).during("creating", Some("a.yaml"));
        assert_eq!(failure.text(), "Error from server (AlreadyExists): error when creating \"a.yaml\": it exists");
        assert_eq!(Failure::from("no").during("creating", None).text(), "error: no");
        let many = Failure::of(vec!["a".into(), Failure::Connection("b".into())]).unwrap_err();
        assert_eq!(many.text(), "error: a\nb");
        assert!(Failure::of(Vec::new()).is_ok());
    }
}
