//! Tries: to go on changing a finished artifact by another name of its file
//! Aims at: result
//! Stopped by: death of the whole namespace before anything is read; the delivered file is a copy
//! Expect: consistent
//! Shows: the artifact has another name
//! Template: late

mod attack;

use attack::*;

fn main() {
    let (artifact, other) = (release_directory().join("attack"), out_directory().join("other"));
    assert!(wait_for(&artifact));
    std::fs::hard_link(&artifact, &other).unwrap();
    in_daemon(|| {
        use std::os::unix::fs::FileExt;
        let file = std::fs::OpenOptions::new().write(true).open(&other).unwrap();
        for round in 0_u64.. {
            let _ = file.write_all_at(&round.to_le_bytes(), round * 8 % 65536);
        }
    });
    contained("the artifact has another name");
}
