//! An HTTP client that sends exactly the given bytes.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::NONCE;

/// Longer than any build here takes on a busy machine; a longer wait means that something hangs.
const PATIENCE: Duration = Duration::from_secs(400);
const BOUNDARY: &str = "kettle-test-boundary";

/// A request, to be sent once on its own connection.
pub struct Request {
    method: &'static str,
    path: String,
    headers: String,
    body: Vec<u8>,
}

/// A response, read to its end.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name}: {:?}", self.headers))
    }

    /// Returns the job's id of a 202.
    pub fn job(&self) -> String {
        assert_eq!(self.status, 202, "{}", String::from_utf8_lossy(&self.body));
        self.json()["job_id"].as_str().unwrap().to_owned()
    }
}

impl Request {
    pub fn get(path: &str) -> Self {
        Self {
            method: "GET",
            path: path.to_owned(),
            headers: String::new(),
            body: Vec::new(),
        }
    }

    fn post(path: &str, content_type: &str, body: Vec<u8>) -> Self {
        let request = Self {
            method: "POST",
            path: path.to_owned(),
            headers: String::new(),
            body,
        };
        request.header("Content-Type", content_type)
    }

    /// Returns a request with an archive as JSON.
    pub fn json(archive: &[u8], name: &str) -> Self {
        let fields = serde_json::json!({ "nonce": NONCE, "source_data": STANDARD.encode(archive), "source_name": name });
        Self::post(
            "/build",
            "application/json",
            fields.to_string().into_bytes(),
        )
    }

    /// Returns a request with these fields, as JSON.
    pub fn fields(fields: &serde_json::Value) -> Self {
        let body = fields.to_string().into_bytes();
        Self::post("/build", "application/json", body)
    }

    /// Returns a request for a repository's default branch, or `reference`, as JSON.
    pub fn repository(url: &str, reference: Option<&str>) -> Self {
        let mut fields = serde_json::json!({ "nonce": NONCE, "repo_url": url });
        if let Some(reference) = reference {
            fields["repo_ref"] = reference.into();
        }
        Self::post(
            "/build",
            "application/json",
            fields.to_string().into_bytes(),
        )
    }

    /// Returns a request with an archive as a form; the response is the bundle.
    pub fn form(archive: &[u8], name: &str) -> Self {
        let mut body = Self::form_head(name);
        body.extend_from_slice(archive);
        body.extend_from_slice(Self::form_tail().as_bytes());
        Self::post(
            "/build",
            &format!("multipart/form-data; boundary={BOUNDARY}"),
            body,
        )
    }

    /// Returns the part of the form before the archive.
    fn form_head(name: &str) -> Vec<u8> {
        format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"nonce\"\r\n\r\n{NONCE}\r\n--{BOUNDARY}\r\n\
             Content-Disposition: form-data; name=\"source\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        )
        .into_bytes()
    }

    fn form_tail() -> String {
        format!("\r\n--{BOUNDARY}--\r\n")
    }

    pub fn at(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers += &format!("{name}: {value}\r\n");
        self
    }

    /// Sends the request, and returns the connection.
    pub fn send(&self, port: u16) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let Self {
            method,
            path,
            headers,
            body,
        } = self;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}"
        );
        stream.write_all(format!("{head}Content-Length: {length}\r\n\r\n").as_bytes())?;
        // A client that is refused before the end of the body need not send it all.
        let _ = stream.write_all(body);
        Ok(stream)
    }

    /// Sends the request, and waits for the whole response.
    pub fn run(&self, port: u16) -> Response {
        read(self.send(port).expect("a connection"))
    }

    /// Sends a body of `length` bytes that is never whole in memory: `head`, `frame` again and
    /// again, `tail`.
    pub fn flood(
        port: u16,
        content_type: &str,
        head: &[u8],
        frame: &[u8],
        count: usize,
        tail: &[u8],
    ) -> Response {
        let length = head.len() + frame.len() * count + tail.len();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let top = format!(
            "POST /build HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {content_type}\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(top.as_bytes()).unwrap();
        stream.write_all(head).unwrap();
        for sent in 0..count {
            stream
                .write_all(frame)
                .unwrap_or_else(|error| panic!("refused after {sent} frames: {error}"));
        }
        stream.write_all(tail).unwrap();
        read(stream)
    }

    /// Sends [`Self::flood`] as a form's archive.
    pub fn flood_form(port: u16, frame: &[u8], count: usize) -> Response {
        let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
        Self::flood(
            port,
            &content_type,
            &Self::form_head("flood.tar"),
            frame,
            count,
            Self::form_tail().as_bytes(),
        )
    }
}

