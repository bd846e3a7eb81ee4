//! Tries: to leave memory, a queue and a semaphore that belong to no process, for a later one or for the machine
//! Aims at: phase
//! Stopped by: the IPC namespace, with which they go; the system call filter has no other queues
//! Expect: contained
//! Errors: ENOSYS EPERM
//! Shows: contained: memory, a queue and a semaphore are left

mod attack;

use attack::*;

/// The machine is looked through for it.
const KEY: usize = 0x6b65_7474;
const CREATE: usize = 0o1000 | 0o666;

fn main() {
    const SHMGET: i64 = 29;
    const SEMGET: i64 = 64;
    const MSGGET: i64 = 68;
    const MQ_OPEN: i64 = 240;
    call(SHMGET, [KEY, 4096, CREATE, 0, 0, 0]).unwrap();
    call(SEMGET, [KEY, 1, CREATE, 0, 0, 0]).unwrap();
    call(MSGGET, [KEY, CREATE, 0, 0, 0, 0]).unwrap();
    contained("memory, a queue and a semaphore are left");
    let name = c"kettle-attack".as_ptr() as usize;
    attempt("a queue with a name", call(MQ_OPEN, [name, 0o102, 0o666, 0, 0, 0]));
}
