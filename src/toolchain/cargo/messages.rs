//! Separates cargo's messages from the other output of a build.
//!
//! * In: the chunks of a build's output.
//! * Out: the names of files that may be delivered, the arguments of the linker, and everything
//!   else to the log.
//! * Never: memory that grows with a line, or a message that is believed for more than which file
//!   to look at and what to record about the linker.

use std::collections::BTreeSet;
use std::io;

use serde::Deserialize;

use crate::sandbox::{OutputSink, Stream};
use crate::toolchain::Log;
use crate::toolchain::lines::{self, HeldLine};

use super::links::Links;
use super::metadata::{CompilerArtifact, Metadata};

/// The length of the longest line that can be a message of cargo, in bytes. A longer one is
/// ordinary output.
const MAX_MESSAGE_BYTES: usize = 256 << 10;

/// The length of the longest command that is read, in bytes: Linux takes no longer arguments.
const MAX_COMMAND_BYTES: usize = 2 << 20;

/// The beginning of every message of cargo.
const MESSAGE_START: &[u8] = b"{\"reason\":";

/// The beginning of the message about a build script.
const BUILD_SCRIPT_START: &[u8] = b"{\"reason\":\"build-script-executed\"";

/// The beginning of the line in which `cargo --verbose` shows a command; the command and a backtick
/// follow.
const COMMAND_START: &str = "     Running `";

/// The lines that `cargo --verbose` prints because its home is read-only; they help no reader.
const COMPLAINT: [&[u8]; 7] = [
    b"warning: failed to save last-use data\n",
    b"This may prevent cargo from accurately tracking what is being used in its global cache. \
      This information is used for automatically removing unused data in the cache.\n",
    b"\n",
    b"unable to open database file: /kettle/cargo/.global-cache\n",
    b"\n",
    b"Caused by:\n",
    b"  Error code 14: unable to open database file\n",
];

/// Reads the output of a build.
pub struct Messages<'a> {
    metadata: &'a Metadata,
    log: &'a mut dyn Log,
    messages: HeldLine,
    commands: HeldLine,
    /// The number of lines of [`COMPLAINT`] that are held back.
    complaint: usize,
    names: BTreeSet<String>,
    links: Links<'a>,
}

/// The content of the messages of a build.
pub struct Announced<'a> {
    /// The names of files in `release` that may be delivered.
    pub names: BTreeSet<String>,
    /// The arguments and variables that build scripts gave to the linker.
    pub links: Links<'a>,
}

#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact(CompilerArtifact),
    BuildFinished,
    BuildScriptExecuted {
        package_id: String,
        env: Vec<(String, String)>,
    },
    #[serde(rename = "compiler-message")]
    Diagnostic,
}

impl<'a> Messages<'a> {
    /// Sends everything but cargo's messages to `log`; `compiler` is the rustc that cargo runs.
    pub fn new(metadata: &'a Metadata, compiler: &str, log: &'a mut dyn Log) -> Self {
        let command_start = format!("{COMMAND_START}{compiler} ");
        let mut commands = HeldLine::new(command_start, MAX_COMMAND_BYTES);
        commands.exact = COMPLAINT[0];
        Self {
            metadata,
            log,
            messages: HeldLine::new(MESSAGE_START, MAX_MESSAGE_BYTES),
            commands,
            complaint: 0,
            names: BTreeSet::new(),
            links: Links::new(metadata),
        }
    }

