//! A PID 1 that does nothing: the machine restarts as soon as its kernel has started, which ends
//! QEMU with `-no-reboot`. `scripts/bench-image` compares the image's boot with it. Power-off would
//! need ACPI, which the image's kernel has disabled by then. `rustc -C target-feature=+crt-static`.

use std::os::raw::c_int;

/// `LINUX_REBOOT_CMD_RESTART` of reboot(2).
const RESTART: c_int = 0x0123_4567;

unsafe extern "C" {
    fn reboot(command: c_int) -> c_int;
}

fn main() {
    // SAFETY: takes no pointer; as PID 1 of its own machine it ends that machine.
    unsafe { reboot(RESTART) };
}
