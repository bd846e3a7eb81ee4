//! What a run leaves. Comes in: the end of a service. Goes out: processes that outlive it. Never: one that is only ending.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// For a process that is ending: it frees its memory.
const MOMENT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// From here on, what a run leaves behind becomes a child of this process, and is found.
pub fn take_orphans() {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
}

/// What outlives the service that started it, after a moment.
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

/// Children of this process that are alive, with their names; those that have ended are collected.
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