    /// Returns the content of the messages, after the last chunk.
    ///
    /// # Errors
    /// The log cannot take the rest of the output.
    pub fn finish(mut self) -> io::Result<Announced<'a>> {
        self.end_message()?;
        self.end_command()?;
        self.release_complaint()?;
        Ok(Announced {
            names: self.names,
            links: self.links,
        })
    }

    /// Takes a part of a line: held back while the line can still be a message.
    fn part(&mut self, stream: Stream, part: &[u8]) -> io::Result<()> {
        let held = if stream == Stream::Stdout {
            &mut self.messages
        } else {
            &mut self.commands
        };
        let was_held = held.is_held();
        let passed = held.take(part);
        let recorded = if stream == Stream::Stdout {
            BUILD_SCRIPT_START
        } else {
            &held.start
        };
        // A line that would have been recorded is longer than the limit.
        if was_held && passed.starts_with(recorded) {
            self.links.note_unreadable();
        }
        if passed.is_empty() {
            return Ok(());
        }
        if stream == Stream::Stderr {
            self.release_complaint()?;
        }
        self.log.output(stream, &passed)
    }

    /// Takes a whole line that is the next one of [`COMPLAINT`], which is dropped after its last
    /// line.
    fn hold_complaint(&mut self) {
        self.complaint = (self.complaint + 1) % COMPLAINT.len();
        self.commands.exact = COMPLAINT[self.complaint];
    }

    /// Sends the held lines to the log: they began like [`COMPLAINT`], and something else follows.
    fn release_complaint(&mut self) -> io::Result<()> {
        for line in &COMPLAINT[..std::mem::take(&mut self.complaint)] {
            self.log.output(Stream::Stderr, line)?;
        }
        self.commands.exact = COMPLAINT[0];
        Ok(())
    }

    fn end_message(&mut self) -> io::Result<()> {
        let line = self.messages.end();
        match serde_json::from_slice(&line) {
            Ok(Message::CompilerArtifact(artifact)) => {
                self.names.extend(self.metadata.announced(&artifact))
            }
            Ok(Message::BuildScriptExecuted { package_id, env }) => {
                self.links.take_variables(&package_id, env)
            }
            Ok(Message::BuildFinished | Message::Diagnostic) => {}
            Err(_) if line.is_empty() => {}
            Err(_) => self.log.output(Stream::Stdout, &line)?,
        }
        Ok(())
    }

    fn end_command(&mut self) -> io::Result<()> {
        let line = self.commands.end();
        if line == self.commands.exact {
            self.hold_complaint();
            return Ok(());
        }
        if line.is_empty() {
            return Ok(());
        }
        self.release_complaint()?;
        let Some(rest) = line.strip_prefix(self.commands.start.as_slice()) else {
            return self.log.output(Stream::Stderr, &line);
        };
        match rest.strip_suffix(b"\n").unwrap_or(rest).strip_suffix(b"`") {
            Some(arguments) => self.links.take_command(arguments),
            None => self.links.note_unreadable(),
        }
        Ok(())
    }
}

