fn main() {
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").unwrap());
    let bindings = bindgen::Builder::default()
        .header("answer.h")
        .allowlist_item("ANSWER|answer|zlibVersion")
        .generate()
        .unwrap();
    bindings.write_to_file(out.join("bindings.rs")).unwrap();
    println!("cargo:rustc-link-lib=z");
}
