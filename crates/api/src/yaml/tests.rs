use super::*;
use serde_json::json;

fn check(text: &str, expect: Value) {
    match read_documents(text) {
        Ok(documents) => assert_eq!(Value::from(documents), expect, "{text}"),
        Err(error) => panic!("{error}: {text}"),
    }
}

#[test]
fn documents() {
    check("", json!([]));
    check("---\n# nothing\n---\n---\na: 1\n---\n", json!([{"a": 1}]));
    check("a: 1\n---\nb: 2\n...\n---\nc: 3\n", json!([{"a": 1}, {"b": 2}, {"c": 3}]));
    check("--- # the first\na: 1\n--- {b: 2}\n", json!([{"a": 1}, {"b": 2}]));
    check("{\"a\":\t1}\n{\"b\": 2}", json!([{"a": 1}, {"b": 2}]));
    check("{a: 1, b: [x, 'y']}", json!([{"a": 1, "b": ["x", "y"]}]));
    check("# only a comment\n", json!([]));
}

#[test]
fn values() {
    check("a:\nb: ~\nc: ''\nd: !!str\n", json!([{"a": null, "b": null, "c": "", "d": ""}]));
    check(
        "mode: 0644\nhex: 0x1f\nbig: 1_000\nquoted: '0644'",
        json!([{"mode": 420, "hex": 31, "big": 1000, "quoted": "0644"}]),
    );
    check("a: yes\nb: \"yes\"\nc: !!str yes\nd: !!int \"5\"", json!([{"a": true, "b": "yes", "c": "yes", "d": 5}]));
    check("1: a\ntrue: b\n1.5: c\nno: d", json!([{"1": "a", "true": "b", "1.5": "c", "false": "d"}]));
    check("t: 2024-01-31\n", json!([{"t": "2024-01-31"}]));
    check("x: !custom 5\nz: ! 5", json!([{"x": "5", "z": 5}]));
    check("a: !!binary aGVsbG8=", json!([{"a": "hello"}]));
    check(
        "a: |\n  one\n  two\nb: |-\n  one\n\nc: >\n  folded\n  text\n",
        json!([{"a": "one\ntwo\n", "b": "one", "c": "folded text\n"}]),
    );
    check("a: |+\n  one\n\nb: 1", json!([{"a": "one\n\n", "b": 1}]));
    check(
        "a:\n  args: [\n    x, 'y z',\n  ]\n  b: {\n  p: 1\n  }\n",
        json!([{"a": {"args": ["x", "y z"], "b": {"p": 1}}}]),
    );
    check("a: 'one\ntwo'\nb: \"x\\\n  y\"", json!([{"a": "one two", "b": "xy"}]));
    check("args: [--a=b, \"--c\", -d]", json!([{"args": ["--a=b", "--c", "-d"]}]));
    check("- a: 1\n  b: 2\n-\n  - x\n", json!([[{"a": 1, "b": 2}, ["x"]]]));
}

#[test]
fn anchors_and_merges() {
    check("a: &x {p: 1}\nb: *x\n", json!([{"a": {"p": 1}, "b": {"p": 1}}]));
    check(
        "base: &b {p: 1, q: 2}\nuse:\n  <<: *b\n  q: 3\n",
        json!([{"base": {"p": 1, "q": 2}, "use": {"p": 1, "q": 3}}]),
    );
    check(
        "- &a {p: 1, q: 1}\n- &b {q: 2, r: 2}\n- <<: [*a, *b]\n",
        json!([[{"p": 1, "q": 1}, {"q": 2, "r": 2}, {"p": 1, "q": 1, "r": 2}]]),
    );
    check("'<<': 1", json!([{"<<": 1}]));
}

#[test]
fn mistakes_are_named_by_their_line() {
    for (text, message) in [
        ("a: 1\n b: 2\n", "yaml: line 2: "),
        ("a: [1,\nb: 2\n", "yaml: line "),
        ("a:\n\t- b\n", "yaml: line 2: "),
        ("a: *nope\n", "yaml: line 1: "),
        ("a: 1\n? [x]\n: 2\n", "yaml: line 2: invalid map key: only scalars can be keys"),
        ("a: &x [*x]\n", "yaml: line 1: an anchor's value contains itself"),
        ("~: 1\n", "yaml: line 1: a key may not be null: put it in quotes"),
        ("a: .inf\n", "yaml: line 1: .inf is no number that JSON can hold"),
        ("a: !!int x\n", "yaml: line 1: cannot decode !!str `x` as a !!int"),
        ("a: &x [1]\nb:\n  <<: *x\n", "yaml: line 3: map merge requires map or sequence of maps as the value"),
    ] {
        let error = read_documents(text).expect_err(text).to_string();
        assert!(error.starts_with(message), "{text}: {error}");
    }
}

