//! A debugger for one service. In: a command, and what to do at its system calls. Out: every place
//! from which one is made, or one call that failed although the kernel was never asked. Never: a
//! process that the service started, once it is another program; and never a service that outlives
//! its tracer.
//!
//! `ptrace(2)`. A call is replaced by number -1 at its entry, which the kernel skips, and gets its
//! result at its exit.
#![allow(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus};
use std::ptr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use libc::{c_int, c_long, c_void, pid_t, user_regs_struct};

use crate::clock::Liar;
use crate::site::{Call, Fault, Key, Kind, Target};
use crate::stack::{Image, registers};

const OPTIONS: c_int = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_EXITKILL;
/// The signal that tells a stop at a system call from a trap.
const SYSCALL_STOP: c_int = libc::SIGTRAP | 0x80;
/// The size of the piece of a stack that is read at a time.
const PIECE_BYTES: usize = 16 * 1024;
/// No system call has this number: the kernel does nothing.
const NO_CALL: u64 = u64::MAX;

/// What the tracer does at system calls.
pub enum Plan {
    /// Nothing fails: calls are recorded.
    Record,
    /// The first call of this site fails, or for memory that one and every later one.
    Inject(Key, Fault),
    /// None fails; clocks lie.
    Lie(Arc<Liar>),
}

/// The record of a service until its end.
#[derive(Default)]
pub struct Trace {
    /// The service's exit status.
    pub status: Option<ExitStatus>,
    /// Calls by site, when they were recorded.
    pub sites: BTreeMap<Key, Call>,
    /// The number of system calls until the tracer had nothing more to do.
    pub calls: u64,
    /// Whether a call was made to fail.
    pub injected: bool,
}

/// A service under the tracer.
pub struct Traced {
    pub id: pid_t,
    tracer: JoinHandle<Trace>,
}

impl Traced {
    /// Starts the service. Only the thread that started a process may trace it, so the tracer has
    /// its own thread.
    pub fn start(command: Command, image: Arc<Image>, plan: Plan) -> Self {
        let (started, waiting) = mpsc::channel();
        let tracer = thread::spawn(move || {
            let mut tracer = Tracer::start(command, image, plan);
            started.send(tracer.main).unwrap();
            tracer.run();
            tracer.trace
        });
        match waiting.recv() {
            Ok(id) => Self { id, tracer },
            Err(_) => std::panic::resume_unwind(tracer.join().err().unwrap()),
        }
    }

    /// Returns whether the service has ended.
    pub fn ended(&self) -> bool {
        self.tracer.is_finished()
    }

    pub fn kill(&self) {
        self.signal(libc::SIGKILL);
    }

    pub fn terminate(&self) {
        self.signal(libc::SIGTERM);
    }

    fn signal(&self, signal: c_int) {
        if !self.ended() {
            // SAFETY: kill takes numbers. Nobody but the tracer waits for the process, and the
            // tracer has not ended.
            unsafe { libc::kill(self.id, signal) };
        }
    }

    /// Returns the record of the service, after its end.
    pub fn trace(self) -> Trace {
        self.tracer.join().unwrap()
    }
}

#[derive(Default)]
struct Thread {
    /// Whether its first stop, which no signal caused, is over.
    seen: bool,
    /// Set between entry and exit of a call; has the result that the call will get.
    inside: bool,
    result: Option<u64>,
}

struct Tracer {
    image: Arc<Image>,
    plan: Plan,
    main: pid_t,
    base: u64,
    threads: HashMap<pid_t, Thread>,
    trace: Trace,
}

impl Tracer {
    fn start(mut command: Command, image: Arc<Image>, plan: Plan) -> Self {
        // SAFETY: the closure makes one system call on numbers between fork and exec.
        unsafe {
            command.pre_exec(|| request(libc::PTRACE_TRACEME, 0, 0, ptr::null_mut()).map(drop));
        }
        let main = match command.spawn() {
            Ok(child) => child.id() as pid_t,
            Err(error) => panic!(
                "the service cannot be started under ptrace, which this kernel may refuse: {error}"
            ),
        };
        let (_, status) = wait(main).expect("the service stops at its exec");
        assert!(
            libc::WIFSTOPPED(status),
            "the service does not stop at its exec: {status:#x}"
        );
        request(libc::PTRACE_SETOPTIONS, main, 0, OPTIONS as *mut c_void)
            .expect("options of ptrace");
        let base = entry(main) - image.entry;
        if let Plan::Lie(_) = plan {
            hide_vdso(main);
        }
        let threads = HashMap::from([(
            main,
            Thread {
                seen: true,
                ..Thread::default()
            },
        )]);
        Self {
            image,
            plan,
            main,
            base,
            threads,
            trace: Trace::default(),
        }
    }

    fn run(&mut self) {
        self.resume(self.main, 0);
        while let Some((id, status)) = wait(-1) {
            if libc::WIFSTOPPED(status) {
                self.stopped(id, status);
                continue;
            }
            self.threads.remove(&id);
            if id == self.main {
                self.trace.status = Some(ExitStatus::from_raw(status));
            }
        }
    }

