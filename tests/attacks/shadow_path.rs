//! Tries: to have rustc find a linker of its own by PATH
//! Stopped by: the linker is named by an absolute path
//! Expect: contained

mod attack;

use attack::*;

use std::os::unix::fs::PermissionsExt;

fn main() {
    let folder = out_folder();
    for name in ["cc", "gcc", "ld", "rustc"] {
        let program = folder.join(name);
        std::fs::write(&program, "#!/bin/sh\necho 'ATTACK: SUCCEEDED: a shadowed program ran' >&2\nexit 1\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    println!("cargo::rustc-env=PATH={}:/usr/bin:/bin", folder.display());
    contained("PATH begins with a folder of the build");
}
