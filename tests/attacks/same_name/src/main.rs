//! Compiles only with the forged package, which has this function.

fn main() {
    cfg_if::backdoor();
}
