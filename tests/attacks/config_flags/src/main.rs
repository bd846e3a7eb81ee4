//! What an honest build makes of every attack.

fn main() {
    #[cfg(backdoor)]
    println!("ATTACK");
    println!("honest");
}
