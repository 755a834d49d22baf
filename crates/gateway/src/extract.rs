//! What is taken out of a request; what cannot be taken is a problem in our own words, which names the member.

use axum::Json;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, OptionalFromRequest, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::Problem;

/// A body in JSON.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, Problem> {
        let read = <Json<T> as FromRequest<S>>::from_request(request, state).await;
        read.map(|Json(body)| Body(body)).map_err(|rejection| unreadable(&rejection))
    }
}

/// None: there is no body.
impl<T: DeserializeOwned, S: Send + Sync> OptionalFromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Body<T>>, Problem> {
        let read = <Json<T> as OptionalFromRequest<S>>::from_request(request, state).await;
        read.map(|body| body.map(|Json(body)| Body(body))).map_err(|rejection| unreadable(&rejection))
    }
}

/// The parts of the path that are no fixed text.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>, Problem> {
        let read = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        let route = parts.extensions.get::<MatchedPath>().map(|route| route.as_str().to_owned());
        read.map(|axum::extract::Path(found)| Path(found))
            .map_err(|rejection| misread(rejection, route.as_deref().unwrap_or_default()))
    }
}

/// What stands behind the question mark.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Query<T>, Problem> {
        let read = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        read.map(|axum::extract::Query(found)| Query(found)).map_err(|rejection| misasked(&rejection))
    }
}

/// How many of something one answer may have: what is asked for, or else `default`; never more than `max`.
pub fn limit(wanted: Option<usize>, default: usize, max: usize) -> Result<usize, Problem> {
    match wanted {
        None => Ok(default),
        Some(wanted) if (1..=max).contains(&wanted) => Ok(wanted),
        Some(wanted) => Err(Problem::invalid(format!("`limit` is 1 to {max}, not {wanted}"))),
    }
}

fn unreadable(rejection: &JsonRejection) -> Problem {
    let text = rejection.body_text();
    match rejection {
        JsonRejection::MissingJsonContentType(_) => Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "The body is no JSON",
            "send JSON, with the header Content-Type: application/json",
        ),
        JsonRejection::JsonSyntaxError(_) => Problem::invalid(no_json(&behind(&text))),
        JsonRejection::JsonDataError(_) => Problem::invalid(told(&behind(&text))),
        _ if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let detail = "the body is larger than a request may be";
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large", detail)
        }
        _ => Problem::invalid("the body broke off before its end"),
    }
}

fn misread(rejection: PathRejection, route: &str) -> Problem {
    let names: Vec<&str> =
        route.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
    let PathRejection::FailedToDeserializePathParams(failed) = rejection else {
        return Problem::invalid("the path cannot be read");
    };
    let wrong = |name: &str, value: &str| format!("{name} in the path is a number, not `{value}`");
    Problem::invalid(match failed.into_kind() {
        ErrorKind::ParseErrorAtIndex { index, value, .. } => {
            wrong(names.get(index).copied().unwrap_or("a part"), &value)
        }
        ErrorKind::ParseErrorAtKey { key, value, .. } => wrong(&key, &value),
        ErrorKind::ParseError { value, .. } => wrong(names.first().copied().unwrap_or("a part"), &value),
        ErrorKind::InvalidUtf8InPathParam { key } => format!("{key} in the path is no text in UTF-8"),
        _ => "the path cannot be read".to_owned(),
    })
}

fn misasked(rejection: &QueryRejection) -> Problem {
    let text = behind(&rejection.body_text());
    let (name, what) = text.split_once(": ").unwrap_or(("", &text));
    Problem::invalid(match what {
        own if own.starts_with('`') => own.to_owned(),
        what if what.starts_with("invalid digit") || what.starts_with("cannot parse integer") => {
            format!("`{name}` is a whole number")
        }
        what if what.starts_with("number too large") => format!("`{name}` is too large a number"),
        what if what.starts_with("provided string was not `true`") => format!("`{name}` is true or false"),
        _ => told(&text).replace("there is no member", "there is no parameter"),
    })
}

/// What a framework's text says behind its own introduction.
fn behind(text: &str) -> String {
    let introductions = [
        "Failed to deserialize the JSON body into the target type: ",
        "Failed to parse the request body as JSON: ",
        "Failed to deserialize query string: ",
    ];
    introductions.iter().find_map(|it| text.strip_prefix(it)).unwrap_or(text).to_owned()
}

fn no_json(text: &str) -> String {
    match text.split_once(": ").map_or(text, |(_, what)| what) {
        _ if text.contains("EOF") && text.ends_with("line 1 column 0") => {
            "the body is empty: send JSON".to_owned()
        }
        _ if text.contains("EOF") => "the body is no JSON: it ends too early".to_owned(),
        what => format!("the body is no JSON: {what}"),
    }
}

/// A complaint of the JSON reader (`streams[0]: missing field `events` at line 1 column 27`) for people.
pub fn told(text: &str) -> String {
    let text = text.rsplit_once(" at line ").map_or(text, |(before, _)| before);
    let reasons = [
        "missing field",
        "unknown field",
        "unknown variant",
        "invalid type",
        "invalid value",
        "duplicate field",
    ];
    let at = reasons.iter().filter_map(|reason| text.find(reason)).min();
    let Some(at) = at else { return text.to_owned() };
    let place = text[..at].trim_end_matches([':', ' ']);
    let within = if place.is_empty() || place == "." { String::new() } else { format!("{place}: ") };
    let reason = &text[at..];
    let quoted = |text: &str| text.split('`').nth(1).unwrap_or_default().to_owned();
    let choice = reason.split_once("expected ").map_or("", |(_, choice)| choice);
    let choice = choice.trim_start_matches("one of ");
    if reason.starts_with("missing field") {
        return format!("{within}`{}` is missing", quoted(reason));
    }
    if reason.starts_with("duplicate field") {
        return format!("{within}`{}` is there twice", quoted(reason));
    }
    if reason.starts_with("unknown field") {
        // The place may end in the very name.
        let name = quoted(reason);
        let place = place.strip_suffix(name.as_str()).unwrap_or(place).trim_end_matches('.');
        let within = if place.is_empty() { String::new() } else { format!("{place}: ") };
        return format!("{within}there is no member `{name}`: there are {}", choice.replace(" or ", ", "));
    }
    if reason.starts_with("unknown variant") {
        return format!("{within}`{}` is none of {choice}", quoted(reason));
    }
    let found = reason.split_once(": ").map_or("", |(_, found)| found);
    let found = found.split(", expected ").next().unwrap_or_default();
    format!("{within}expected {}, and found {}", in_json(choice), in_json(found))
}

/// What the JSON reader calls by the words of its own language.
fn in_json(what: &str) -> String {
    let known = [
        ("a sequence", "a list"),
        ("sequence", "a list"),
        ("map", "an object"),
        ("a map", "an object"),
        ("a string", "a text"),
        ("a boolean", "true or false"),
        ("null", "null"),
    ];
    if let Some((_, word)) = known.iter().find(|(theirs, _)| *theirs == what) {
        return (*word).to_owned();
    }
    match what {
        what if what.starts_with("struct ") => "an object".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        what => match what.split_once(' ') {
            Some(("string", text)) => format!("the text {text}"),
            Some(("integer" | "floating", _)) => {
                format!("the number {}", what.split('`').nth(1).unwrap_or(what))
            }
            Some(("boolean", text)) => text.trim_matches('`').to_owned(),
            _ => what.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests;
