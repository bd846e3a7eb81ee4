//! Not what the registry has under this name.

pub fn backdoor() {
    println!("forged");
}
