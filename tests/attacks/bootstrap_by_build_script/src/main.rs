#![feature(rustc_private)]

fn main() {
    println!("honest");
}
