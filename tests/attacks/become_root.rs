//! Tries: to become root by system calls and by setuid programs
//! Aims at: host
//! Stopped by: no capabilities, no_new_privs, one mapped user
//! Expect: contained
//! Errors: EPERM EROFS EINVAL ENOENT EACCES

mod attack;

use attack::*;

use std::os::unix::process::CommandExt;

fn main() {
    for (name, number) in [("setuid", 105), ("setgid", 106), ("setfsuid", 122)] {
        match call(number, [0; 6]) {
            // setfsuid answers with the previous user and never fails.
            Ok(_) if name == "setfsuid" => attempt("setfsuid", std::fs::write("/usr/x", "")),
            answer => attempt(name, answer),
        }
    }
    attempt("setgroups", call(116, [0; 6]));
    for program in ["su", "sudo", "mount", "newgrp", "passwd", "pkexec"] {
        let identity = std::process::Command::new(program).args(["-c", "id"]).output();
        let became_root = identity.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("uid=0"));
        if became_root { succeeded(program) } else { contained(format_args!("{program} made nobody root")) }
    }
    attempt("a child as root", std::process::Command::new("/usr/bin/id").uid(0).status());
}
