//! Submissions for the service. Comes in: a request. Goes out: what it asks for, or the refusal as a problem document.
//! Never: a cause of ours in a refusal.

use hyper::body::Incoming;
use hyper::http::request::Parts;
use tokio::task::spawn_local;

use super::problem::Problem;
use super::submission::{self, Intake, SubmissionError};
use super::submit::{LocalFuture, Receive};
use crate::job::{Request, SourceRequest};

impl Receive for Intake {
    fn receive<'a>(&'a self, parts: &'a Parts, body: Incoming) -> LocalFuture<'a, Result<Request, Problem>> {
        Box::pin(async move { Ok(submission::receive(parts, body, self).await?) })
    }

    fn discard(&self, request: Request) {
        if let SourceRequest::Archive(tree) = request.source {
            let intake = self.clone();
            spawn_local(async move { intake.discard(tree).await });
        }
    }
}

impl From<SubmissionError> for Problem {
    fn from(error: SubmissionError) -> Self {
        match error.status() {
            500 => Self::internal("a submission could not be received", &error),
            status => Self::new(status, error.code(), &error),
        }
    }
}
