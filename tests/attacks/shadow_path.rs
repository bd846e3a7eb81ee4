//! Tries: to have rustc find its own linker by PATH
//! Aims at: phase
//! Stopped by: nothing, and nothing is gained: it is that package's artifact, and the program runs in the same sandbox
//! Expect: contained
//! Shows: PATH begins with a directory of the build

mod attack;

use attack::*;

use std::os::unix::fs::PermissionsExt;

fn main() {
    let directory = out_directory();
    for name in ["cc", "gcc", "ld", "rustc"] {
        let program = directory.join(name);
        let script =
            "#!/bin/sh\ncat /etc/shadow && echo 'ATTACK: SUCCEEDED: it reads files of the machine' >&2\nexit 1\n";
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    println!("cargo::rustc-env=PATH={}:/usr/bin:/bin", directory.display());
    contained("PATH begins with a directory of the build");
}
