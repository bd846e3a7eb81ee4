//! Collects orphans.
//!
//! * In: processes whose parents died, which the kernel gives to PID 1.
//! * Out: their process numbers, free again.
//! * Never: the exit status of a child for which another thread waits.
//!
//! The kernel keeps the two apart: the service has its own thread, which is the parent of the
//! processes that it starts, and orphans go to the first thread of PID 1, which starts none.
//! `__WNOTHREAD` limits waiting to children of the calling thread. So the first thread can collect
//! every child that it is given, and cannot see a child of the service.

use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};

/// `__WNOTHREAD` of linux/wait.h.
const OF_THIS_THREAD: WaitIdOptions = WaitIdOptions::from_bits_retain(0x2000_0000);
/// The pause between two rounds. A dead orphan costs a process number and nothing else.
const PAUSE: Duration = Duration::from_secs(1);

/// Collects dead orphans as long as the machine lives.
///
/// Call this on the first thread of PID 1, which must never start a child.
pub fn collect_orphans() -> ! {
    loop {
        collect_dead_orphans();
        thread::sleep(PAUSE);
    }
}

/// Collects the orphans that are dead now, and returns their number. Never waits.
pub fn collect_dead_orphans() -> usize {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | OF_THIS_THREAD;
    let mut collected = 0;
    loop {
        match waitid(WaitId::All, options) {
            Ok(Some(_)) => collected += 1,
            Err(Errno::INTR) => {}
            // No orphan is dead, or there is no orphan.
            Ok(None) | Err(_) => return collected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_child_of_another_thread_is_left_to_whoever_waits_for_it() {
        let (send, receive) = std::sync::mpsc::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let waiter = thread::spawn(move || {
            let mut child = Command::new("/bin/sh")
                .args(["-c", "exit 7"])
                .spawn()
                .unwrap();
            send.send(child.id()).unwrap();
            wait.recv().unwrap();
            child.wait().unwrap().code()
        });
        let child = receive.recv().unwrap();
        let stat = || std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap();
        while !stat().contains(") Z ") {
            thread::yield_now();
        }
        assert_eq!(collect_dead_orphans(), 0);
        go.send(()).unwrap();
        assert_eq!(waiter.join().unwrap(), Some(7));
    }
}
