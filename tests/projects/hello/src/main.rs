fn main() {
    println!("Hello from an attested build!");
}