    fn stopped(&mut self, id: pid_t, status: c_int) {
        let signal = libc::WSTOPSIG(status);
        let event = status >> 16;
        if event == libc::PTRACE_EVENT_EXEC && id != self.main {
            self.threads.remove(&id);
            // Gone already, if it was killed.
            let _ = request(libc::PTRACE_DETACH, id, 0, ptr::null_mut());
            return;
        }
        let thread = self.threads.entry(id).or_default();
        if signal == SYSCALL_STOP {
            self.at_call(id);
            self.resume(id, 0);
        } else if event != 0 || (signal == libc::SIGSTOP && !thread.seen) {
            thread.seen = true;
            self.resume(id, 0);
        } else {
            self.resume(id, signal);
        }
    }

    /// Resumes a thread. One that was killed meanwhile cannot be resumed; its end is reported.
    fn resume(&self, id: pid_t, signal: c_int) {
        let inside = self.threads.get(&id).is_some_and(|thread| thread.inside);
        let how = if self.done() && !inside {
            libc::PTRACE_CONT
        } else {
            libc::PTRACE_SYSCALL
        };
        let _ = request(how, id, 0, signal as usize as *mut c_void);
    }

    /// Returns whether the service can run on without the tracer.
    fn done(&self) -> bool {
        self.trace.injected && matches!(self.plan, Plan::Inject(_, fault) if !fault.lasts())
    }

    fn at_call(&mut self, id: pid_t) {
        let Some(mut values) = read_registers(id) else {
            return;
        };
        let thread = self.threads.entry(id).or_default();
        thread.inside = !thread.inside;
        if !thread.inside {
            if let Some(result) = thread.result.take() {
                values.rax = result;
                write_registers(id, &values);
            }
            self.lie(id, &values);
            return;
        }
        self.trace.calls += 1;
        if self.done() {
            return;
        }
        if let Some(errno) = self.fault(id, &values) {
            self.trace.injected = true;
            values.orig_rax = NO_CALL;
            write_registers(id, &values);
            self.threads.entry(id).or_default().result = Some(i64::from(-errno) as u64);
        }
    }

    /// Returns the error that a call gets instead of being made.
    fn fault(&mut self, id: pid_t, values: &user_regs_struct) -> Option<c_int> {
        let number = values.orig_rax as i64;
        match &self.plan {
            Plan::Inject(_, fault) if fault.lasts() && self.trace.injected => {
                fault.hits(number, values).then_some(fault.errno)
            }
            Plan::Inject(key, fault) => (number == key.number
                && self.key(id, values).as_ref() == Some(key))
            .then_some(fault.errno),
            Plan::Record => {
                if let Some(key) = self.key(id, values) {
                    let call = || Call {
                        interruptible: interruptible(id, &key, values),
                        count: 0,
                    };
                    self.trace
                        .sites
                        .entry(key.clone())
                        .or_insert_with(call)
                        .count += 1;
                }
                None
            }
            Plan::Lie(_) => None,
        }
    }

    /// Replaces the time of a clock, which is where the call wrote it.
    fn lie(&self, id: pid_t, values: &user_regs_struct) {
        let Plan::Lie(liar) = &self.plan else { return };
        let number = values.orig_rax as i64;
        assert!(
            ![libc::SYS_time, libc::SYS_gettimeofday].contains(&number),
            "a clock without a lie"
        );
        if number != libc::SYS_clock_gettime || values.rax != 0 {
            return;
        }
        let Some(time) = read_words(id, values.rsi) else {
            return;
        };
        if let Some(lie) = liar.tell(values.rdi as libc::clockid_t, time) {
            write_words(id, values.rsi, lie);
        }
    }

    fn key(&self, id: pid_t, values: &user_regs_struct) -> Option<Key> {
        let number = values.orig_rax as i64;
        let duplicates = [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC].contains(&(values.rsi as c_int));
        if number == libc::SYS_fcntl && !duplicates {
            return None;
        }
        let link = || fs::read_link(format!("/proc/{id}/fd/{}", values.rdi as i32)).ok();
        // The thread's own: it may be in the network of a phase.
        let target = Target::of(number, link, || {
            fs::read_to_string(format!("/proc/{id}/net/unix")).unwrap()
        });
        let kind = Kind::of(number, target)?;
        let saved = [
            values.rbx, values.rbp, values.r12, values.r13, values.r14, values.r15,
        ];
        let mut piece = Vec::new();
        let mut start = 0;
        let word = |address: u64| {
            if address < start || address + 8 > start + piece.len() as u64 {
                (start, piece) = (address, read_memory(id, address));
            }
            let at = (address - start) as usize;
            Some(u64::from_le_bytes(piece.get(at..at + 8)?.try_into().ok()?))
        };
        let stack = self
            .image
            .unwind(registers(values.rip, values.rsp, saved), self.base, word);
        Some(Key::new(number, target, kind, &stack, |address| {
            self.image.is_own(address)
        }))
    }
}

