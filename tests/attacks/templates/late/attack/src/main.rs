//! What an honest build makes of every attack.

fn main() {
    println!("honest");
}
