//! The remains of a run. In: the end of a service. Out: processes that outlive it. Never: one that
//! is only ending.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// The time that an ending process may take to free its memory.
const MOMENT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// Makes this process the parent of all processes that a run leaves behind, so that they are found.
pub fn take_orphans() {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
}

/// Returns the processes that outlive the service that started them, after a moment.
pub fn left_behind() -> Vec<String> {
    let deadline = Instant::now() + MOMENT;
    loop {
        let left = orphans();
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        thread::sleep(PAUSE);
    }
}

/// Returns the children of this process that are alive, with their names; collects those that have
/// ended.
fn orphans() -> Vec<String> {
    let own = std::process::id();
    let child = |entry: fs::DirEntry| {
        let id: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (name, rest) = stat.rsplit_once(')')?;
        let mut rest = rest.split_whitespace();
        let (state, parent) = (rest.next()?, rest.next()?.parse::<u32>().ok()?);
        if parent != own {
            return None;
        }
        if state == "Z" {
            let id = rustix::process::Pid::from_raw(id)?;
            let _ = rustix::process::waitpid(Some(id), rustix::process::WaitOptions::NOHANG);
            return None;
        }
        Some(name.to_owned())
    };
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(child)
        .collect()
}
