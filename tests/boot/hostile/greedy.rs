//! Takes all of several resources, gives them back, prints how much it got, and leaves two busy
//! processes.

mod attack;

use std::fs;
use std::io::Write;

const ORPHANS: usize = 4200;
/// The number of processes with one parent.
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

/// Returns how many bytes fit into a file, and removes the file.
fn fill(path: &str) -> u64 {
    let mut file = fs::File::create(path).unwrap();
    while file.write_all(&[1; 1 << 16]).is_ok() {}
    let bytes = file.metadata().unwrap().len();
    fs::remove_file(path).unwrap();
    bytes
}

/// Starts processes that end right after their parent, in total more than may exist at a time.
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

/// Returns how many processes can exist at a time.
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
