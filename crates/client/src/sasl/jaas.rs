//! `sasl.jaas.config`: the line of a Java login module, of which only the user's name and password matter here.
//!
//! ```text
//! org.apache.kafka.common.security.scram.ScramLoginModule required username="alice" password="secret";
//! ```

use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";
const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule";

/// The login modules that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    Plain,
    Scram,
}

impl Module {
    pub fn class(self) -> &'static str {
        match self {
            Module::Plain => PLAIN,
            Module::Scram => SCRAM,
        }
    }
}

/// Does not show in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    pub username: String,
    pub password: Secret,
}

impl Login {
    /// Reads one module with its options. What is wrong is told without the line, which holds a password.
    pub fn parse(line: &str) -> Result<(Module, Login), String> {
        let tokens = tokens(line)?;
        let mut tokens = tokens.into_iter();
        let class = match tokens.next() {
            Some(Token::Word(class)) => class,
            _ => return Err(format!("it does not begin with a login module, such as {SCRAM}")),
        };
        let module = match class.as_str() {
            PLAIN => Module::Plain,
            SCRAM => Module::Scram,
            _ => return Err(format!("the login module {class} is not available, only {PLAIN} and {SCRAM}")),
        };
        match tokens.next() {
            Some(Token::Word(flag))
                if ["required", "requisite", "sufficient", "optional"]
                    .contains(&flag.to_ascii_lowercase().as_str()) => {}
            _ => return Err("after the login module comes `required`".to_owned()),
        }
        let (mut username, mut password) = (None, None);
        loop {
            let name = match tokens.next() {
                Some(Token::End) => break,
                Some(Token::Word(name)) => name,
                None => return Err("it does not end with a `;`".to_owned()),
                Some(_) => return Err("options are name=\"value\", with a `;` after the last one".to_owned()),
            };
            let (Some(Token::Equals), Some(Token::Word(value) | Token::Quoted(value))) =
                (tokens.next(), tokens.next())
            else {
                return Err(format!("`{name}` has no value: options are name=\"value\""));
            };
            match name.as_str() {
                "username" => username = Some(value),
                "password" => password = Some(value),
                // Such as tokenauth: what it asks for is not done, and the login would be another one.
                _ => return Err(format!("the option `{name}` is not available, only username and password")),
            }
        }
        if tokens.next().is_some() {
            return Err("there is more than one login module".to_owned());
        }
        let lacks = |name: &str| format!("{name}=\"…\" is missing");
        let username = username.ok_or_else(|| lacks("username"))?;
        let password = password.ok_or_else(|| lacks("password"))?;
        Ok((module, Login { username, password: Secret(password) }))
    }
}

#[derive(PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Equals,
    End,
}

/// As java.io.StreamTokenizer cuts it, but for numbers and comments.
fn tokens(line: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        found.push(match char {
            _ if char.is_whitespace() => continue,
            '=' => Token::Equals,
            ';' => Token::End,
            '"' | '\'' => Token::Quoted(quoted(char, &mut chars)?),
            _ => {
                let mut word = String::from(char);
                let goes_on = |char: &char| !char.is_whitespace() && !['=', ';', '"', '\''].contains(char);
                while let Some(char) = chars.next_if(goes_on) {
                    word.push(char);
                }
                Token::Word(word)
            }
        });
    }
    Ok(found)
}

fn quoted(quote: char, chars: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    let mut value = String::new();
    let open = || "a quotation mark is not closed".to_owned();
    loop {
        match chars.next().ok_or_else(open)? {
            char if char == quote => return Ok(value),
            '\\' => value.push(match chars.next().ok_or_else(open)? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'v' => '\u{b}',
                first @ '0'..='7' => octal(first, chars),
                other => other,
            }),
            char => value.push(char),
        }
    }
}

/// Up to three digits, if the first one is at most 3.
fn octal(first: char, chars: &mut Peekable<Chars<'_>>) -> char {
    let digit = |char: char| char as u32 - '0' as u32;
    let mut code = digit(first);
    for _ in 0..if first <= '3' { 2 } else { 1 } {
        match chars.next_if(|char| ('0'..='7').contains(char)) {
            Some(char) => code = code * 8 + digit(char),
            None => break,
        }
    }
    char::from_u32(code).expect("three octal digits are at most 255")
}

#[cfg(test)]
mod tests;
