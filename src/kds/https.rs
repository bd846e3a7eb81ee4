//! This program's own transport.
//!
//! * In: an https address.
//! * Out: the response.
//! * Never: another scheme, a redirect followed, more bytes or seconds than the limits allow, or a
//!   server that no authority of the web vouches for. The verdict does not depend on that
//!   authority: AMD's signatures in a response decide.

use std::time::Duration;

use super::{MAX_RESPONSE_BYTES, Response, Transport, TransportError};
use crate::client::{Address, Client, ClientError, web_roots};

/// The deadline of a whole request.
pub const MAX_TIME: Duration = Duration::from_secs(60);

/// Sends requests over TLS, by the proxies of the environment. It blocks, and cannot be used within
/// a runtime of tokio.
#[derive(Clone, Copy, Debug, Default)]
pub struct Https;

impl Transport for Https {
    fn get(&self, url: &str, limit: usize) -> Result<Response, TransportError> {
        let (address, path) = parts(url).ok_or(TransportError::Url)?;
        let client = Client::new(address, web_roots().map_err(TransportError::Client)?);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(TransportError::Runtime)?;
        let request = async { tokio::time::timeout(MAX_TIME, fetch(&client, path, limit)).await };
        match runtime.block_on(request) {
            Ok(response) => response,
            Err(_) => Err(TransportError::Slow {
                seconds: MAX_TIME.as_secs(),
            }),
        }
    }
}

async fn fetch(client: &Client, path: &str, limit: usize) -> Result<Response, TransportError> {
    let mut response = client
        .get(path, &[])
        .await
        .map_err(TransportError::Client)?;
    let limit = limit.min(MAX_RESPONSE_BYTES);
    let body = response.whole(limit, "MAX_RESPONSE_BYTES").await;
    let body = body.map_err(|error| match error {
        ClientError::TooLong { .. } => TransportError::Size { limit },
        error => TransportError::Client(error),
    })?;
    Ok(Response {
        status: response.status.as_u16(),
        body,
    })
}

/// Splits an https address into its machine and its path.
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
