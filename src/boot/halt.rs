//! Ends the machine, and prints its only messages.
//!
//! * In: the reason.
//! * Out: a line on the console; then nothing.
//! * Never: a byte that a build, or a peer on the network, chose.

use std::error::Error;
use std::io::{self, Write as _};
use std::thread;

use rustix::system::{RebootCommand, reboot};

use crate::causes::Chain;

/// The length of a console line, in bytes. It has printable ASCII only, because parts of it come
/// from the host's devices.
const MAX_LINE_BYTES: usize = 400;

/// Prints the reason, and ends the machine.
pub fn halt(reason: &(dyn Error + 'static)) -> ! {
    say(&format!("halting: {}", Chain(reason)));
    end()
}

/// Makes every panic of every thread end the machine.
pub fn halt_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        // The location, never the message: that can contain bytes of a client.
        let location = match panic.location() {
            Some(location) => location.to_string(),
            None => "?".to_owned(),
        };
        say(&format!("halting: panic at {location}"));
        end()
    }));
}

/// Prints one line on the console.
pub(super) fn say(text: &str) {
    // Without a console, the machine behaves the same.
    let _ = io::stdout().write_all(line(text).as_bytes());
}

fn end() -> ! {
    // Turning the power off takes code of the host's ACPI tables, which no kernel of ours runs; a
    // reset does not. A machine with encrypted state cannot be reset: this is its end. Elsewhere
    // the host decides whether the machine starts again, with nothing of this one.
    let _ = reboot(RebootCommand::Restart);
    // If the kernel refuses, it loses its PID 1 and panics.
    if std::process::id() == 1 {
        std::process::abort()
    }
    loop {
        thread::park();
    }
}

fn line(text: &str) -> String {
    let printable = |character: char| {
        if character == ' ' || character.is_ascii_graphic() {
            character
        } else {
            '?'
        }
    };
    let text: String = text.chars().take(MAX_LINE_BYTES).map(printable).collect();
    format!("kettle: {text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_line_is_one_line_whatever_is_in_it() {
        assert_eq!(line("a\nb\x1b[2J\u{e9}"), "kettle: a?b?[2J?\n");
        assert_eq!(
            line(&"x".repeat(9999)).len(),
            "kettle: \n".len() + MAX_LINE_BYTES
        );
    }
}
