//! PID 1 that does nothing: the machine powers off as soon as its kernel is up. What the image's boot is compared with.
//! `rustc -C target-feature=+crt-static`.

use std::os::raw::c_int;

/// `LINUX_REBOOT_CMD_POWER_OFF` of reboot(2).
const POWER_OFF: c_int = 0x4321_fedc;

unsafe extern "C" {
    fn reboot(command: c_int) -> c_int;
}

fn main() {
    // SAFETY: takes no pointer; as PID 1 of a machine of its own it ends that machine.
    unsafe { reboot(POWER_OFF) };
}