/// Returns whether a signal could interrupt this call: one on a descriptor only where that can make
/// it wait.
fn interruptible(id: pid_t, key: &Key, values: &user_regs_struct) -> bool {
    let Some(on_descriptor) = key.waits() else {
        return false;
    };
    let options = if key.number == libc::SYS_waitid {
        values.r10
    } else {
        values.rdx
    };
    if [libc::SYS_wait4, libc::SYS_waitid].contains(&key.number)
        && options as c_int & libc::WNOHANG != 0
    {
        return false;
    }
    if !on_descriptor {
        return true;
    }
    let info =
        fs::read_to_string(format!("/proc/{id}/fdinfo/{}", values.rdi as i32)).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| c_int::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & libc::O_NONBLOCK == 0)
}

/// Returns the address at which the kernel started a program, from its auxiliary vector.
fn entry(id: pid_t) -> u64 {
    let vector = fs::read(format!("/proc/{id}/auxv")).unwrap();
    let mut words = vector
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()));
    while let (Some(kind), Some(value)) = (words.next(), words.next()) {
        if kind == libc::AT_ENTRY {
            return value;
        }
    }
    panic!("a program without an entry")
}

/// Hides the kernel's shared functions from a program that has not run yet: only they read a clock
/// without a system call. The program finds them by the auxiliary vector, which is on its stack
/// behind its arguments and its environment.
fn hide_vdso(id: pid_t) {
    let mut at = read_registers(id).expect("registers at an exec").rsp;
    let mut next = || {
        at += 8;
        read_words::<1>(id, at).expect("the stack of a program that has not run yet")[0]
    };
    for _arguments_then_environment in 0..2 {
        while next() != 0 {}
    }
    while next() != libc::AT_SYSINFO_EHDR {
        next();
    }
    write_words(id, at, [libc::AT_IGNORE]);
}

/// Returns the next event of a process, or of any that this thread traces; none when there are no
/// more.
fn wait(id: pid_t) -> Option<(pid_t, c_int)> {
    let mut status = 0;
    loop {
        // SAFETY: the status is written to an integer of ours. Only children of this thread are
        // waited for.
        let found = unsafe { libc::waitpid(id, &mut status, libc::__WALL | libc::__WNOTHREAD) };
        match found {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return None,
            found => return Some((found, status)),
        }
    }
}

fn request(what: libc::c_uint, id: pid_t, address: usize, data: *mut c_void) -> io::Result<c_long> {
    // SAFETY: the requests that we make take numbers, or write to, or read from, a structure of
    // ours that outlives the call.
    match unsafe { libc::ptrace(what, id, address as *mut c_void, data) } {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

fn read_registers(id: pid_t) -> Option<user_regs_struct> {
    // SAFETY: the structure has integers only, for which all zeros is a value.
    let mut values: user_regs_struct = unsafe { std::mem::zeroed() };
    request(
        libc::PTRACE_GETREGS,
        id,
        0,
        ptr::from_mut(&mut values).cast(),
    )
    .ok()?;
    Some(values)
}

fn write_registers(id: pid_t, values: &user_regs_struct) {
    // Only a thread that was killed meanwhile refuses.
    let _ = request(
        libc::PTRACE_SETREGS,
        id,
        0,
        ptr::from_ref(values).cast_mut().cast(),
    );
}

/// Reads as many bytes as there are from an address on, up to one piece.
fn read_memory(id: pid_t, address: u64) -> Vec<u8> {
    let mut bytes = vec![0; PIECE_BYTES];
    loop {
        let local = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        };
        let remote = libc::iovec {
            iov_base: address as *mut c_void,
            iov_len: bytes.len(),
        };
        // SAFETY: the kernel writes at most the length of our buffer to it, and reads the other
        // process's memory.
        let read = unsafe { libc::process_vm_readv(id, &local, 1, &remote, 1, 0) };
        match read {
            1.. => {
                bytes.truncate(read as usize);
                return bytes;
            }
            // The end of the stack is within the piece.
            _ if bytes.len() > 8 => bytes.truncate(bytes.len() / 2),
            _ => return Vec::new(),
        }
    }
}

fn read_words<const COUNT: usize>(id: pid_t, address: u64) -> Option<[u64; COUNT]> {
    let bytes = read_memory(id, address);
    let mut words = bytes
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()));
    let mut found = [0; COUNT];
    for place in &mut found {
        *place = words.next()?;
    }
    Some(found)
}

fn write_words<const COUNT: usize>(id: pid_t, address: u64, mut words: [u64; COUNT]) {
    let size = size_of_val(&words);
    let local = libc::iovec {
        iov_base: words.as_mut_ptr().cast(),
        iov_len: size,
    };
    let remote = libc::iovec {
        iov_base: address as *mut c_void,
        iov_len: size,
    };
    // SAFETY: the kernel reads our array, and writes the other process's memory. Only one that was
    // killed meanwhile refuses.
    unsafe { libc::process_vm_writev(id, &local, 1, &remote, 1, 0) };
}
