//! Tries: to end the service, when it clears away, with directories that are nested deeper than its stack and any path
//! Aims at: host
//! Stopped by: a removal that takes one level at a time
//! Expect: contained
//! Shows: what is nested has to be removed

mod attack;

use attack::*;

const DEEP: usize = 30_000;

fn main() {
    const MKDIR: i64 = 83;
    const CHDIR: i64 = 80;
    std::env::set_current_dir(out_directory()).unwrap();
    let name = c"d".as_ptr() as usize;
    for _ in 0..DEEP {
        call(MKDIR, [name, 0o700, 0, 0, 0, 0]).and_then(|_| call(CHDIR, [name, 0, 0, 0, 0, 0])).unwrap();
    }
    contained("what is nested has to be removed");
}
