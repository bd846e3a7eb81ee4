//! Takes all of several things, gives them back, says how much there was, and leaves two processes that never rest.

mod attack;

use std::fs;
use std::io::Write;

const ORPHANS: usize = 4200;
/// As many have one parent.
const EACH: usize = 100;

fn fact(key: &str, value: impl std::fmt::Display) {
    println!("cargo::warning=FACT: {key}: {value}");
}

fn main() {
    fact("group", fs::read_to_string("/proc/self/cgroup").unwrap().trim());
    for mount in fs::read_to_string("/proc/self/mountinfo").unwrap().lines() {
        fact("mount", mount);
    }
    fact("processors", std::thread::available_parallelism().unwrap());
    fact("tmp", fill("/tmp/full"));
    fact("orphans", orphans());
    fact("tasks", tasks());
    for _ in 0..2 {
        attack::in_daemon(|| loop {
            std::hint::spin_loop();
        });
    }
    fact("daemons", 2);
}

/// Bytes that fit into a file. It is removed again.
fn fill(path: &str) -> u64 {
    let mut file = fs::File::create(path).unwrap();
    while file.write_all(&[1; 1 << 16]).is_ok() {}
    let bytes = file.metadata().unwrap().len();
    fs::remove_file(path).unwrap();
    bytes
}

/// Processes that end at once after their parent did, in all: more than there may be at a time.
fn orphans() -> usize {
    for _ in 0..ORPHANS / EACH {
        let parent = attack::in_child(|| {
            for _ in 0..EACH {
                attack::in_child(|| {});
            }
        });
        attack::wait_for_child(parent);
    }
    ORPHANS
}

/// Processes that there can be at a time.
fn tasks() -> usize {
    let mut children = Vec::new();
    loop {
        let child = attack::in_child(|| loop {
            std::thread::sleep(std::time::Duration::from_secs(3600));
        });
        if child < 0 {
            break;
        }
        children.push(child);
    }
    for child in &children {
        attack::send_signal(*child, attack::SIGKILL).unwrap();
        attack::wait_for_child(*child);
    }
    children.len()
}
