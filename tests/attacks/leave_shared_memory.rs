//! Tries: to leave memory, a queue and a semaphore that belong to no process, for a later one or for the machine
//! Aims at: phase
//! Stopped by: the IPC namespace, with which they go; the system call filter has no other queues
//! Expect: contained
//! Errors: ENOSYS EPERM
//! Shows: contained: memory, a queue and a semaphore are left

mod attack;

use attack::*;

const CREATE: usize = 0o1000 | 0o666;

fn main() {
    const SHMGET: i64 = 29;
    const SEMGET: i64 = 64;
    const MSGGET: i64 = 68;
    const MQ_OPEN: i64 = 240;
    // The machine is looked through for it.
    let key = host("key").parse().unwrap();
    call(SHMGET, [key, 4096, CREATE, 0, 0, 0]).unwrap();
    call(SEMGET, [key, 1, CREATE, 0, 0, 0]).unwrap();
    call(MSGGET, [key, CREATE, 0, 0, 0, 0]).unwrap();
    contained("memory, a queue and a semaphore are left");
    let name = c"kettle-attack".as_ptr() as usize;
    attempt("a queue with a name", call(MQ_OPEN, [name, 0o102, 0o666, 0, 0, 0]));
}
