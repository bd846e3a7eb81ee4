//! Tries: to keep the service busy with a hundred thousand files
//! Aims at: host
//! Stopped by: nothing of them is looked at; they are removed once the result is there
//! Expect: contained
//! Shows: 100000 files are left

mod attack;

use attack::*;

fn main() {
    for directory in 0..100 {
        let directory = out_directory().join(directory.to_string());
        std::fs::create_dir(&directory).unwrap();
        for file in 0..1000 {
            std::fs::File::create(directory.join(file.to_string())).unwrap();
        }
    }
    contained("100000 files are left");
}
