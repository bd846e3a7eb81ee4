//! Tries: to have its times, modes and attributes delivered with the artifact: far years, set-user-id, capabilities
//! Aims at: result
//! Stopped by: a copy that takes bytes and one bit, and archives with fixed times
//! Expect: contained
//! Errors: EPERM EOPNOTSUPP ENOSYS
//! Shows: the artifact is from another age
//! Template: late

mod attack;

use attack::*;

use std::os::unix::fs::PermissionsExt;

fn main() {
    let artifact = release_directory().join("attack");
    assert!(wait_for(&artifact));
    let name = std::ffi::CString::new(artifact.to_str().unwrap()).unwrap();
    const AT_FDCWD: usize = -100_isize as usize;
    for year in [-2_000_i64, 400] {
        let time = [year * 31_536_000, 0, year * 31_536_000, 0];
        let _ = call(280, [AT_FDCWD, name.as_ptr() as usize, time.as_ptr() as usize, 0, 0, 0]);
    }
    let _ = std::fs::set_permissions(&artifact, std::fs::Permissions::from_mode(0o7777));
    // Revision 2, everything permitted and effective.
    let capability = [0x0200_0001_u32, u32::MAX, 0, u32::MAX, 0];
    let arguments = [name.as_ptr() as usize, c"security.capability".as_ptr() as usize, capability.as_ptr() as usize];
    attempt("capabilities", call(188, [arguments[0], arguments[1], arguments[2], 20, 0, 0]));
    contained("the artifact is from another age");
}
