//! What an honest build makes of every attack.

trick::trick!();

fn main() {
    println!("honest");
}
