//! The certificate of the chip, from a cloud's metadata service.
//!
//! * In: the response of a service that the host of the machine runs.
//! * Out: the VCEK in DER, if there is one. Verifiers check it; without it they need their own.
//! * Never: an error, trust in the service, or more time than the limit.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::super::table::certificate;

/// Azure's service of certificates (Microsoft, "Trusted Hardware Identity Management").
const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::new(169, 254, 169, 254), 80);
const REQUEST: &[u8] = b"GET /metadata/THIM/amd/certification HTTP/1.0\r\n\
    Host: 169.254.169.254\r\nMetadata: true\r\nConnection: close\r\n\r\n";
/// How long all of it may take.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// The largest response, in bytes: three certificates and a header section.
const MAX_RESPONSE_BYTES: usize = 64 << 10;
/// The most header fields of a response.
const MAX_HEADERS: usize = 64;

/// The members that are used; there are others.
#[derive(Deserialize)]
struct Document {
    #[serde(rename = "vcekCert")]
    vcek: String,
}

/// Asks the service. Returns none if there is no such service, or its response is not understood:
/// evidence is as good without.
pub fn vcek() -> Option<Vec<u8>> {
    vcek_from(SocketAddr::from(ADDRESS))
}

fn vcek_from(address: SocketAddr) -> Option<Vec<u8>> {
    let response = ask(address, Instant::now() + TIME_LIMIT)?;
    let document: Document = serde_json::from_slice(body(&response)?).ok()?;
    certificate(document.vcek.as_bytes())
}

/// Returns the service's response. It may end with the connection, with its announced length, or
/// with both: a service that closes the connection too early has then sent all.
fn ask(address: SocketAddr, deadline: Instant) -> Option<Vec<u8>> {
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    };
    let mut stream = TcpStream::connect_timeout(&address, left()?).ok()?;
    stream.set_write_timeout(left()).ok()?;
    stream.write_all(REQUEST).ok()?;
    let mut response = vec![0; MAX_RESPONSE_BYTES];
    let mut length = 0;
    while !is_whole(&response[..length]) {
        stream.set_read_timeout(Some(left()?)).ok()?;
        match stream.read(response.get_mut(length..)?).ok()? {
            // It has ended, or fills the room.
            0 => break,
            read => length += read,
        }
    }
    response.truncate(length);
    (length < MAX_RESPONSE_BYTES).then_some(response)
}

/// Returns the body of a response with the status 200.
fn body(response: &[u8]) -> Option<&[u8]> {
    let (head, body) = parsed(response)?;
    (head.status == 200).then_some(body)
}

/// Reports whether the announced length has come.
fn is_whole(response: &[u8]) -> bool {
    parsed(response)
        .is_some_and(|(head, body)| head.length.is_some_and(|length| body.len() >= length))
}

/// What is used of a header section.
struct Head {
    status: u16,
    /// Content-Length, in bytes.
    length: Option<usize>,
}

/// Returns the header section and what came after it, once the section has come.
fn parsed(response: &[u8]) -> Option<(Head, &[u8])> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(start) = parsed.parse(response).ok()? else {
        return None;
    };
    let length = parsed
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| str::from_utf8(header.value).ok()?.parse().ok());
    let head = Head {
        status: parsed.code?,
        length,
    };
    Some((head, response.get(start..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n\
        {\"vcekCert\":\"-----BEGIN CERTIFICATE-----\\nMAEH\\n-----END CERTIFICATE-----\\n\",\"tcbm\":\"00\"}";

    /// Serves one response, and returns the request.
    fn serve(response: Vec<u8>) -> (SocketAddr, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            // A client may have enough before the end.
            let _ = stream.write_all(&response);
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        (address, served)
    }

    #[test]
    fn the_certificate_of_the_service_is_taken() {
        let (address, served) = serve(GOOD.into());
        assert_eq!(vcek_from(address), Some(vec![0x30, 1, 7]));
        let request = served.join().unwrap();
        assert!(request.starts_with("GET /metadata/THIM/amd/certification HTTP/1.0\r\n"));
        assert!(request.contains("\r\nMetadata: true\r\n"), "{request}");
    }

    /// A service that closes without having read the whole request resets the connection.
    #[test]
    fn a_response_ends_with_its_announced_length() {
        let document = GOOD.split("\r\n\r\n").nth(1).unwrap();
        let response = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{document}",
            document.len()
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let open = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(response.as_bytes()).unwrap();
            stream
        });
        let start = Instant::now();
        assert_eq!(vcek_from(address), Some(vec![0x30, 1, 7]));
        assert!(start.elapsed() < TIME_LIMIT, "it waited for the end");
        drop(open.join().unwrap());
    }

    #[test]
    fn everything_else_is_no_certificate() {
        let long = [GOOD.as_bytes(), &[b' '; MAX_RESPONSE_BYTES]].concat();
        for response in [
            b"".to_vec(),
            b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
            b"HTTP/1.1 200 OK\r\n\r\n{}".to_vec(),
            GOOD.replace("200 OK", "404 Not Found").into(),
            GOOD.replace("MAEH", "AAEH").into(),
            GOOD.replace("-----END", "").into(),
            long,
        ] {
            let (address, served) = serve(response.clone());
            let shown = String::from_utf8_lossy(&response);
            assert_eq!(vcek_from(address), None, "{shown}");
            served.join().unwrap();
        }
        let closed = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        assert_eq!(vcek_from(closed), None);
    }
}
