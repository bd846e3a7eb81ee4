fn main() {
    println!("forged");
}
