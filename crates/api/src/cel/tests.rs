use super::*;
use crate::crd::Schema;
use serde_json::{Value, json};

fn check(object: &Value, cases: &[(&str, &str)]) {
    let schema = Schema::compile(&json!({"type": "object", "properties": {
        "when": {"type": "string", "format": "date-time"}, "x-y": {"type": "string"}, "f": {"type": "number"},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "n": {"type": "integer"}, "list": {"type": "array", "items": {"type": "integer"}}, "s": {"type": "string"},
        "map": {"type": "object", "additionalProperties": {"type": "string"}}}}));
    for (text, want) in cases {
        let program = Program::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let variables = [("self", from_json(object, Some(&schema)))];
        let got = match program.eval(&variables, &mut Budget::default()) {
            Ok(value) => functions::shown(&value),
            Err(fault) => format!("! {fault}"),
        };
        assert_eq!(got, *want, "{text}");
    }
}

#[test]
fn expressions_are_worth_what_they_say() {
    let object = json!({"n": 3, "list": [1, 2, 3], "s": "hello", "map": {"a": "b"}, "x-y": "z", "f": 2,
        "set": ["b", "a"], "when": "2024-02-03T04:05:06Z"});
    check(
        &object,
        &[
            ("self.n + 1 == 4 && self.s.startsWith('he')", "true"),
            ("self.n > 5 ? 'big' : 'small'", "small"),
            ("self.list.all(x, x > 0) && self.list.exists(x, x == 2) && self.list.exists_one(x, x > 2)", "true"),
            ("self.list.map(x, x * 2)", "[2, 4, 6]"),
            ("self.list.filter(x, x % 2 == 1).size()", "2"),
            ("has(self.n) && !has(self.missing)", "true"),
            ("self.missing", "! no such key: missing"),
            ("false && self.missing || true", "true"),
            ("self.missing == 1 || true", "true"),
            ("self.map.a + self.map['a']", "bb"),
            ("'a' in self.map && 2 in self.list && !(9 in self.list)", "true"),
            ("self.x__dash__y", "z"),
            ("self.f == 2.0 && type(self.f) == double", "true"),
            ("self.set == ['a', 'b']", "true"),
            ("self.when.getFullYear() == 2024 && self.when > timestamp('2023-01-01T00:00:00Z')", "true"),
            ("duration('1h30m').getMinutes()", "90"),
            ("self.s.matches('^h[a-z]+$') && self.s.size() == 5", "true"),
            ("'a,b'.split(',').join('-') + 'x'.upperAscii()", "a-bX"),
            ("'%s is %d'.format([self.s, self.n])", "hello is 3"),
            ("self.?missing.orValue(7)", "7"),
            ("self.?n.hasValue()", "true"),
            ("quantity('1Gi').isGreaterThan(quantity('500Mi'))", "true"),
            ("cidr('10.0.0.0/8').containsIP('10.1.2.3') && ip('::1').isLoopback()", "true"),
            ("url('https://a.b:8/c?d=e').getHostname()", "a.b"),
            ("[3, 1, 2].sort().isSorted() && [1, 2].sum() == 3 && math.greatest(1, 5, 2) == 5", "true"),
            ("cel.bind(x, self.n * 2, x + x)", "12"),
            ("{'a': 1}.a == 1 && self.map.all(k, k == 'a')", "true"),
            ("1 / 0", "! division by zero"),
            ("9223372036854775807 + 1", "! integer overflow"),
            ("'a' + 1", "! no such overload"),
            ("-(-5) == 5 && !!true && -1 < 0 && 0x10 == 16 && r'\\d' == '\\\\d'", "true"),
        ],
    );
}

#[test]
fn what_is_no_expression_is_refused() {
    for text in ["", "self.", "1 +", "(1", "has(1)", "'abc", "a b", "[1, 2", "x.map(1, 2)", "@"] {
        assert!(Program::parse(text).is_err(), "{text}");
    }
    let deep = format!("{}1{}", "(".repeat(500), ")".repeat(500));
    assert!(Program::parse(&deep).is_err());
    assert!(Program::parse(&"1 + ".repeat(5000)).is_err());
}

#[test]
fn budgets_end_evaluations() {
    let list: Vec<i64> = (0..3000).collect();
    let object = json!({ "list": list });
    check(
        &object,
        &[(
            "self.list.all(a, self.list.all(b, self.list.all(c, true)))",
            "! operation cancelled: actual cost limit exceeded",
        )],
    );
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_an_expression_or_is_refused(text in "[a-z0-9.()\\[\\]{}?:,+*/%<>=!&|'\" -]{0,60}") {
            if let Ok(program) = Program::parse(&text) {
                let object = json!({"a": [1, "b", null], "b": {"c": 1.5}});
                let variables = [("self", from_json(&object, None)), ("a", from_json(&object["a"], None))];
                let _ = program.eval(&variables, &mut Budget::default());
            }
        }
    }
}
