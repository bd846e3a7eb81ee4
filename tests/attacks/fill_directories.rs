//! Tries: to fill memory and disk with one huge file, and HOME
//! Aims at: host
//! Stopped by: the limit of one file, and sizes of the temporary directories
//! Expect: contained
//! Errors: EFBIG ENOSPC

mod attack;

use attack::*;

use std::io::Write;

fn main() {
    ignore_signal(SIGXFSZ);
    for directory in ["/tmp".into(), out_directory()] {
        let file = std::fs::File::create(directory.join("huge")).unwrap();
        attempt(format_args!("1 TiB in {}", directory.display()), file.set_len(1 << 40));
    }
    let mut home = std::fs::File::create(std::path::Path::new(&std::env::var("HOME").unwrap()).join("large")).unwrap();
    attempt("512 MiB in HOME", (0..512).try_for_each(|_| home.write_all(&[0; 1 << 20])));
}
