//! The subset of kubectl's JSONPath that templates use: fields, indexes, slices, unions, wildcards, filters, recursive
//! descent, `range`/`end` and quoted text.
//!
//! # Absent
//! Functions; kubectl has none either.

mod eval;
mod parse;

use serde_json::Value;

pub(crate) use parse::Path;

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template(Vec<parse::Node>);

impl Template {
    /// Reads a template such as `{.items[*].metadata.name}`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        parse::template(text).map(Self)
    }

    /// What the template makes of `value`. Fields that are not there give nothing.
    pub(crate) fn render(&self, value: &Value) -> Result<String, String> {
        let mut out = String::new();
        eval::render(&self.0, value, value, &mut out)?;
        Ok(out)
    }
}

/// Reads one path as flags take it: `.a.b`, `a.b`, `{.a.b}` or `{a.b}`.
pub(crate) fn relaxed(text: &str) -> Result<Path, String> {
    let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
    let dotted = if inner.starts_with(['.', '[', '$', '@']) { inner.to_owned() } else { format!(".{inner}") };
    parse::path(&dotted)
}

/// What a path finds.
pub(crate) fn find<'a>(path: &Path, value: &'a Value) -> Result<Vec<&'a Value>, String> {
    eval::find(path, value, value)
}

/// A value as it is printed: text bare, the rest as JSON.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => crate::gojson::compact(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample() -> Value {
        json!({
            "kind": "List",
            "items": [
                {"metadata": {"name": "a", "labels": {"app.kubernetes.io/name": "x"}}, "n": 1, "ready": true, "tags": ["p", "q"]},
                {"metadata": {"name": "b"}, "n": 2.5, "ready": false, "tags": ["r"], "spec": {"node": "n-1"}},
            ],
            "empty": null,
        })
    }

    #[test]
    fn renders_as_kubectl_does() {
        let cases = [
            ("{.kind}", "List"),
            ("{$.kind}", "List"),
            ("kind: {.kind}{\"\\n\"}", "kind: List\n"),
            ("{.items[*].metadata.name}", "a b"),
            ("{.items[0].metadata.name}{.items[-1].metadata.name}", "ab"),
            ("{.items[0:1].metadata.name}", "a"),
            ("{.items[0,1].n}", "1 2.5"),
            ("{.items[*].n}", "1 2.5"),
            ("{.items[*]['n','ready']}", "1 true 2.5 false"),
            ("{.items[0].metadata.labels.app\\.kubernetes\\.io/name}", "x"),
            ("{.items[0].metadata.labels['app\\.kubernetes\\.io/name']}", "x"),
            ("{range .items[*]}{.metadata.name}={.n};{end}", "a=1;b=2.5;"),
            ("{range .items[*]}{.metadata.name}:{range .tags[*]}[{@}]{end} {end}", "a:[p][q] b:[r] "),
            ("{.items[?(@.n>1)].metadata.name}", "b"),
            ("{.items[?(@.metadata.name==\"a\")].n}", "1"),
            ("{.items[?(@.metadata.name!='a')].n}", "2.5"),
            ("{.items[?(@.ready==true)].n}", "1"),
            ("{.items[?(@.spec)].metadata.name}", "b"),
            ("{.items[?(@.spec.node)].metadata.name}", "b"),
            ("{..name}", "a b"),
            ("{.items[0].tags}", "[\"p\",\"q\"]"),
            ("{.items[0].metadata.labels}", "{\"app.kubernetes.io/name\":\"x\"}"),
            ("{.nope.deeper}", ""),
            ("{.items[7].n}", ""),
            ("{.empty}", ""),
            ("{.items[*].metadata.*}", "{\"app.kubernetes.io/name\":\"x\"} a b"),
            ("{'{'}{.kind}{'}'}", "{List}"),
        ];
        for (template, want) in cases {
            let got = Template::parse(template).and_then(|t| t.render(&sample()));
            assert_eq!(got.as_deref(), Ok(want), "{template}");
        }
    }

    #[test]
    fn refuses_what_it_can_not_read() {
        for template in ["{.a", "{range .a}", "{end}", "{.a[}", "{.a[x]}", "{.a[?(@.b==)]}", "{\"a}", "{.a[?(.b]}"] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
    }

    #[test]
    fn reads_paths_of_flags() {
        for text in [".items[1].n", "items[1].n", "{.items[1].n}", "{items[1].n}"] {
            let path = relaxed(text).unwrap();
            assert_eq!(find(&path, &sample()).unwrap(), [&json!(2.5)], "{text}");
        }
    }
}
