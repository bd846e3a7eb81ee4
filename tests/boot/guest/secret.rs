//! The first program of a machine: a child of it fills memory with a secret and ends. After that
//! nothing runs.

use std::ffi::c_int;
use std::hint::black_box;
use std::thread;

unsafe extern "C" {
    fn fork() -> c_int;
    fn waitpid(process: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(status: c_int) -> !;
}

const PAGE_BYTES: usize = 4096;
const PAGES: usize = 32_768;
/// The secret is their product: it is nowhere in this program.
const FACTORS: [u64; 2] = [0x6b65_7474_6c65_2d31, 0x9e37_79b9_7f4a_7c15];

fn fill() {
    let secret = black_box(FACTORS[0]).wrapping_mul(black_box(FACTORS[1]));
    let mut memory = vec![0_u64; PAGES * PAGE_BYTES / 8];
    for page in memory.chunks_mut(PAGE_BYTES / 8) {
        page[0] = secret;
    }
    black_box(&memory);
}

fn main() {
    let mut status = 0;
    unsafe {
        let child = fork();
        if child == 0 {
            fill();
            _exit(0);
        }
        waitpid(child, &mut status, 0);
    }
    println!(
        "FACT: secret: {}",
        if status == 0 {
            "given back"
        } else {
            "not made"
        }
    );
    loop {
        thread::park();
    }
}
