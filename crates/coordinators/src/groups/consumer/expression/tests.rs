use super::*;

/// As in `Golden.java`.
const NAMES: [&str; 29] = [
    "a", "b", "ab", "aab", "abc", "A", "B", "AB", "k", "s", "0", "9", "_", "-", ".", "a.b", "a-b", "a_b",
    "E", "Q", "aa", "aaa", "0a", "ba", "a0", "x-a", "rx.c-7", "n", "t",
];

#[test]
fn kafka_44_expressions_are_those_of_re2j() {
    let mut wrong = Vec::new();
    for line in include_str!("re2j-1.8.txt").lines() {
        let (expected, expression) = line.split_once('\t').unwrap();
        let ours = match Expression::new(expression) {
            Ok(expression) => NAMES.map(|name| if expression.is_match(name) { "1" } else { "0" }).concat(),
            Err(_) => "error".to_string(),
        };
        if ours != expected {
            wrong.push(format!("{expression}\n  re2j {expected}\n  ours {ours}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_refusal_says_what_is_wrong_and_where() {
    for (expression, why) in [
        ("rx-(", "missing closing ): `(` at character 4"),
        ("é-(a|b", "missing closing ): `(a|b` at character 3"),
        ("zz)|(?:a", "unexpected ): `)` at character 3"),
        ("(?!a)b", "invalid or unsupported Perl syntax: `(?!` at character 1"),
        ("a{1,2000}", "invalid repeat count: `{1,2000}` at character 2"),
        ("ab**", "invalid nested repetition operator: `**` at character 3"),
        ("a|*", "missing argument to repetition operator: `*` at character 3"),
        ("[a", "missing closing ]: `[a` at character 1"),
        ("x[b-a]", "invalid character class range: `b-a` at character 3"),
        ("x[[:foo:]]", "invalid character class range: `[:foo:]` at character 3"),
        (r"\p{latin}", r"invalid character class range: `\p{latin}` at character 1"),
        (r"a\1", r"invalid escape sequence: `\1` at character 2"),
        (r"a\", r"trailing backslash at end of expression: `\` at character 2"),
        ("(?P<a>.)(?P<a>.)", "duplicate capture group name: `(?P<a>` at character 9"),
        ("(?P<a b>.)", "invalid named capture: `(?P<a b>` at character 1"),
    ] {
        let refused = Expression::new(expression).map(drop).unwrap_err();
        assert_eq!(refused.to_string(), why, "{expression}");
    }
}

#[test]
fn what_costs_too_much_is_refused() {
    let deep = |depth| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Expression::new(&deep(100)).is_ok_and(|expression| expression.is_match("a")));
    for expression in [
        deep(1000),
        format!("a{}", r"*\Q\E".repeat(1000)),
        "((a{1000}){1000}){1000}".to_string(),
        "a".repeat(LENGTH_MAX + 1),
    ] {
        let refused = Expression::new(&expression).map(drop).unwrap_err().to_string();
        assert!(refused.len() < 600, "{refused}");
    }
    // Names are ASCII: a class with hundreds of ranges keeps few.
    assert!(Expression::new(&r"\pL?".repeat(1000)).is_ok_and(|expression| expression.is_match("topic")));
}
