//! Tries: to have cargo run its program when the library is packed, by configuration that it leaves behind
//! Aims at: phase
//! Stopped by: a HOME of each command, a CARGO_HOME that cannot be written, a separate directory for packing
//! Expect: contained
//! Errors: EROFS EACCES ENOENT
//! Shows: configuration is left in HOME
//! Template: library

mod attack;

use attack::*;

use std::os::unix::fs::PermissionsExt;

fn main() {
    let program = out_directory().join("program");
    std::fs::write(&program, "#!/bin/sh\necho 'ATTACK: SUCCEEDED: it runs in a later phase' >&2\nexec \"$@\"\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let text = format!("[build]\nrustc = {program:?}\nrustc-wrapper = {program:?}\n[alias]\npackage = 'run'\n");
    let home = std::env::var("HOME").unwrap();
    for directory in [home.as_str(), "/tmp", "/kettle/target", "/kettle/target/package", "/kettle/target/release"] {
        std::fs::create_dir_all(format!("{directory}/.cargo")).unwrap();
        std::fs::write(format!("{directory}/.cargo/config.toml"), &text).unwrap();
        std::fs::write(format!("{directory}/.gitconfig"), format!("[core]\nfsmonitor = {program:?}\n")).unwrap();
    }
    for directory in ["/kettle/cargo", "/kettle/source/.cargo", "/kettle", "/"] {
        attempt(directory, std::fs::write(format!("{directory}/config.toml"), &text));
    }
    contained("configuration is left in HOME and elsewhere");
}
