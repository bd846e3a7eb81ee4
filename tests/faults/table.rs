//! The printed results. In: places and endings. Out: lines and a table.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::scene::Ending;
use crate::site::{Fault, Key, Kind, name};

/// Source lines of addresses, from `addr2line`, which comes with the linker.
pub struct Places(BTreeMap<u64, String>);

impl Places {
    pub fn of<'a>(keys: impl Iterator<Item = &'a Key>) -> Self {
        let addresses: Vec<_> = keys.flat_map(|key| key.stack.iter().copied()).collect();
        let mut tool = Command::new("addr2line")
            .args(["-a", "-i", "-e", env!("CARGO_BIN_EXE_kettle-host")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("addr2line, of binutils");
        let mut input = tool.stdin.take().unwrap();
        // A return address is after its call.
        let text: String = addresses
            .iter()
            .map(|address| format!("{:#x}\n", address - 1))
            .collect();
        let writing = std::thread::spawn(move || input.write_all(text.as_bytes()));
        let output = tool.wait_with_output().unwrap();
        writing.join().unwrap().unwrap();
        let mut found = BTreeMap::new();
        let mut current = 0;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some(address) = line.strip_prefix("0x") {
                current = u64::from_str_radix(address, 16).unwrap() + 1;
            } else if let Some(place) = own(line) {
                found.entry(current).or_insert(place);
            }
        }
        Self(found)
    }

    /// Describes the innermost of our own functions, and its caller.
    pub fn describe(&self, key: &Key) -> String {
        let mut places: Vec<_> = key
            .stack
            .iter()
            .filter_map(|address| self.0.get(address))
            .map(String::as_str)
            .collect();
        places.dedup();
        format!(
            "{} {}",
            name(key.number),
            if places.is_empty() {
                "the runtime".to_owned()
            } else {
                places.join(" < ")
            }
        )
    }
}

/// Returns the path `src/…` in this crate. A toolchain's own sources also have directories called
/// src.
fn own(line: &str) -> Option<String> {
    let line = line.split(" (").next()?;
    let path = line
        .strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/"))
        .unwrap_or(line);
    path.starts_with("src/").then(|| path.to_owned())
}

/// One run.
pub struct Line {
    pub kind: Kind,
    pub place: String,
    pub fault: Fault,
    pub ending: Result<Ending, String>,
}

/// Returns the table of runs by kind and ending.
pub fn table(lines: &[Line]) -> String {
    let mut text = format!("{:<12}", "");
    for ending in Ending::ALL {
        text += &format!("{:>11}", format!("{ending:?}"));
    }
    text += &format!("{:>11}{:>11}\n", "BROKEN", "runs");
    for kind in Kind::ALL.map(Some).into_iter().chain([None]) {
        let of_kind = || {
            lines
                .iter()
                .filter(|line| kind.is_none_or(|kind| kind == line.kind))
        };
        text += &format!(
            "{:<12}",
            kind.map_or_else(|| "all".to_owned(), |kind| format!("{kind:?}"))
        );
        for ending in Ending::ALL {
            text += &format!(
                "{:>11}",
                of_kind().filter(|line| line.ending == Ok(ending)).count()
            );
        }
        text += &format!(
            "{:>11}{:>11}\n",
            of_kind().filter(|line| line.ending.is_err()).count(),
            of_kind().count()
        );
    }
    text
}

/// Returns the tolerated faults: the number of interruptions, then all others by place.
pub fn tolerated(lines: &[Line]) -> String {
    let all = lines
        .iter()
        .filter(|line| line.ending == Ok(Ending::Tolerated));
    let (interruptions, others): (Vec<_>, Vec<_>) =
        all.partition(|line| line.fault.must_be_survived());
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    for line in others {
        *groups
            .entry(format!("{:?}: {}, {}", line.kind, line.place, line.fault))
            .or_default() += 1;
    }
    let groups = groups
        .iter()
        .map(|(group, count)| format!("{count:>4}  {group}\n"));
    std::iter::once(format!("{:>4}  interruptions\n", interruptions.len()))
        .chain(groups)
        .collect()
}
