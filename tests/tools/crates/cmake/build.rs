fn main() {
    let built = cmake::build("native");
    println!("cargo:rustc-link-search=native={}/lib", built.display());
    println!("cargo:rustc-link-lib=static=answer");
}
