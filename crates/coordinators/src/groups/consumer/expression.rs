//! Regular expressions of subscriptions (KIP-848).
//!
//! Kafka's are RE2/J's, and clients count on its syntax: `\Q…\E` is what Java's `Pattern.quote` writes, `&&` and `[` within
//! brackets are characters. So an expression is read here as RE2/J 1.8 reads it, and only the automaton is another's. It
//! stands alone: nothing is put around its text, so that no text gets out of what is put around it.
//!
//! Whether a whole name matches does not depend on what is greedy, so that is read and forgotten.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use regex_automata::meta;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Dot, Hir, HirKind, Look, Repetition};

/// Bytes of an expression.
const LENGTH_MAX: usize = 64 * 1024;

/// How deep groups and repetitions may lie in each other: the compiler goes down by calling itself.
const HEIGHT_MAX: usize = 250;

/// Bytes of a compiled expression, against `((a{1000}){1000}){1000}`.
const COMPILED_BYTES_MAX: usize = 10 << 20;

/// RE2/J's.
const REPEAT_MAX: u32 = 1000;

/// An expression that matches whole names of topics.
pub struct Expression(meta::Regex);

/// Why a text is no expression, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    what: &'static str,
    part: String,
    /// In characters, the first one is 1.
    at: usize,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}` at character {}", self.what, self.part, self.at)
    }
}

impl Expression {
    pub fn new(text: &str) -> Result<Expression, Malformed> {
        let whole = |what| Malformed { what, part: beginning(text), at: 1 };
        if text.len() > LENGTH_MAX {
            return Err(whole("longer than 64 KiB"));
        }
        let pattern = Hir::concat(vec![Hir::look(Look::Start), parse(text)?, Hir::look(Look::End)]);
        let config = meta::Config::new().nfa_size_limit(Some(COMPILED_BYTES_MAX));
        let compiled = meta::Builder::new().configure(config).build_from_hir(&pattern);
        compiled.map(Expression).map_err(|_| whole("too large: it repeats too much too often"))
    }

    pub fn is_match(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

/// Flags that can be switched within an expression.
#[derive(Clone, Copy, Default)]
struct Flags {
    ignores_case: bool,
    multi_line: bool,
    dot_takes_newline: bool,
}

/// Something that can be repeated.
struct Piece {
    hir: Hir,
    height: usize,
}

/// A group that is not closed yet; the first one is the expression.
#[derive(Default)]
struct Level {
    /// Where its parenthesis is.
    begin: usize,
    /// What the flags are again after it.
    flags: Flags,
    alternatives: Vec<Piece>,
    sequence: Vec<Piece>,
}

impl Level {
    fn end_alternative(&mut self) {
        let sequence = join(std::mem::take(&mut self.sequence), Hir::concat);
        self.alternatives.push(sequence);
    }

    fn close(mut self) -> Piece {
        self.end_alternative();
        join(self.alternatives, Hir::alternation)
    }
}

fn join(pieces: Vec<Piece>, joined: fn(Vec<Hir>) -> Hir) -> Piece {
    let height = pieces.iter().map(|piece| piece.height).max().unwrap_or(0) + 1;
    Piece { hir: joined(pieces.into_iter().map(|piece| piece.hir).collect()), height }
}

struct Parser<'a> {
    text: &'a str,
    /// In bytes.
    at: usize,
    flags: Flags,
    outer: Vec<Level>,
    level: Level,
    names: BTreeSet<&'a str>,
}

fn parse(text: &str) -> Result<Hir, Malformed> {
    let mut parser = Parser {
        text,
        at: 0,
        flags: Flags::default(),
        outer: Vec::new(),
        level: Level::default(),
        names: BTreeSet::new(),
    };
    // Where the operator began that was read last.
    let mut repeated = None;
    while let Some(char) = parser.peek() {
        let begin = parser.at;
        let mut repeats = None;
        match char {
            '(' if parser.rest().starts_with("(?") => parser.flags_or_group()?,
            '(' => {
                parser.at += 1;
                parser.open(begin);
            }
            '|' => {
                parser.at += 1;
                parser.level.end_alternative();
            }
            ')' => parser.close()?,
            '^' | '$' => {
                parser.at += 1;
                parser.push(Hir::look(match (char, parser.flags.multi_line) {
                    ('^', false) => Look::Start,
                    ('^', true) => Look::StartLF,
                    (_, false) => Look::End,
                    (_, true) => Look::EndLF,
                }));
            }
            '.' => {
                parser.at += 1;
                let dot = match parser.flags.dot_takes_newline {
                    true => Dot::AnyChar,
                    false => Dot::AnyCharExceptLF,
                };
                parser.push(Hir::dot(dot));
            }
            '[' => {
                let class = parser.brackets()?;
                parser.push_class(class);
            }
            '*' | '+' | '?' => {
                parser.at += 1;
                let (min, max) = match char {
                    '*' => (0, None),
                    '+' => (1, None),
                    _ => (0, Some(1)),
                };
                parser.repeat(min, max, begin, repeated)?;
                repeats = Some(begin);
            }
            '{' => {
                match parser.count()? {
                    Some((min, max)) => parser.repeat(min, max, begin, repeated)?,
                    // What is no count is a character; but RE2/J does not let it be repeated.
                    None => {
                        parser.at = begin + 1;
                        parser.push_char('{');
                    }
                }
                repeats = Some(begin);
            }
            '\\' => parser.escaped()?,
            char => {
                parser.at += char.len_utf8();
                parser.push_char(char);
            }
        }
        repeated = repeats;
    }
    if !parser.outer.is_empty() {
        return Err(parser.malformed("missing closing )", parser.level.begin));
    }
    let whole = parser.level.close();
    match whole.height > HEIGHT_MAX {
        true => Err(Malformed { what: TOO_DEEP, part: beginning(text), at: 1 }),
        false => Ok(whole.hir),
    }
}

const TOO_DEEP: &str = "groups or repetitions lie more than 250 deep in each other";
const INVALID_RANGE: &str = "invalid character class range";
const INVALID_ESCAPE: &str = "invalid escape sequence";
const MISSING_BRACKET: &str = "missing closing ]";

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn pop(&mut self) -> Option<char> {
        let char = self.peek()?;
        self.at += char.len_utf8();
        Some(char)
    }

    /// Something is wrong between `begin` and where it has got to.
    fn malformed(&self, what: &'static str, begin: usize) -> Malformed {
        let part = beginning(&self.text[begin..self.at]);
        Malformed { what, part, at: self.text[..begin].chars().count() + 1 }
    }

    fn push(&mut self, hir: Hir) {
        self.level.sequence.push(Piece { hir, height: 1 });
    }

    fn push_char(&mut self, char: char) {
        let mut class = range(char.into(), char.into());
        if self.flags.ignores_case {
            class = without_case(class);
        }
        self.push_class(class);
    }

    /// Names of topics are ASCII, so nothing else needs to be remembered: `\pL` has hundreds of ranges.
    fn push_class(&mut self, mut class: ClassUnicode) {
        class.intersect(&range(0, 0x7f));
        self.push(Hir::class(Class::Unicode(class)));
    }

    fn open(&mut self, begin: usize) {
        let level = Level { begin, flags: self.flags, ..Level::default() };
        self.outer.push(std::mem::replace(&mut self.level, level));
    }

    fn close(&mut self) -> Result<(), Malformed> {
        let begin = self.at;
        self.at += 1;
        let Some(outer) = self.outer.pop() else { return Err(self.malformed("unexpected )", begin)) };
        let closed = std::mem::replace(&mut self.level, outer);
        self.flags = closed.flags;
        self.push_high(closed.close(), begin)
    }

    /// A piece that has others in it.
    fn push_high(&mut self, piece: Piece, begin: usize) -> Result<(), Malformed> {
        if piece.height > HEIGHT_MAX {
            return Err(self.malformed(TOO_DEEP, begin));
        }
        self.level.sequence.push(piece);
        Ok(())
    }

    fn repeat(
        &mut self,
        min: u32,
        max: Option<u32>,
        begin: usize,
        repeated: Option<usize>,
    ) -> Result<(), Malformed> {
        if self.peek() == Some('?') {
            self.at += 1;
        }
        if let Some(before) = repeated {
            return Err(self.malformed("invalid nested repetition operator", before));
        }
        let Some(Piece { hir, height }) = self.level.sequence.pop() else {
            return Err(self.malformed("missing argument to repetition operator", begin));
        };
        let sub = Box::new(hir);
        let hir = Hir::repetition(Repetition { min, max, greedy: true, sub });
        self.push_high(Piece { hir, height: height + 1 }, begin)
    }

    /// `{2}`, `{2,}` or `{2,3}`; nothing if it is none of those.
    fn count(&mut self) -> Result<Option<(u32, Option<u32>)>, Malformed> {
        let begin = self.at;
        self.at += 1;
        let Some(min) = self.number() else { return Ok(None) };
        let mut max = Some(min);
        if self.peek() == Some(',') {
            self.at += 1;
            max = None;
            if self.peek() != Some('}') {
                max = self.number();
                if max.is_none() {
                    return Ok(None);
                }
            }
        }
        if self.pop() != Some('}') {
            return Ok(None);
        }
        match min > REPEAT_MAX || max.is_some_and(|max| max > REPEAT_MAX || max < min) {
            true => Err(self.malformed("invalid repeat count", begin)),
            false => Ok(Some((min, max))),
        }
    }

    fn number(&mut self) -> Option<u32> {
        let rest = self.rest();
        let digits = &rest[..rest.len() - rest.trim_start_matches(|char: char| char.is_ascii_digit()).len()];
        self.at += digits.len();
        match digits {
            "" => None,
            digits if digits.len() > 1 && digits.starts_with('0') => None,
            digits => Some(digits.parse().unwrap_or(u32::MAX)),
        }
    }

    /// `(?i)`, `(?i:…)`, `(?P<name>…)` and the like.
    fn flags_or_group(&mut self) -> Result<(), Malformed> {
        let begin = self.at;
        let rest = self.rest();
        for opening in ["(?P<", "(?<"] {
            if rest.starts_with(opening) {
                return self.named_group(opening);
            }
        }
        self.at += 2;
        let mut flags = self.flags;
        // Whether flags are switched off, and whether there was one since then.
        let (mut off, mut any) = (false, false);
        while let Some(char) = self.pop() {
            match char {
                'i' => flags.ignores_case = !off,
                'm' => flags.multi_line = !off,
                's' => flags.dot_takes_newline = !off,
                'U' => {}
                '-' if !off => {
                    (off, any) = (true, false);
                    continue;
                }
                ':' | ')' if !off || any => {
                    if char == ':' {
                        self.open(begin);
                    }
                    self.flags = flags;
                    return Ok(());
                }
                _ => break,
            }
            any = true;
        }
        Err(self.malformed("invalid or unsupported Perl syntax", begin))
    }

    fn named_group(&mut self, opening: &str) -> Result<(), Malformed> {
        const INVALID: &str = "invalid named capture";
        let begin = self.at;
        self.at += opening.len();
        let Some((name, _)) = self.rest().split_once('>') else {
            self.at = self.text.len();
            return Err(self.malformed(INVALID, begin));
        };
        self.at += name.len() + 1;
        if name.is_empty() || !name.chars().all(|char| char == '_' || char.is_ascii_alphanumeric()) {
            return Err(self.malformed(INVALID, begin));
        }
        if !self.names.insert(name) {
            return Err(self.malformed("duplicate capture group name", begin));
        }
        self.open(begin);
        Ok(())
    }

    /// What begins with a backslash, outside of brackets.
    fn escaped(&mut self) -> Result<(), Malformed> {
        let begin = self.at;
        let look = match self.rest().chars().nth(1) {
            Some('A') => Some(Look::Start),
            Some('z') => Some(Look::End),
            Some('b') => Some(Look::WordAscii),
            Some('B') => Some(Look::WordAsciiNegate),
            Some('Q') => {
                self.quoted();
                return Ok(());
            }
            _ => None,
        };
        if let Some(look) = look {
            self.at += 2;
            self.push(Hir::look(look));
            return Ok(());
        }
        if let Some(class) = self.escaped_class()? {
            self.push_class(class);
            return Ok(());
        }
        self.at = begin;
        match self.escape()? {
            Ok(char) => self.push_char(char),
            // A surrogate, which no text has.
            Err(_) => self.push(Hir::fail()),
        }
        Ok(())
    }

    /// `\Q…\E`; without an end it goes to the end.
    fn quoted(&mut self) {
        self.at += 2;
        let (quoted, end) = match self.rest().split_once("\\E") {
            Some((quoted, _)) => (quoted, 2),
            None => (self.rest(), 0),
        };
        quoted.chars().for_each(|char| self.push_char(char));
        self.at += quoted.len() + end;
    }

    /// `\d`, `\pL`, `\p{Greek}` and the like.
    fn escaped_class(&mut self) -> Result<Option<ClassUnicode>, Malformed> {
        let begin = self.at;
        let mut chars = self.rest().chars();
        let (Some('\\'), Some(char)) = (chars.next(), chars.next()) else { return Ok(None) };
        let ranges: &[(char, char)] = match char {
            'd' | 'D' => &[('0', '9')],
            's' | 'S' => &[('\t', '\n'), ('\u{c}', '\r'), (' ', ' ')],
            'w' | 'W' => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
            'p' | 'P' => return self.property(char == 'P').map(Some),
            _ => return Ok(None),
        };
        self.at = begin + 2;
        Ok(Some(self.group(ranges, char.is_ascii_uppercase())))
    }

    fn group(&self, ranges: &[(char, char)], negated: bool) -> ClassUnicode {
        let ranges = ranges.iter().map(|(from, to)| ClassUnicodeRange::new(*from, *to));
        let mut class = ClassUnicode::new(ranges);
        if self.flags.ignores_case {
            class = without_case(class);
        }
        if negated {
            class.negate();
        }
        class
    }

    fn property(&mut self, negated: bool) -> Result<ClassUnicode, Malformed> {
        let begin = self.at;
        self.at += 2;
        let name = match self.pop() {
            Some('{') => {
                let Some((name, _)) = self.rest().split_once('}') else {
                    self.at = self.text.len();
                    return Err(self.malformed(INVALID_RANGE, begin));
                };
                self.at += name.len() + 1;
                name
            }
            _ => &self.text[begin + 2..self.at],
        };
        let (name, negated) = match name.strip_prefix('^') {
            Some(name) => (name, !negated),
            None => (name, negated),
        };
        let mut class = property(name).ok_or_else(|| self.malformed(INVALID_RANGE, begin))?;
        if self.flags.ignores_case {
            class = without_case(class);
        }
        if negated {
            class.negate();
        }
        Ok(class)
    }

    /// The character that an escape stands for, or a surrogate's number.
    fn escape(&mut self) -> Result<Result<char, u32>, Malformed> {
        let begin = self.at;
        self.at += 1;
        let Some(char) = self.pop() else {
            return Err(self.malformed("trailing backslash at end of expression", begin));
        };
        let number = match char {
            '1'..='7' if !self.peek().is_some_and(|next| next.is_digit(8)) => None,
            '0'..='7' => {
                let mut number = char.to_digit(8).unwrap_or(0);
                for _ in 1..3 {
                    let Some(digit) = self.peek().and_then(|next| next.to_digit(8)) else { break };
                    self.at += 1;
                    number = number * 8 + digit;
                }
                Some(number)
            }
            'x' => self.hexadecimal(),
            'a' => Some(7),
            'f' => Some(12),
            'n' => Some(10),
            'r' => Some(13),
            't' => Some(9),
            'v' => Some(11),
            char if !char.is_ascii_alphanumeric() => Some(char.into()),
            _ => None,
        };
        let number = number.ok_or_else(|| self.malformed(INVALID_ESCAPE, begin))?;
        Ok(char::from_u32(number).ok_or(number))
    }

    /// `7f` or `{10ffff}`.
    fn hexadecimal(&mut self) -> Option<u32> {
        let first = self.pop()?;
        if first != '{' {
            let (high, low) = (first.to_digit(16), self.pop()?.to_digit(16));
            return Some(high? * 16 + low?);
        }
        let mut number = None;
        loop {
            match self.pop()? {
                '}' => return number,
                digit => {
                    let more = number.unwrap_or(0) * 16 + digit.to_digit(16)?;
                    number = Some(more).filter(|number| *number <= u32::from(char::MAX));
                    number?;
                }
            }
        }
    }

    /// What stands in brackets.
    fn brackets(&mut self) -> Result<ClassUnicode, Malformed> {
        let begin = self.at;
        self.at += 1;
        let negated = self.peek() == Some('^');
        if negated {
            self.at += 1;
        }
        let mut class = ClassUnicode::empty();
        let mut is_first = true;
        while is_first || self.peek() != Some(']') {
            is_first = false;
            let part = self.at;
            if let Some(named) = self.named_class()? {
                class.union(&named);
                continue;
            }
            if let Some(escaped) = self.escaped_class()? {
                class.union(&escaped);
                continue;
            }
            let from = self.class_char(begin)?;
            let mut to = from;
            let rest = self.rest();
            if rest.starts_with('-') && !rest.starts_with("-]") {
                self.at += 1;
                to = self.class_char(begin)?;
                if to < from {
                    return Err(self.malformed(INVALID_RANGE, part));
                }
            }
            let mut between = range(from, to);
            if self.flags.ignores_case {
                between = without_case(between);
            }
            class.union(&between);
        }
        self.at += 1;
        if negated {
            class.negate();
        }
        Ok(class)
    }

    fn class_char(&mut self, begin: usize) -> Result<u32, Malformed> {
        match self.peek() {
            None => Err(self.malformed(MISSING_BRACKET, begin)),
            Some('\\') => Ok(self.escape()?.map_or_else(|number| number, u32::from)),
            Some(char) => {
                self.at += char.len_utf8();
                Ok(char.into())
            }
        }
    }

    /// `[:alpha:]`, which stands in brackets of its own.
    fn named_class(&mut self) -> Result<Option<ClassUnicode>, Malformed> {
        let begin = self.at;
        let Some((name, _)) = self.rest().strip_prefix("[:").and_then(|rest| rest.split_once(":]")) else {
            return Ok(None);
        };
        self.at += name.len() + 4;
        let (name, negated) = match name.strip_prefix('^') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let ranges: &[(char, char)] = match name {
            "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
            "alpha" => &[('A', 'Z'), ('a', 'z')],
            "ascii" => &[('\0', '\u{7f}')],
            "blank" => &[('\t', '\t'), (' ', ' ')],
            "cntrl" => &[('\0', '\u{1f}'), ('\u{7f}', '\u{7f}')],
            "digit" => &[('0', '9')],
            "graph" => &[('!', '~')],
            "lower" => &[('a', 'z')],
            "print" => &[(' ', '~')],
            "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
            "space" => &[('\t', '\r'), (' ', ' ')],
            "upper" => &[('A', 'Z')],
            "word" => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
            "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
            _ => return Err(self.malformed(INVALID_RANGE, begin)),
        };
        Ok(Some(self.group(ranges, negated)))
    }
}

/// What these numbers stand for; surrogates stand for nothing.
fn range(from: u32, to: u32) -> ClassUnicode {
    let from = char::from_u32(from).unwrap_or('\u{e000}');
    let to = char::from_u32(to).unwrap_or('\u{d7ff}');
    match from <= to {
        true => ClassUnicode::new([ClassUnicodeRange::new(from, to)]),
        false => ClassUnicode::empty(),
    }
}

fn without_case(mut class: ClassUnicode) -> ClassUnicode {
    class.try_case_fold_simple().expect("the tables are a feature that is switched on");
    class
}

/// The characters of a general category or a script, under the names that RE2/J knows.
fn property(name: &str) -> Option<ClassUnicode> {
    match name {
        "Any" => return Some(range(0, char::MAX.into())),
        // Surrogates, and what is assigned to nobody.
        "Cs" | "Unknown" => return Some(ClassUnicode::empty()),
        _ => {}
    }
    let mut known = CATEGORIES.split_whitespace().chain(SCRIPTS.split_whitespace());
    known.find(|known| *known == name)?;
    let parsed = ParserBuilder::new().build().parse(&format!("\\p{{{name}}}")).ok()?;
    match parsed.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        _ => None,
    }
}

const CATEGORIES: &str = "C Cc Cf Co L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl \
                          Zp Zs";

const SCRIPTS: &str = "Arabic Armenian Avestan Balinese Bamum Batak Bengali Bopomofo Brahmi Braille Buginese Buhid \
    Canadian_Aboriginal Carian Cham Cherokee Common Coptic Cuneiform Cypriot Cyrillic Deseret Devanagari \
    Egyptian_Hieroglyphs Ethiopic Georgian Glagolitic Gothic Greek Gujarati Gurmukhi Han Hangul Hanunoo Hebrew Hiragana \
    Imperial_Aramaic Inherited Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi Kannada Katakana Kayah_Li \
    Kharoshthi Khmer Lao Latin Lepcha Limbu Linear_B Lisu Lycian Lydian Malayalam Mandaic Meetei_Mayek Mongolian \
    Myanmar New_Tai_Lue Nko Ogham Ol_Chiki Old_Italic Old_Persian Old_South_Arabian Old_Turkic Oriya Osmanya Phags_Pa \
    Phoenician Rejang Runic Samaritan Saurashtra Shavian Sinhala Sundanese Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le \
    Tai_Tham Tai_Viet Tamil Telugu Thaana Thai Tibetan Tifinagh Ugaritic Vai Yi";

/// What fits into a message.
fn beginning(text: &str) -> String {
    const SHOWN_MAX: usize = 100;
    match text.char_indices().nth(SHOWN_MAX) {
        None => text.to_string(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
