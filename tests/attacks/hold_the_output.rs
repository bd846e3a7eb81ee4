//! Tries: to hold the build open with a process that keeps the output and never ends
//! Aims at: host
//! Stopped by: the end of cargo, which is the end of the namespace
//! Expect: contained
//! Shows: a process keeps the output

mod attack;

use attack::*;

fn main() {
    // Cargo's own output, by its number, beside ours.
    let theirs: Vec<_> = (0..3)
        .filter_map(|number| {
            let path = format!("/proc/{}/fd/{number}", parent());
            std::fs::OpenOptions::new().write(true).open(path).ok()
        })
        .collect();
    contained(format_args!("a process keeps the output, and {} ends of cargo's", theirs.len()));
    in_child(|| {
        use std::io::Write;
        for mut end in theirs {
            let _ = writeln!(end, "still here");
            std::mem::forget(end);
        }
        redirect_to_nothing();
        loop {
            std::thread::sleep(std::time::Duration::from_secs(3600));
        }
    });
}
