//! The machine's own `curl` as the transport. Comes in: an https address. Goes out: the answer. Never: another scheme, a
//! redirect followed, somebody's `.curlrc`, more bytes or seconds than the limits say.
//!
//! A static program has no business resolving names, and a TLS library with a set of authorities would be most of this one.
//! Nothing depends on what `curl` says: an answer is judged by AMD's signatures in it.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};

use super::{Answer, Transport, TransportError};
use crate::text;

/// Longest wait for a connection, and for all of an answer, in seconds.
const MAX_CONNECT_SECONDS: u32 = 15;
const MAX_SECONDS: u32 = 60;
/// Most bytes of a complaint that are shown.
const MAX_MESSAGE_BYTES: u64 = 1024;
/// Digits of an HTTP status, which follow the body.
const STATUS_DIGITS: usize = 3;
/// Exit status of `curl` for an answer that announces more bytes than allowed.
const FILE_SIZE_EXCEEDED: i32 = 63;

/// `curl`, as it is found in `PATH`. It takes proxies and authorities from its environment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Curl;

impl Transport for Curl {
    fn get(&self, url: &str, limit: usize) -> Result<Answer, TransportError> {
        let mut child = command(url, limit).spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => TransportError::Missing,
            _ => TransportError::Run(error),
        })?;
        let read = output(&mut child, limit);
        if !matches!(read, Ok((ref bytes, _)) if bytes.len() <= limit + STATUS_DIGITS) {
            // It may have ended by itself.
            let _ = child.kill();
        }
        let ended = child.wait().map_err(TransportError::Run)?;
        let (bytes, message) = read.map_err(TransportError::Run)?;
        if bytes.len() > limit + STATUS_DIGITS || ended.code() == Some(FILE_SIZE_EXCEEDED) {
            return Err(TransportError::Size { limit });
        }
        answer(bytes).filter(|_| ended.success()).ok_or_else(|| failure(&message, &ended.to_string()))
    }
}

fn command(url: &str, limit: usize) -> Command {
    let mut command = Command::new("curl");
    command
        .arg("--disable")
        .args(["--silent", "--show-error", "--globoff"])
        .args(["--proto", "=https"])
        .args(["--connect-timeout", &MAX_CONNECT_SECONDS.to_string()])
        .args(["--max-time", &MAX_SECONDS.to_string()])
        .args(["--max-filesize", &limit.to_string()])
        .args(["--write-out", "%{http_code}"])
        .args(["--url", url])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Body with status, and complaints; of each one byte more than is wanted at most.
fn output(child: &mut Child, limit: usize) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut bytes, mut message) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    if let Some(stdout) = stdout {
        stdout.take((limit + STATUS_DIGITS + 1) as u64).read_to_end(&mut bytes)?;
    }
    if let Some(stderr) = stderr.filter(|_| bytes.len() <= limit + STATUS_DIGITS) {
        stderr.take(MAX_MESSAGE_BYTES).read_to_end(&mut message)?;
    }
    Ok((bytes, message))
}

fn answer(mut bytes: Vec<u8>) -> Option<Answer> {
    let status = bytes.split_off(bytes.len().checked_sub(STATUS_DIGITS)?);
    let status = std::str::from_utf8(&status).ok()?.parse().ok()?;
    Some(Answer { status, body: bytes })
}

fn failure(message: &[u8], ended: &str) -> TransportError {
    let message = String::from_utf8_lossy(message);
    let line = message.lines().next().unwrap_or_default().trim();
    let text = if line.is_empty() { format!("curl: {ended}") } else { line.to_owned() };
    TransportError::Failed { message: text::ascii(&text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_what_follows_the_body() {
        assert_eq!(answer(b"200".to_vec()), Some(Answer { status: 200, body: Vec::new() }));
        assert_eq!(answer(b"404404".to_vec()), Some(Answer { status: 404, body: b"404".to_vec() }));
        for bytes in [&b""[..], b"20", b"body", b"\xff\xff\xff"] {
            assert_eq!(answer(bytes.to_vec()), None);
        }
    }

    #[test]
    fn a_complaint_is_one_line_for_a_terminal() {
        let TransportError::Failed { message } = failure(b"curl: (6)\x1b[2J no\nmore\n", "") else { panic!() };
        assert_eq!(message, "curl: (6)\\u{1b}[2J no");
        assert_eq!(failure(b"", "exit status: 7").to_string(), "curl: exit status: 7");
    }

    #[test]
    fn the_first_option_keeps_configuration_out() {
        let command = command("https://example.org", 9);
        assert_eq!(command.get_args().next().unwrap(), "--disable");
    }
}
