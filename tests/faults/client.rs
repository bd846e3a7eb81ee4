//! A client that expects everything. In: requests. Out: whole responses, or how they were lost.
//! Never: a response that was cut off and passes for a whole one, or a wait without an end.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};

use crate::unchecked;

/// Longer than a whole job takes on a busy machine, and than every deadline of the service that can
/// matter here. A service that sends nothing for so long, or sends without an end for so long,
/// hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const NONCE: &str = "00112233445566778899aabbccddeeff";
/// The validity from 1975 to 4096, in DER, whatever the clock says.
const VALIDITY: &[u8] = b"\x17\x0d750101000000Z\x18\x0f40960101000000Z";
const BOUNDARY: &str = "kettle-fault-boundary";

/// Why there is no response.
#[derive(Debug)]
pub enum Lost {
    /// The connection was refused, reset, or cut off before its end.
    Gone(io::Error),
    /// No response, or no end of it, came in time.
    Silent,
}

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent,
            _ => Self::Gone(error),
        }
    }
}

/// A whole response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns whether it is a problem document. Every response that is no success has to be one.
    pub fn is_problem(&self) -> bool {
        if self.status < 400 {
            return false;
        }
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{}: {}",
            self.status,
            self.text()
        );
        assert_eq!(self.json()["status"], self.status);
        assert!(
            !self.text().contains("/job-"),
            "a path of the machine: {}",
            self.text()
        );
        true
    }
}

/// A request, for its own connection.
pub struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    pub fn get(path: &str) -> Self {
        Self {
            head: format!("GET {path} HTTP/1.1\r\n"),
            body: Vec::new(),
        }
    }

    fn post(content_type: &str, body: Vec<u8>) -> Self {
        Self {
            head: format!("POST /build HTTP/1.1\r\nContent-Type: {content_type}\r\n"),
            body,
        }
    }

    pub fn json(archive: &[u8]) -> Self {
        let fields = json!({ "nonce": NONCE, "source_data": STANDARD.encode(archive), "source_name": "package.tar" });
        Self::post("application/json", fields.to_string().into_bytes())
    }

    pub fn repository(url: &str) -> Self {
        let fields = json!({ "nonce": NONCE, "repo_url": url });
        Self::post("application/json", fields.to_string().into_bytes())
    }

    pub fn form(archive: &[u8]) -> Self {
        let mut body = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"nonce\"\r\n\r\n{NONCE}\r\n--{BOUNDARY}\r\n\
             Content-Disposition: form-data; name=\"source\"; filename=\"package.tar\"\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(archive);
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        Self::post(&format!("multipart/form-data; boundary={BOUNDARY}"), body)
    }

    /// Sends the request, and reads the response to its end.
    pub fn run(&self, port: u16) -> Result<Response, Lost> {
        self.exchange(connect(port)?)
    }

    /// Sends the request over TLS with any key, and reads the response to its end.
    pub fn run_with_tls(&self, port: u16) -> Result<Response, Lost> {
        let config = unchecked::client_config(check_validity);
        let session =
            ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        self.exchange(StreamOwned::new(session, connect(port)?))
    }

    /// Sends the request, and reads the response until it contains `text`. The rest is left unread.
    pub fn run_until(&self, port: u16, text: &str) -> Result<(), Lost> {
        let mut stream = connect(port)?;
        self.send(&mut stream)?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Err(cut("the end, without the expected text"));
            }
        }
        Ok(())
    }

    /// Sends its header block, and the first byte of its body.
    pub fn begin(&self, port: u16) -> io::Result<Begun> {
        let mut stream = connect(port)?;
        stream.write_all(&[self.head(), self.body[..1].to_vec()].concat())?;
        Ok(Begun(stream))
    }

    fn exchange(&self, mut stream: impl Read + Write) -> Result<Response, Lost> {
        self.send(&mut stream)?;
        read(BufReader::new(stream))
    }

    fn send(&self, stream: &mut impl Write) -> io::Result<()> {
        stream.write_all(&self.head())?;
        // A client that is refused before the end of the body need not send it all.
        let _ = stream.write_all(&self.body);
        let _ = stream.flush();
        Ok(())
    }

    fn head(&self) -> Vec<u8> {
        let length = self.body.len();
        let rest =
            format!("Host: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        [self.head.as_bytes(), rest.as_bytes()].concat()
    }
}

/// A request without its end.
pub struct Begun(TcpStream);

impl Begun {
    /// Reads the response that comes all the same.
    pub fn answer(self) -> Result<Response, Lost> {
        read(BufReader::new(self.0))
    }
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn read(mut stream: impl BufRead) -> Result<Response, Lost> {
    let deadline = Instant::now() + PATIENCE;
    let first = line(&mut stream)?;
    let status = first
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| cut("no status"))?;
    let mut headers = BTreeMap::new();
    while let Some((name, value)) = line(&mut stream)?.split_once(':') {
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = Vec::new();
    if headers
        .get("transfer-encoding")
        .is_some_and(|it| it == "chunked")
    {
        loop {
            let size = usize::from_str_radix(&line(&mut stream)?, 16)
                .map_err(|_| cut("no size of a chunk"))?;
            append(&mut stream, &mut body, size)?;
            line(&mut stream)?;
            if size == 0 {
                break;
            }
            if Instant::now() > deadline {
                return Err(Lost::Silent);
            }
        }
    } else {
        let length = headers
            .get("content-length")
            .and_then(|length| length.parse().ok());
        append(
            &mut stream,
            &mut body,
            length.ok_or_else(|| cut("no length"))?,
        )?;
    }
    Ok(Response {
        status,
        headers,
        body,
    })
}

fn append(stream: &mut impl BufRead, body: &mut Vec<u8>, size: usize) -> Result<(), Lost> {
    let start = body.len();
    body.resize(start + size, 0);
    Ok(stream.read_exact(&mut body[start..])?)
}

/// Reads a line without its line end; a stream that ends before it is cut off.
fn line(stream: &mut impl BufRead) -> Result<String, Lost> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    line.strip_suffix("\r\n")
        .map(str::to_owned)
        .ok_or_else(|| cut("the end within a line"))
}

fn cut(what: &str) -> Lost {
    Lost::Gone(io::Error::new(io::ErrorKind::UnexpectedEof, what))
}

/// Asserts that the certificate is valid at all times.
fn check_validity(certificate: &CertificateDer<'_>) {
    assert!(
        certificate
            .windows(VALIDITY.len())
            .any(|window| window == VALIDITY),
        "a certificate of another time"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_that_is_cut_off_is_none() {
        let whole = [
            "Content-Length: 3\r\n\r\nabc",
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ];
        for text in whole.map(|rest| format!("HTTP/1.1 200 OK\r\n{rest}")) {
            assert_eq!(read(text.as_bytes()).unwrap().body, b"abc");
            for end in 0..text.len() {
                assert!(
                    matches!(read(&text.as_bytes()[..end]), Err(Lost::Gone(_))),
                    "{:?}",
                    &text[..end]
                );
            }
        }
    }
}
