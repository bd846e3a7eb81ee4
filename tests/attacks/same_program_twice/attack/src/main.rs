fn main() {
    println!("attack");
}
