use super::*;

fn pairs(text: &str) -> Vec<(String, String)> {
    parse(text).expect("good properties").into_iter().collect()
}

fn one(text: &str) -> (String, String) {
    let mut pairs = pairs(text);
    assert_eq!(pairs.len(), 1, "{pairs:?}");
    pairs.remove(0)
}

#[test]
fn every_way_of_writing_a_pair_is_read() {
    for line in
        ["a=b c", "a = b c", "  a:b c", "a : b c", "a b c", "a\tb c", "a=b c\r\n", "#x\n!y=z\n\n\na=b c"]
    {
        assert_eq!(one(line), ("a".to_owned(), "b c".to_owned()), "{line:?}");
    }
    assert_eq!(one("a"), ("a".to_owned(), String::new()));
    assert_eq!(one("a="), ("a".to_owned(), String::new()));
    assert_eq!(one("a==b"), ("a".to_owned(), "=b".to_owned()));
    // As in Java, blanks at the end are part of the value.
    assert_eq!(one("a=b "), ("a".to_owned(), "b ".to_owned()));
}

#[test]
fn a_value_goes_on_after_a_backslash() {
    assert_eq!(one("a=b \\\n   c\\\n# d").1, "b c# d");
    assert_eq!(one("a=b\\\\\n").1, "b\\");
    assert_eq!(one("a=b\\").1, "b");
    assert_eq!(pairs("# comment \\\na=b").len(), 1);
}

#[test]
fn escapes_mean_what_they_mean_in_java() {
    assert_eq!(one(r"a\=\:\ b=c\td\ne\\\q").0, "a=: b");
    assert_eq!(one(r"a\=\:\ b=c\td\ne\\\q").1, "c\td\ne\\q");
    assert_eq!(one(r"a=\u00e4\ud83d\ude00ö").1, "ä😀ö");
    assert!(parse("a=1\nb=\\u12").is_err_and(|why| why.starts_with("line 2: ")));
    assert!(parse("a=\\ud83d").is_err());
    assert!(parse("a=\\u00ä4").is_err());
}

#[test]
fn the_last_one_counts() {
    assert_eq!(one("a=1\na=2").1, "2");
}
