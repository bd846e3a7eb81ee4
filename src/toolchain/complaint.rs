//! Finds the first error that a tool prints, for a message to the caller.
//!
//! * In: the output of a tool, cut anywhere.
//! * Out: its first error with the lines that explain it, as one line of limited length.
//! * Never: a server's response: the server could be one of the machine's own network.

use std::io;

use crate::sandbox::{OutputSink, Stream};

/// The number of bytes of a line that are kept; the rest is cut.
const MAX_LINE_BYTES: usize = 400;

/// The largest number of lines of one error.
const MAX_LINES: usize = 12;

/// The length of the longest error, in bytes.
const MAX_COMPLAINT_BYTES: usize = 1000;

/// The beginnings of the first line of an error: cargo's and nix's, the compiler's, git's.
const STARTS: [&str; 3] = ["error:", "error[", "fatal:"];

/// The beginnings of the lines that end an error.
const ENDS: [&str; 4] = ["warning:", "error:", "error[", "note: this error"];

/// The texts in a line from which on a tool repeats a server's response.
const OF_SERVERS: [&str; 7] = [
    "remote:",
    "remote error",
    "debug headers",
    "body:",
    "protocol error",
    "server response",
    "bad line length",
];

/// A reader of the standard error of one command, which keeps the first error.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    line: Vec<u8>,
    kept: Vec<String>,
    is_over: bool,
}

impl Complaint {
    /// Takes the next bytes of standard error.
    pub fn take(&mut self, bytes: &[u8]) {
        if self.is_over {
            return;
        }
        for &byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                byte if self.line.len() < MAX_LINE_BYTES => self.line.push(byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        let line = text.trim();
        let starts = |starts: &[&str]| starts.iter().any(|start| line.starts_with(start));
        let is_first = self.kept.is_empty();
        if self.is_over || line.is_empty() || is_first && !starts(&STARTS) {
            return;
        }
        let is_of_a_server = OF_SERVERS.iter().any(|words| line.contains(words));
        if is_of_a_server || !is_first && starts(&ENDS) {
            self.is_over = true;
            return;
        }
        // A line with nothing but the compiler's margins tells nothing.
        if !line
            .trim_start_matches(['|', '^', '-', ' ', '='])
            .is_empty()
        {
            self.kept.push(line.to_owned());
        }
        self.is_over = self.kept.len() == MAX_LINES;
    }

    /// Returns the error, if there was one.
    pub fn text(mut self) -> Option<String> {
        self.end_line();
        if self.kept.is_empty() {
            return None;
        }
        let mut text = String::new();
        for line in &self.kept {
            match text.chars().last() {
                None => {}
                Some(':') => text.push(' '),
                Some(_) => text.push_str("; "),
            }
            text.push_str(line);
        }
        let end = (0..=text.len().min(MAX_COMPLAINT_BYTES))
            .rfind(|&end| text.is_char_boundary(end))
            .unwrap_or_default();
        text.truncate(end);
        Some(text)
    }
}

/// A sink that passes everything on and keeps the first error.
pub(super) struct Overheard<'a> {
    sink: &'a mut dyn OutputSink,
    complaint: Complaint,
}

impl<'a> Overheard<'a> {
    /// Returns a sink that passes everything on to `sink`.
    pub fn new(sink: &'a mut dyn OutputSink) -> Self {
        Self {
            sink,
            complaint: Complaint::default(),
        }
    }

    /// Returns the first error, when the command has ended.
    pub fn complaint(self) -> Option<String> {
        self.complaint.text()
    }
}

impl OutputSink for Overheard<'_> {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if stream == Stream::Stderr {
            self.complaint.take(bytes);
        }
        self.sink.chunk(stream, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint_of(text: &str, size: usize) -> Option<String> {
        let mut complaint = Complaint::default();
        for chunk in text.as_bytes().chunks(size) {
            complaint.take(chunk);
        }
        complaint.text()
    }

    #[test]
    fn the_first_error_is_kept_with_its_position_however_it_is_cut() {
        let output = "   Compiling a v0.1.0\nwarning: unused\n\
                      error[E0425]: cannot find value `x` in this scope\n \
                      --> src/main.rs:2:5\n  |\n2 |     x\n  |     ^ not found\n\nerror: aborting\n";
        for size in [1, 7, 1000] {
            assert_eq!(
                complaint_of(output, size).unwrap(),
                "error[E0425]: cannot find value `x` in this scope; \
                 --> src/main.rs:2:5; 2 |     x; |     ^ not found"
            );
        }
        assert_eq!(complaint_of("   Compiling a\n", 1), None);
    }

    #[test]
    fn the_cause_of_a_build_script_is_kept() {
        let output = "error: failed to run custom build command for `x v1.0.0`\n\n\
                      Caused by:\n  process didn't exit\n";
        assert_eq!(
            complaint_of(output, 3).unwrap(),
            "error: failed to run custom build command for `x v1.0.0`; \
             Caused by: process didn't exit"
        );
    }

    #[test]
    fn a_response_of_a_server_is_not_kept() {
        for output in [
            "remote: secret\n",
            "fatal: remote error: secret\n",
            "fatal: protocol error: bad line length character: secret\n",
        ] {
            assert_eq!(complaint_of(output, 5), None, "{output}");
        }
        let output =
            "error: failed to download\nCaused by:\n  got 500\n  debug headers:\n  secret\n";
        assert_eq!(
            complaint_of(output, 9).unwrap(),
            "error: failed to download; Caused by: got 500"
        );
    }

    #[test]
    fn an_error_has_a_limit() {
        let output =
            format!("error: {}\n", "ö".repeat(10_000)).repeat(1) + &"x".repeat(9000) + "\n";
        let said = complaint_of(
            &(output + &format!("{}\n", "é".repeat(500)).repeat(20)),
            4096,
        )
        .unwrap();
        assert!(said.len() <= MAX_COMPLAINT_BYTES);
    }
}
