//! Connects the reader of submissions to the service.
//!
//! * In: the reader of `submission`.
//! * Out: a [`Receive`] whose errors are problem documents.
//! * Never: the cause of an internal error in a problem document.

use hyper::body::Incoming;
use hyper::http::request::Parts;

use super::problem::Problem;
use super::submission::{self, Intake, SubmissionError};
use super::submit::{LocalFuture, Receive};
use crate::job::Request;

impl Receive for Intake {
    fn receive<'a>(
        &'a self,
        parts: &'a Parts,
        body: Incoming,
    ) -> LocalFuture<'a, Result<Request, Problem>> {
        Box::pin(async move {
            submission::receive(parts, body, self)
                .await
                .map_err(|error| problem(&error))
        })
    }

    fn discard(&self, request: Request) {
        Intake::discard(self, request);
    }
}

fn problem(error: &SubmissionError) -> Problem {
    match error.status() {
        500 => Problem::internal("a submission could not be taken in", error),
        status => Problem::new(status, error.code(), error),
    }
}
