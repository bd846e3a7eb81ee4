//! Rows of host inputs, and how one is run.

use std::time::Instant;

use super::*;

/// The expected outcome of a row.
#[derive(Clone, Copy)]
pub enum Expected {
    /// PID 1 of the image runs.
    Measured,
    /// The firmware prints a line with these words, and nothing runs.
    Halts(&'static str),
}

/// One act of a host.
pub struct Row {
    /// The row's name in a failure.
    pub name: &'static str,
    /// Rows of one kind differ in a value only; without `KETTLE_ALL` only the first of them is run.
    pub kind: &'static str,
    pub words: Vec<String>,
    pub page: Page,
    pub offer: Offer,
    pub processors: u32,
    pub memory_mib: u32,
    pub expected: Expected,
}

impl Row {
    /// Returns a row that differs from an honest host only in QEMU's arguments, and changes
    /// nothing.
    pub fn harmless(kind: &'static str, name: &'static str, words: Vec<String>) -> Self {
        Self {
            name,
            kind,
            words,
            page: Page::OfWhatIsGiven,
            offer: Offer::Image,
            processors: 2,
            memory_mib: 2048,
            expected: Expected::Measured,
        }
    }

    /// Returns a row in which the machine must not start.
    pub fn halting(
        kind: &'static str,
        name: &'static str,
        says: &'static str,
        words: Vec<String>,
    ) -> Self {
        Self {
            expected: Expected::Halts(says),
            ..Self::harmless(kind, name, words)
        }
    }

    /// Returns the row with nothing to boot for QEMU except what its arguments name.
    pub fn offering_nothing(self) -> Self {
        Self {
            offer: Offer::Nothing,
            ..self
        }
    }

    pub fn with_page(self, page: Page) -> Self {
        Self { page, ..self }
    }
}

/// Runs rows: all of them, or the first of each kind.
pub fn check(image: &Image, rows: Vec<Row>) {
    let all = std::env::var_os("KETTLE_ALL").is_some();
    let mut kinds = std::collections::BTreeSet::new();
    let mut failures = Vec::new();
    for row in rows {
        if kinds.insert(row.kind) || all {
            println!("{}: {}", row.kind, row.name);
            let name = row.name;
            if let Err(failure) = run(image, row) {
                failures.push(format!("{name}: {failure}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn run(image: &Image, row: Row) -> Result<(), String> {
    let host = Host {
        devices: row.words,
        page: row.page,
        offer: row.offer,
        processors: row.processors,
        memory_mib: row.memory_mib,
        ..Host::honest(image)
    };
    let mut machine = Machine::start(image, &host);
    let start = Instant::now();
    loop {
        let console = machine.console();
        if console.contains(payload::LINE) {
            return Err(format!("the host's program ran:\n{console}"));
        }
        match row.expected {
            Expected::Measured if console.contains(MEASURED_PROGRAM) => return Ok(()),
            Expected::Halts(_) if console.contains(STARTS) => {
                return Err(format!(
                    "the firmware started the kernel, but it must not:\n{console}"
                ));
            }
            Expected::Halts(words) if says(&console, words) => {
                return stays_halted(&machine, &console);
            }
            _ if !machine.is_on() => {
                return Err(format!("the machine is off:\n{}", machine.console()));
            }
            _ if start.elapsed() > LIMIT => return Err(format!("nothing comes of it:\n{console}")),
            _ => sleep(PAUSE),
        }
    }
}

/// Returns whether the firmware has printed a whole line with these words.
fn says(console: &str, words: &str) -> bool {
    let mut lines = console
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    lines.any(|line| line.contains(FIRMWARE) && line.contains(words))
}

fn stays_halted(machine: &Machine, before: &str) -> Result<(), String> {
    sleep(SETTLED);
    let after = machine.console();
    if after == before {
        Ok(())
    } else {
        Err(format!("it went on:\n{after}"))
    }
}
