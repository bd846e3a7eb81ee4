//! Builds every response that is an error: a problem document (RFC 9457).
//!
//! * In: a status, a stable code, and words for the caller.
//! * Out: the response.
//! * Never: an internal path, or the cause of an internal error: these are logged.

use std::error::Error;
use std::fmt::Display;

use hyper::header::HeaderName;
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::respond::{self, Body};
use super::spelling::{camel_case, kebab_case, title};
use crate::causes::Chain;
use crate::error_type::ErrorType;
use crate::job::JobId;
use crate::text;

/// A response that is an error.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: String,
    detail: String,
    job: Option<JobId>,
    headers: Vec<(HeaderName, String)>,
}

#[derive(Serialize)]
struct ProblemDocument<'a> {
    r#type: String,
    title: String,
    status: u16,
    detail: &'a str,
    error: &'a str,
    error_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_id: Option<String>,
}

impl Problem {
    /// Returns a problem with the stable `code`, in kebab-case. `detail` is for the caller: one
    /// line in which nothing is hidden, whatever it quotes.
    pub fn new(status: u16, code: &str, detail: impl Display) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code: code.to_owned(),
            detail: text::inert(&detail.to_string()),
            job: None,
            headers: Vec::new(),
        }
    }

    /// Returns a problem whose detail has several lines. Call it only where no line ending can come
    /// from what the detail quotes.
    pub fn in_lines(status: u16, code: &str, detail: &str) -> Self {
        let lines: Vec<String> = detail.split('\n').map(text::inert).collect();
        Self {
            detail: lines.join("\n"),
            ..Self::new(status, code, "")
        }
    }

    /// Returns the problem for an internal error. The log gets `what` was being done, the cause,
    /// and its causes.
    pub fn internal(what: &str, cause: &(dyn Error + 'static)) -> Self {
        log::error!("{what}: {}", Chain(cause));
        Self::new(
            500,
            "internal",
            "the appliance failed to answer; the cause is in its log",
        )
    }

    /// Returns the problem for a client that waits for the bundle of a build that failed.
    pub fn of_failure(error_type: ErrorType, message: &str) -> Self {
        let code = kebab_case(error_type.as_str());
        Self::new(failure_status(error_type), &code, message)
    }

    /// Returns the same problem, which names a job.
    pub fn about(self, job: JobId) -> Self {
        Self {
            job: Some(job),
            ..self
        }
    }

    /// Returns the same problem with one more header field.
    pub fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Returns the response with the problem document.
    pub fn into_response(self) -> Response<Body> {
        let document = ProblemDocument {
            r#type: format!("/problems/{}", self.code),
            title: title(&self.code),
            status: self.status.as_u16(),
            detail: &self.detail,
            error: &self.detail,
            error_type: camel_case(&self.code),
            build_id: self.job.map(|id| id.to_string()),
        };
        let mut response = respond::json(self.status, "application/problem+json", &document);
        for (name, value) in &self.headers {
            respond::set(response.headers_mut(), name.clone(), value);
        }
        response
    }
}

/// Returns the status for a client that waits for the bundle of a build that failed.
fn failure_status(error_type: ErrorType) -> u16 {
    match error_type {
        ErrorType::SourceFetchFailed
        | ErrorType::UnsupportedToolchain
        | ErrorType::LockfileMismatch
        | ErrorType::DependencyFetchFailed
        | ErrorType::BuildFailed
        | ErrorType::BuildTimeout
        | ErrorType::OutOfMemory
        | ErrorType::NoArtifacts => 422,
        ErrorType::AttestationFailed | ErrorType::Internal => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_shows_whatever_it_quotes() {
        let problem = Problem::new(400, "x", "entry `\u{1b}[2J\n\u{202e}\u{2800}ö`");
        assert_eq!(
            problem.detail,
            "entry `\\u{1b}[2J\\u{a}\\u{202e}\\u{2800}ö`"
        );
    }

    #[test]
    fn the_lines_of_a_detail_are_those_that_we_write() {
        let problem = Problem::in_lines(400, "x", "one\ntwo\r\u{2028}");
        assert_eq!(problem.detail, "one\ntwo\\u{d}\\u{2028}");
    }

    #[test]
    fn a_status_that_is_none_is_an_internal_error() {
        assert_eq!(Problem::new(7, "x", "").into_response().status(), 500);
    }
}