impl OutputSink for Messages<'_> {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        for (part, is_end) in lines::parts(bytes) {
            self.part(stream, part)?;
            match stream {
                _ if !is_end => {}
                Stream::Stdout => self.end_message()?,
                Stream::Stderr => self.end_command()?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provenance::LinkRecord;
    use crate::toolchain::cargo::CargoError;
    use crate::toolchain::test_only::Recorded;

    const METADATA: &str = r#"{"packages":[{"id":"app","name":"app","version":"0.1.0","manifest_path":"/x/Cargo.toml",
        "targets":[{"name":"app","kind":["bin"],"crate_types":["bin"]}]}],"workspace_default_members":["app"],"workspace_root":"/kettle/source"}"#;
    const ARTIFACT: &str = r#"{"reason":"compiler-artifact","package_id":"app","target":{"name":"app","kind":["bin"]},"filenames":["/kettle/target/release/app"]}"#;

    fn run(output: &[u8], size: usize) -> (BTreeSet<String>, String) {
        let metadata = Metadata::parse(METADATA.as_bytes()).unwrap();
        let mut log = Recorded::default();
        let mut messages = Messages::new(&metadata, "/x/rustc", &mut log);
        for chunk in output.chunks(size) {
            messages.chunk(Stream::Stdout, chunk).unwrap();
        }
        (
            messages.finish().unwrap().names,
            String::from_utf8(log.output).unwrap(),
        )
    }

    /// Returns the records about the linker, and the text of the log.
    fn run_commands(output: &[u8], size: usize) -> (Result<Vec<LinkRecord>, CargoError>, String) {
        let metadata = Metadata::parse(METADATA.as_bytes()).unwrap();
        let mut log = Recorded::default();
        let mut messages = Messages::new(&metadata, "/x/rustc", &mut log);
        for chunk in output.chunks(size) {
            messages.chunk(Stream::Stderr, chunk).unwrap();
        }
        (
            messages.finish().unwrap().links.records(),
            String::from_utf8(log.output).unwrap(),
        )
    }

    #[test]
    fn commands_of_the_compiler_are_read_and_kept_from_the_log_however_they_are_cut() {
        let output = "   Compiling app\n     Running `/x/rustc --crate-name app src/main.rs -C link-arg=-B.`\n     Running `/x/build-script`\n\
                      \n    Finished\nend";
        for size in [1, 7, 1000] {
            let (records, log) = run_commands(output.as_bytes(), size);
            let records = records.unwrap();
            assert_eq!(
                (records.len(), records[0].arguments.as_slice()),
                (1, &["-B.".to_owned()][..])
            );
            assert_eq!(
                log,
                "   Compiling app\n     Running `/x/build-script`\n\n    Finished\nend"
            );
        }
    }

    #[test]
    fn the_complaint_about_a_read_only_home_is_dropped_and_nothing_like_it() {
        let complaint = String::from_utf8(COMPLAINT.concat()).unwrap();
        let cut = String::from_utf8(COMPLAINT[..4].concat()).unwrap();
        let begun = "warning: failed to save la";
        for size in [1, 7, 1000] {
            let kept = |output: &str| run_commands(output.as_bytes(), size).1;
            assert_eq!(kept(&format!("a\n{complaint}b\n{complaint}")), "a\nb\n");
            for other in [
                format!("{cut}{begun}x\n"),
                cut.clone(),
                begun.to_owned(),
                format!("{cut}{cut}y"),
            ] {
                assert_eq!(kept(&other), other);
            }
        }
    }

    #[test]
    fn a_command_that_cannot_be_read_fails_the_build() {
        let endless = format!(
            "     Running `/x/rustc {}`\n",
            "x".repeat(MAX_COMMAND_BYTES)
        );
        for output in [
            "     Running `/x/rustc x\n",
            "     Running `/x/rustc 'x`\ny'`\n",
            "     Running `/x/rustc x",
            &endless,
        ] {
            let (records, _) = run_commands(output.as_bytes(), 4096);
            assert!(matches!(records, Err(CargoError::Commands)), "{records:?}");
        }
        let metadata = Metadata::parse(METADATA.as_bytes()).unwrap();
        let mut log = Recorded::default();
        let mut messages = Messages::new(&metadata, "/x/rustc", &mut log);
        let variable = format!("[\"X\",\"{}\"]", "x".repeat(MAX_MESSAGE_BYTES));
        let message = format!(
            "{{\"reason\":\"build-script-executed\",\"package_id\":\"app\",\"env\":[{variable}]}}\n"
        );
        messages.chunk(Stream::Stdout, message.as_bytes()).unwrap();
        let records = messages.finish().unwrap().links.records();
        assert!(matches!(records, Err(CargoError::Commands)), "{records:?}");
    }

    #[test]
    fn messages_are_kept_from_the_log_however_they_are_cut() {
        let output = format!(
            "hello\n\n{{\"reason\":\"build-finished\",\"success\":true}}\n{ARTIFACT}\n{{x}}\nend"
        );
        for size in [1, 7, 1000] {
            let (names, log) = run(output.as_bytes(), size);
            assert_eq!(names, BTreeSet::from(["app".to_owned()]));
            assert_eq!(log, "hello\n\n{x}\nend");
        }
    }

    #[test]
    fn what_only_looks_like_a_message_is_output() {
        for line in [
            "{\"reason\":",
            "{\"reason\":7}\n",
            "{\"reason\":\"x\"} y\n",
            "{\"reason\":\"x\"}\n",
        ] {
            assert_eq!(run(line.as_bytes(), 3), (BTreeSet::new(), line.to_owned()));
        }
        let endless = format!("{{\"reason\":\"{}", "x".repeat(2 * MAX_MESSAGE_BYTES));
        assert_eq!(run(endless.as_bytes(), 4096).1, endless);
    }
}
