static BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/fifo"));

fn main() {
    println!("{}", BYTES.len());
}
