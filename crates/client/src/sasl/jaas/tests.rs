use super::*;

fn parse(line: &str) -> Result<(Module, String, String), String> {
    Login::parse(line).map(|(module, login)| (module, login.username, login.password.0))
}

#[test]
fn the_usual_lines_are_read() {
    let owned = |module, user: &str, password: &str| Ok((module, user.to_owned(), password.to_owned()));
    assert_eq!(
        parse(&format!("{PLAIN} required username=\"alice\" password=\"alice-secret\";")),
        owned(Module::Plain, "alice", "alice-secret")
    );
    assert_eq!(
        parse(&format!("{SCRAM}  REQUIRED\n  username='bob'\n  password = \"a=b; c\" ;")),
        owned(Module::Scram, "bob", "a=b; c")
    );
    assert_eq!(
        parse(&format!("{PLAIN} required password=p.w-d username=carol;")),
        owned(Module::Plain, "carol", "p.w-d")
    );
    assert_eq!(
        parse(&format!(r#"{PLAIN} required username="d" password="q\"\\\101\t'";"#)),
        owned(Module::Plain, "d", "q\"\\A\t'")
    );
}

#[test]
fn a_wrong_line_says_what_is_wrong_and_not_the_password() {
    let wrong = |line: &str, told: &str| {
        let why = parse(line).unwrap_err();
        assert!(why.contains(told) && !why.contains("hush"), "{line}: {why}");
    };
    wrong("", "does not begin with a login module");
    wrong("com.example.KerberosModule required password=\"hush\";", "com.example.KerberosModule");
    wrong(&format!("{SCRAM} username=\"a\" password=\"hush\";"), "required");
    wrong(&format!("{SCRAM} required username=\"a\" password=\"hush\""), "`;`");
    wrong(&format!("{SCRAM} required username=\"a\" password=\"hush;"), "quotation mark");
    wrong(&format!("{SCRAM} required username=\"a\";"), "password=\"…\" is missing");
    wrong(&format!("{SCRAM} required password=\"hush\";"), "username=\"…\" is missing");
    wrong(&format!("{SCRAM} required username password=\"hush\";"), "`username` has no value");
    wrong(&format!("{SCRAM} required username=a password=\"hush\" tokenauth=true;"), "tokenauth");
    wrong(&format!("{SCRAM} required username=a password=\"hush\"; {PLAIN} required;"), "more than one");
}

#[test]
fn a_password_does_not_show_in_logs() {
    let (_, login) =
        Login::parse(&format!("{SCRAM} required username=\"a\" password=\"hush\";")).expect("a good line");
    assert!(!format!("{login:?}").contains("hush"));
}
