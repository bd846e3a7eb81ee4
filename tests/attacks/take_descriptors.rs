//! Tries: to take all descriptors of the machine
//! Aims at: host
//! Stopped by: the limit of open files, and of tasks that could each have as many
//! Expect: contained
//! Errors: EMFILE

mod attack;

use attack::*;

fn main() {
    let mut open = Vec::new();
    loop {
        match std::fs::File::open("/dev/null") {
            Ok(file) if open.len() < 1_000_000 => open.push(file),
            Ok(_) => return succeeded("a million descriptors"),
            Err(error) => {
                let count = open.len();
                drop(open);
                return contained(format_args!("{error} after {count} descriptors"));
            }
        }
    }
}
