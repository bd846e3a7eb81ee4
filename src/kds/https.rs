//! The transport of this program's own.
//!
//! - Comes in: an https address.
//! - Goes out: the response.
//! - Never: another scheme, a redirect followed, more bytes or seconds than the limits say, or a
//!   server that no authority of the web vouches for. Nothing depends on that last one: a response
//!   is judged by AMD's signatures in it.

use std::time::Duration;

use super::{Answer, MAX_ANSWER_BYTES, Transport, TransportError};
use crate::client::{Address, Client, ClientError, web_roots};

/// How long all of a request may take.
pub const MAX_TIME: Duration = Duration::from_secs(60);

/// Asks over TLS, by the proxies of the environment. It blocks, and cannot be used where a runtime
/// of tokio runs already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Https;

impl Transport for Https {
    fn get(&self, url: &str, limit: usize) -> Result<Answer, TransportError> {
        let (address, path) = parts(url).ok_or(TransportError::Url)?;
        let client = Client::new(address, web_roots().map_err(TransportError::Client)?);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(TransportError::Runtime)?;
        let asking = async { tokio::time::timeout(MAX_TIME, ask(&client, path, limit)).await };
        match runtime.block_on(asking) {
            Ok(answer) => answer,
            Err(_) => Err(TransportError::Slow {
                seconds: MAX_TIME.as_secs(),
            }),
        }
    }
}

async fn ask(client: &Client, path: &str, limit: usize) -> Result<Answer, TransportError> {
    let mut reply = client
        .get(path, &[])
        .await
        .map_err(TransportError::Client)?;
    let limit = limit.min(MAX_ANSWER_BYTES);
    let body = reply.whole(limit, "MAX_ANSWER_BYTES").await;
    let body = body.map_err(|error| match error {
        ClientError::TooLong { .. } => TransportError::Size { limit },
        error => TransportError::Client(error),
    })?;
    Ok(Answer {
        status: reply.status.as_u16(),
        body,
    })
}

/// The machine and the path of an https address.
fn parts(url: &str) -> Option<(Address, &str)> {
    let host = url.strip_prefix("https://")?;
    let at = url.len() - host.len() + host.find('/')?;
    Some((url[..at].parse().ok()?, &url[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_https_and_have_a_path() {
        let (address, path) = parts("https://a.example/vcek/v1?x=1").unwrap();
        assert_eq!(
            (address.to_string().as_str(), path),
            ("https://a.example", "/vcek/v1?x=1")
        );
        for url in [
            "http://a.example/",
            "https://a.example",
            "https://u:p@a.example/",
            "",
        ] {
            assert!(parts(url).is_none(), "{url}");
        }
    }
}
