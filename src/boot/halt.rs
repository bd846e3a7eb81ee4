//! The end of the machine, and its only voice. Comes in: why. Goes out: that, on the console; then nothing. Never: a byte
//! that a build, or anybody on the network, chose.

use std::error::Error;
use std::io::{self, Write as _};
use std::thread;

use rustix::system::{RebootCommand, reboot};

use crate::causes::Chain;

/// A console line is at most this long, in bytes, and has printable ASCII only: some of it comes from the host's devices.
const MAX_LINE_BYTES: usize = 400;

/// Says why, and ends the machine.
pub fn halt(reason: &(dyn Error + 'static)) -> ! {
    say(&format!("halting: {}", Chain(reason)));
    end()
}

/// Every panic ends the machine as well, by whatever thread.
pub fn halt_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        // The place, never the message: that can hold a client's bytes.
        let place = panic
            .location()
            .map_or_else(|| "?".to_owned(), ToString::to_string);
        say(&format!("halting: panic at {place}"));
        end()
    }));
}

/// One line on the console.
pub(super) fn say(text: &str) {
    // A console that is gone is no reason to behave otherwise.
    let _ = io::stdout().write_all(line(text).as_bytes());
}

fn end() -> ! {
    // To turn the power off takes code of the host's ACPI tables, which no kernel of ours runs; a reset does not. A machine with
    // encrypted state cannot be reset: it is over. Elsewhere the host decides whether it begins anew, with nothing of this one.
    let _ = reboot(RebootCommand::Restart);
    // A kernel that refuses loses its PID 1, and panics.
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
