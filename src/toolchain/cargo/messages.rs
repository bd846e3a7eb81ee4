//! Tells cargo's messages from a build's other output. Comes in: the chunks of a build. Goes out: the names of files
//! that may be handed out, and everything else to the log. Never: memory that grows with a line, or a message that is
//! believed for more than which file to look at.

use std::collections::BTreeSet;
use std::io;

use serde::Deserialize;

use crate::sandbox::{OutputSink, Stream};
use crate::toolchain::Log;

use super::metadata::{CompilerArtifact, Metadata};

/// Longest line that can be a message of cargo's, in bytes. Longer ones are ordinary output.
const MAX_MESSAGE_BYTES: usize = 256 << 10;

/// How every message of cargo's begins.
const MESSAGE_START: &[u8] = b"{\"reason\":";

/// Takes a build's output.
pub struct Messages<'a> {
    metadata: &'a Metadata,
    log: &'a mut dyn Log,
    line: Vec<u8>,
    passing: bool,
    names: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact(CompilerArtifact),
    BuildFinished,
    BuildScriptExecuted,
    #[serde(rename = "compiler-message")]
    Diagnostic,
}

impl<'a> Messages<'a> {
    /// Hands on to `log` what is no message.
    pub fn new(metadata: &'a Metadata, log: &'a mut dyn Log) -> Self {
        Self { metadata, log, line: Vec::new(), passing: false, names: BTreeSet::new() }
    }

    /// The names of files in `release` that were announced, after the last chunk.
    ///
    /// # Errors
    /// The log takes nothing more.
    pub fn finish(mut self) -> io::Result<BTreeSet<String>> {
        self.end_line()?;
        Ok(self.names)
    }

    /// Takes a part of one line of standard output: held back while it can still be a message.
    fn part(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.passing {
            return self.log.output(Stream::Stdout, bytes);
        }
        self.line.extend_from_slice(bytes);
        let common = self.line.len().min(MESSAGE_START.len());
        if self.line[..common] != MESSAGE_START[..common] || self.line.len() > MAX_MESSAGE_BYTES {
            self.passing = true;
            self.log.output(Stream::Stdout, &std::mem::take(&mut self.line))?;
        }
        Ok(())
    }

    fn end_line(&mut self) -> io::Result<()> {
        self.passing = false;
        let line = std::mem::take(&mut self.line);
        match serde_json::from_slice(&line) {
            Ok(Message::CompilerArtifact(artifact)) => self.names.extend(self.metadata.announced(&artifact)),
            Ok(Message::BuildFinished | Message::BuildScriptExecuted | Message::Diagnostic) => {}
            Err(_) if line.is_empty() => {}
            Err(_) => self.log.output(Stream::Stdout, &line)?,
        }
        Ok(())
    }
}

impl OutputSink for Messages<'_> {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if stream == Stream::Stderr {
            return self.log.output(stream, bytes);
        }
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.part(part)?;
            if part.ends_with(b"\n") {
                self.end_line()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::test_only::Recorded;

    const METADATA: &str = r#"{"packages":[{"id":"app","name":"app","version":"0.1.0","manifest_path":"/x/Cargo.toml",
        "targets":[{"name":"app","kind":["bin"],"crate_types":["bin"]}]}],"workspace_default_members":["app"],"workspace_root":"/kettle/source"}"#;
    const ARTIFACT: &str = r#"{"reason":"compiler-artifact","package_id":"app","target":{"name":"app","kind":["bin"]},"filenames":["/kettle/target/release/app"]}"#;

    fn run(output: &[u8], size: usize) -> (BTreeSet<String>, String) {
        let metadata = Metadata::parse(METADATA.as_bytes()).unwrap();
        let mut log = Recorded::default();
        let mut messages = Messages::new(&metadata, &mut log);
        for chunk in output.chunks(size) {
            messages.chunk(Stream::Stdout, chunk).unwrap();
        }
        (messages.finish().unwrap(), String::from_utf8(log.output).unwrap())
    }

    #[test]
    fn messages_are_kept_from_the_log_however_they_are_cut() {
        let output = format!("hello\n\n{{\"reason\":\"build-finished\",\"success\":true}}\n{ARTIFACT}\n{{x}}\nend");
        for size in [1, 7, 1000] {
            let (names, log) = run(output.as_bytes(), size);
            assert_eq!(names, BTreeSet::from(["app".to_owned()]));
            assert_eq!(log, "hello\n\n{x}\nend");
        }
    }

    #[test]
    fn what_only_looks_like_a_message_is_output() {
        for line in ["{\"reason\":", "{\"reason\":7}\n", "{\"reason\":\"x\"} y\n", "{\"reason\":\"x\"}\n"] {
            assert_eq!(run(line.as_bytes(), 3), (BTreeSet::new(), line.to_owned()));
        }
        let endless = format!("{{\"reason\":\"{}", "x".repeat(2 * MAX_MESSAGE_BYTES));
        assert_eq!(run(endless.as_bytes(), 4096).1, endless);
    }
}