/// An event stream that is read as it comes: numbers and events.
pub struct Events(Box<dyn BufRead>);

impl Events {
    pub fn open(port: u16, path: &str) -> Self {
        Self::of(Request::get(path).send(port).unwrap())
    }

    /// Reads the events on a connection on which a request was sent.
    pub fn of(stream: TcpStream) -> Self {
        let mut stream = BufReader::new(stream);
        let (status, headers) = read_head(&mut stream);
        assert_eq!(status, 200, "{headers:?}");
        assert_eq!(headers["content-type"], "text/event-stream");
        if headers
            .get("transfer-encoding")
            .is_some_and(|it| it == "chunked")
        {
            Self(Box::new(BufReader::new(Chunked {
                inner: stream,
                left: 0,
                ended: false,
            })))
        } else {
            Self(Box::new(stream))
        }
    }
}

impl Iterator for Events {
    type Item = (Option<u64>, Value);

    fn next(&mut self) -> Option<Self::Item> {
        let (mut id, mut line) = (None, String::new());
        loop {
            line.clear();
            if self.0.read_line(&mut line).expect("an event in time") == 0 {
                return None;
            }
            if let Some(number) = line.strip_prefix("id:") {
                id = Some(number.trim().parse().unwrap());
            } else if let Some(data) = line.strip_prefix("data:") {
                return Some((id, serde_json::from_str(data).unwrap()));
            }
        }
    }
}

/// Reads a response to its end.
pub fn read(stream: TcpStream) -> Response {
    let mut stream = BufReader::new(stream);
    let (status, headers) = read_head(&mut stream);
    let mut body = Vec::new();
    if headers
        .get("transfer-encoding")
        .is_some_and(|it| it == "chunked")
    {
        Chunked {
            inner: stream,
            left: 0,
            ended: false,
        }
        .read_to_end(&mut body)
        .expect("a body in time");
    } else {
        stream.read_to_end(&mut body).expect("a body in time");
        if let Some(length) = headers.get("content-length") {
            assert_eq!(body.len().to_string(), *length);
        }
    }
    Response {
        status,
        headers,
        body,
    }
}

fn read_head(stream: &mut impl BufRead) -> (u16, BTreeMap<String, String>) {
    let mut line = || {
        let mut line = String::new();
        stream.read_line(&mut line).expect("a head in time");
        line.trim_end().to_owned()
    };
    let first = line();
    let status = first
        .split(' ')
        .nth(1)
        .unwrap_or_else(|| panic!("{first:?} is no status"))
        .parse()
        .unwrap();
    let mut headers = BTreeMap::new();
    loop {
        let line = line();
        let Some((name, value)) = line.split_once(':') else {
            return (status, headers);
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}

/// A chunked body. Its end without the last chunk is an error.
struct Chunked<R> {
    inner: R,
    left: usize,
    ended: bool,
}

impl<R: BufRead> Read for Chunked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.ended {
            let mut line = String::new();
            self.inner.read_line(&mut line)?;
            self.left = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            self.ended = self.left == 0;
        }
        if self.ended {
            return Ok(0);
        }
        let most = buffer.len().min(self.left);
        let count = self.inner.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count;
        if self.left == 0 {
            self.inner.read_exact(&mut [0; 2])?;
        }
        Ok(count)
    }
}
