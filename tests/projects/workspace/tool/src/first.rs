fn main() {
    println!("first {}", extra::answer());
}
