fn main() {
    println!("cargo::warning=the build script runs");
}
