//! Tries: to load a library into rustc and the linker
//! Aims at: phase
//! Stopped by: nothing, and nothing is gained: the library runs in the same sandbox as the build
//! Expect: contained
//! Shows: the library runs

mod attack;

use attack::*;

fn main() {
    let directory = out_directory();
    let code = r#"
        #include <fcntl.h>
        #include <stdio.h>
        __attribute__((constructor)) static void begin(void) {
            int secret = open("/etc/shadow", O_RDONLY);
            fprintf(stderr, "ATTACK: %s: the library runs\n", secret < 0 ? "contained" : "SUCCEEDED");
        }"#;
    std::fs::write(directory.join("a.c"), code).unwrap();
    let library = directory.join("a.so");
    let compiled = std::process::Command::new("/usr/bin/cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(directory.join("a.c"))
        .status();
    assert!(compiled.unwrap().success());
    println!("cargo::rustc-env=LD_PRELOAD={}", library.display());
    contained("rustc is told to preload a library");
}
