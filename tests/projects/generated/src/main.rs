include!(concat!(env!("OUT_DIR"), "/place.rs"));

unsafe extern "C" {
    fn answer() -> i32;
}

fn main() {
    println!("{PLACE} {} {}", unsafe { answer() }, file!());
}
