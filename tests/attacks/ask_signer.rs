//! Tries: to have a report signed through every descriptor that it inherited, or can take from another process
//! Aims at: signer
//! Stopped by: close-on-exec, its own PID namespace
//! Expect: contained
//! Errors: ENOTTY EACCES EPERM EINVAL ENOSYS

mod attack;

use attack::*;

use std::os::fd::AsRawFd;

/// `SNP_GET_REPORT`.
const GET_REPORT: usize = 0xc020_5300;

fn main() {
    for descriptor in 0..1024 {
        if let Some(answer) = report(descriptor) {
            attempt(format_args!("descriptor {descriptor}"), answer);
        }
    }
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let again = std::fs::OpenOptions::new().read(true).write(true).open(entry.path());
        if let Ok(again) = again {
            let answer = report(again.as_raw_fd() as usize).expect("it is open");
            attempt(format_args!("{} opened again", entry.path().display()), answer);
        }
    }
    for process in [1, parent() as usize] {
        take_from(process);
    }
}

/// The answer to a request for a report; none if there is no such descriptor.
fn report(descriptor: usize) -> Option<std::io::Result<i64>> {
    const IOCTL: i64 = 16;
    const EBADF: i32 = 9;
    let (inner, response) = ([0_u8; 96], [0_u8; 4000]);
    let request = [1_u64, inner.as_ptr() as u64, response.as_ptr() as u64, 0];
    let answer = call(IOCTL, [descriptor, GET_REPORT, request.as_ptr() as usize, 0, 0, 0]);
    let is_closed = answer.as_ref().is_err_and(|error| error.raw_os_error() == Some(EBADF));
    (!is_closed).then_some(answer)
}

/// Takes descriptors of another process.
fn take_from(process: usize) {
    const PIDFD_OPEN: i64 = 434;
    const PIDFD_GETFD: i64 = 438;
    let Ok(pidfd) = call(PIDFD_OPEN, [process, 0, 0, 0, 0, 0]) else {
        return contained(format_args!("process {process} cannot be named"));
    };
    for descriptor in 3..64 {
        if let Ok(taken) = call(PIDFD_GETFD, [pidfd as usize, descriptor, 0, 0, 0, 0]) {
            if report(taken as usize).is_some_and(|answer| answer.is_ok()) {
                succeeded(format_args!("descriptor {descriptor} of process {process} signs"));
            }
        }
    }
    contained(format_args!("no descriptor of process {process} signs"));
}