#[test]
fn expansion_and_depth_are_bounded() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let previous = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![previous; 10].join(", ")));
    }
    let error = read_documents(&bomb).expect_err("a bomb");
    assert_eq!(error.what, "document contains excessive aliasing");
    let deep = "[".repeat(200) + &"]".repeat(200);
    assert!(read_documents(&deep).is_err());
}

#[test]
fn repeated_keys_are_reported() {
    let documents = read_all("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n5: x\n5: z\n").expect("reads");
    assert_eq!(documents[0].value, json!({"a": 3, "b": {"c": 2}, "5": "z"}));
    assert_eq!(
        unmarshal_errors(&documents[0].duplicates),
        ["yaml: unmarshal errors:\n  line 4: key \"c\" already set in map\n  line 5: key \"a\" already set in map\n  \
          line 7: key 5 already set in map"]
    );
    assert!(unmarshal_errors(&[]).is_empty());
}

#[test]
fn printing() {
    let long = "word ".repeat(30).trim_end().to_owned();
    for (value, expect) in [
        (json!({}), "{}\n"),
        (json!([]), "[]\n"),
        (json!("a"), "a\n"),
        (json!({"b": [1, {"c": null, "d": []}], "a": {"e": {}}}), "a:\n  e: {}\nb:\n- 1\n- c: null\n  d: []\n"),
        (json!([["x", "y"], [{"a": 1, "b": 2}]]), "- - x\n  - \"y\"\n- - a: 1\n    b: 2\n"),
        (json!({"a10": 1, "a9": 2, "b": 3, "A": 4, "_": 5}), "_: 5\nA: 4\na9: 2\na10: 1\nb: 3\n"),
        (
            json!({"s": "yes", "n": "12", "e": "", "t": "2024-01-31T00:00:00Z"}),
            "e: \"\"\n\"n\": \"12\"\ns: \"yes\"\nt: \"2024-01-31T00:00:00Z\"\n",
        ),
        (
            json!({"a": "x: y", "b": "it's", "c": " lead", "d": "#no", "e": "don't: x"}),
            "a: 'x: y'\nb: it's\nc: ' lead'\nd: '#no'\ne: 'don''t: x'\n",
        ),
        (
            json!({"a": "one\ntwo\n", "b": "one\ntwo", "c": "\n x\n\n"}),
            "a: |\n  one\n  two\nb: |-\n  one\n  two\nc: |2+\n\n   x\n\n",
        ),
        (
            json!({"a": "tab\there", "b": "one \ntwo", "c": "q\"\u{1}"}),
            "a: \"tab\\there\"\nb: \"one \\ntwo\"\nc: \"q\\\"\\x01\"\n",
        ),
        (json!({"f": 1.5, "g": 1234567.5, "h": 1e-7, "i": -3}), "f: 1.5\ng: 1.2345675e+06\nh: 1e-07\ni: -3\n"),
        (
            json!({"k": long}),
            "k: word word word word word word word word word word word word word word word word\n  word word word word word word word word word word word word word word\n",
        ),
    ] {
        let printed = to_yaml(&value);
        assert_eq!(printed, expect, "{value}");
    }
    let key = "k".repeat(129);
    assert_eq!(to_yaml(&json!({key.clone(): {"a": 1}})), format!("? {key}\n: a: 1\n"));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn values() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            "[ -~]{0,12}",
            "[a-z0-9:.#'\"\\-]{0,10}",
            "[a-z \n]{0,20}",
            "(\\PC|\n|\t){0,8}",
            Just("0755".to_owned()),
            Just("word and word ".repeat(12)),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1.0e9..1.0e9f64).prop_map(|value| Value::from(value + 0.25)),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(text.clone(), inner, 0..5)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(value in values()) {
            let printed = to_yaml(&value);
            let read = super::super::read::documents(&printed, 2).map_err(|error| TestCaseError::fail(format!("{error}\n{printed}")))?;
            prop_assert_eq!(&read[0].value, &value, "{}", printed);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(\\PC|[\n\t :,{}&*!|>'\"%@`#?-]){0,60}") {
            let _ = read_documents(&text);
        }
    }
}
