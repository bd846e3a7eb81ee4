//! Starts a machine with a program of the user's (`--launch exec:PROGRAM`).
//!
//! * In: the program.
//! * Out: the address that it prints as its first line.
//! * Never: a shell; an address that is not one line of visible ASCII characters.
//!
//! The program runs as long as its machine is wanted. The end of its input tells it to end the
//! machine; it may take 30 seconds for that, and is killed after them. An interrupt from the terminal
//! reaches kettle and not the program, which would else end before its machine. What it prints after the
//! address goes to standard error.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::{Machine, MachineError, Process};

/// Longest address that a program may print, in bytes.
const MAX_ADDRESS_BYTES: u64 = 512;

/// Starts the program, and waits for the address of its machine.
///
/// # Errors
/// It cannot be started, ends, or prints no address within `patience`.
pub fn start(path: &Path, patience: Duration) -> Result<Machine, MachineError> {
    let program = path.display().to_string();
    let spawned = Command::new(path)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(MachineError::start(&program))?;
    let output = child.stdout.take();
    let mut process = Process {
        program: program.clone(),
        child,
        ends_with_input: true,
        directory: None,
    };
    let first_line = output.map(first_line);
    let received = first_line.map(|receiver| receiver.recv_timeout(patience));
    if let Some(Ok(printed)) = received {
        return Ok(Machine::new(address(&program, &printed)?, process));
    }
    if !matches!(received, Some(Err(RecvTimeoutError::Timeout))) {
        // It has closed its output; its status says more, unless it does not end.
        process.end();
        process.check()?;
    }
    Err(MachineError::NoAddress {
        program,
        seconds: patience.as_secs(),
    })
}

/// Reads the first line in a thread of its own, which then passes the rest on to standard error.
fn first_line(output: ChildStdout) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        let read = output
            .by_ref()
            .take(MAX_ADDRESS_BYTES)
            .read_until(b'\n', &mut line);
        if matches!(read, Ok(1..)) && sender.send(line).is_ok() {
            // Nobody reads it if this fails.
            let _ = io::copy(&mut output, &mut io::stderr());
        }
    });
    receiver
}

/// Reads a URL, or a host with or without a port.
fn address(program: &str, printed: &[u8]) -> Result<String, MachineError> {
    let text = String::from_utf8_lossy(printed);
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(MachineError::Address {
            program: program.to_owned(),
            printed: text.to_owned(),
        });
    }
    if text.contains("://") {
        return Ok(text.to_owned());
    }
    Ok(format!("https://{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_url_or_a_host() {
        for (printed, expected) in [
            ("192.0.2.1\n", "https://192.0.2.1"),
            ("host.example:8443\r\n", "https://host.example:8443"),
            ("[2001:db8::1]", "https://[2001:db8::1]"),
            ("http://127.0.0.1:80\n", "http://127.0.0.1:80"),
        ] {
            assert_eq!(address("p", printed.as_bytes()).unwrap(), expected);
        }
        for printed in ["", "\n", "a b\n", "\x1b[2J\n", "ü\n"] {
            let refused = address("p", printed.as_bytes());
            assert!(matches!(refused, Err(MachineError::Address { .. })));
        }
    }
}
