//! Rows, and how one is run.

use std::time::Instant;

use super::*;

/// What has to come of a row.
#[derive(Clone, Copy)]
pub enum Expected {
    /// PID 1 of the image runs.
    Measured,
    /// The firmware says a line with these words, and nothing runs.
    Halts(&'static str),
}

/// One thing that a host does.
pub struct Row {
    /// Its name in a failure.
    pub name: &'static str,
    /// Rows of one kind differ in a value only; the first of them stands for all where there is little time.
    pub kind: &'static str,
    pub words: Vec<String>,
    pub page: Page,
    pub offer: Offer,
    pub processors: u32,
    pub memory_mib: u32,
    pub expected: Expected,
}

impl Row {
    /// A row that differs from an honest host in words for QEMU only, and does nothing.
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

    /// A row in which the machine must not start.
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

    /// The same, where QEMU is given nothing to boot but what is among the words.
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

/// Whether the firmware has said a whole line with these words.
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
