//! PID 1 of the image; `kettle-init serve` on an ordinary host.
fn main() {}
