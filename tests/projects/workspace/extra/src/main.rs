fn main() {
    println!("no default member");
}
