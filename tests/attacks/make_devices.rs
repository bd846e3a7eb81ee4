//! Tries: to make the device of the secure processor, and a disk, itself
//! Aims at: signer
//! Stopped by: no capability, and mounts without devices
//! Expect: contained
//! Errors: EPERM

mod attack;

use attack::*;

fn main() {
    const MKNOD: i64 = 133;
    const CHARACTER: usize = 0o020666;
    const BLOCK: usize = 0o060666;
    let directory = out_directory();
    for (name, kind, device) in
        [("misc", CHARACTER, 10 << 8 | 124), ("mem", CHARACTER, 1 << 8 | 1), ("disk", BLOCK, 254 << 8)]
    {
        let path = std::ffi::CString::new(directory.join(name).to_str().unwrap()).unwrap();
        attempt(name, call(MKNOD, [path.as_ptr() as usize, kind, device, 0, 0, 0]));
    }
}
