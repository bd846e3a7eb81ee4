//! The users of a service that makes sandboxes itself. Comes in: nothing. Goes out: a user namespace in which there is a root
//! and 65,535 others, all of them nobody on the machine. Never: a user of the machine in it, or a further user namespace below it.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::kernel;

/// The machine's id of the namespace's root. Ids of people, of packages and of `subuid` files stay far below; the kernel's
/// own end is at 4,294,967,295.
pub(super) const FIRST_ID: u32 = 2_000_000_000;
/// As many as a machine has without namespaces in its first 16 bits: 65534 is among them, and ranges for build users.
const IDS: u32 = 65_536;
/// Waits for the end of its input, while the namespace has no other process.
const WAITER: &str = "/usr/bin/cat";

/// Makes a namespace, which lives as long as the descriptor or a process in it.
///
/// Its owner is [`FIRST_ID`], so that a process of that user may enter it and has all capabilities there.
pub(super) fn make() -> io::Result<OwnedFd> {
    let mut command = Command::new(WAITER);
    command.env_clear().current_dir("/").uid(FIRST_ID).gid(FIRST_ID);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    kernel::unshare_users(&mut command);
    let mut waiter = command.spawn()?;
    let namespace = map(&waiter);
    waiter.kill().and_then(|()| waiter.wait())?;
    namespace
}

fn map(waiter: &Child) -> io::Result<OwnedFd> {
    let file = |name| format!("/proc/{}/{name}", waiter.id());
    let ids = format!("0 {FIRST_ID} {IDS}\n");
    fs::write(file("uid_map"), &ids)?;
    fs::write(file("gid_map"), &ids)?;
    Ok(File::open(file("ns/user"))?.into())
}
