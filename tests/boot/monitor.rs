//! Sends a host's commands for a running machine to the emulator: QEMU's own protocol, one JSON
//! document a line.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::machine::Machine;

/// The time from QEMU's start to its socket.
const LIMIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

impl Machine {
    /// Sends one command, which QEMU has carried out, or begun, when this returns.
    pub fn order(&self, command: &str, arguments: &Value) -> Value {
        let stream = self.connect_to("monitor");
        let mut lines = BufReader::new(stream.try_clone().unwrap())
            .lines()
            .map(Result::unwrap);
        assert!(lines.next().unwrap().contains("QMP"), "the greeting");
        let mut ask = |command: &str, arguments: &Value| {
            writeln!(
                &stream,
                "{}",
                json!({ "execute": command, "arguments": arguments })
            )
            .unwrap();
            let answers = lines
                .by_ref()
                .map(|line| serde_json::from_str::<Value>(&line).unwrap());
            // Events may come before the reply.
            let mut answers = answers.filter(|answer| answer.get("event").is_none());
            let mut answer = answers
                .next()
                .unwrap_or_else(|| panic!("no reply to {command}"));
            assert!(
                answer.get("error").is_none(),
                "{command} {arguments}: {answer}"
            );
            answer["return"].take()
        };
        ask("qmp_capabilities", &json!({}));
        ask(command, arguments)
    }

    /// Connects to the other end of the serial line.
    pub fn serial_line(&self) -> UnixStream {
        self.connect_to("serial")
    }

    /// Connects to a socket, which QEMU creates when it starts.
    fn connect_to(&self, socket: &str) -> UnixStream {
        let start = Instant::now();
        loop {
            match UnixStream::connect(self.directory.path().join(socket)) {
                Ok(stream) => return stream,
                Err(error) => assert!(
                    start.elapsed() < LIMIT,
                    "{socket}: {error}: {}",
                    self.console()
                ),
            }
            sleep(PAUSE);
        }
    }
}
