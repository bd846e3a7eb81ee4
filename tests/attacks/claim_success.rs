//! Tries: to have a failed build taken for a success, by what it prints and by ending cargo itself
//! Aims at: result
//! Stopped by: the exit status of cargo, which the kernel tells
//! Expect: fails
//! Fails with: BuildFailed: the build failed (signal 9)

mod attack;

use attack::*;

fn main() {
    let program = release_directory().join("attack");
    std::fs::write(&program, "not compiled").unwrap();
    let output = std::fs::OpenOptions::new().write(true).open(format!("/proc/{}/fd/1", parent()));
    if let Ok(mut output) = output {
        use std::io::Write;
        let target = r#""target":{"kind":["bin"],"crate_types":["bin"],"name":"attack"}"#;
        let package = r#""package_id":"path+file:///kettle/source#attack@0.1.0""#;
        let file = r#""filenames":["/kettle/target/release/attack"]"#;
        let _ = writeln!(output, r#"{{"reason":"compiler-artifact",{package},{target},{file}}}"#);
        let _ = writeln!(output, r#"{{"reason":"build-finished","success":true}}"#);
    }
    let _ = send_signal(parent(), SIGKILL);
    std::thread::sleep(std::time::Duration::from_secs(5));
}
