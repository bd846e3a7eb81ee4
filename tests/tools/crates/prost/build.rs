fn main() {
    prost_build::compile_protos(&["answer.proto"], &["."]).unwrap();
}
