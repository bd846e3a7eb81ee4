//! Other users of the machine's network while a phase has its own: other phases, other networks.

use std::fs;
use std::process::{Command, Stdio};

use crate::scene::{PORT, SECRET, ip, reached, reaching, run, run_program, runner, with_machine};

/// A neighbour of the machine, in a network that the machine does not forward for.
struct Neighbour(std::process::Child);

impl Neighbour {
    /// Creates a neighbour with the machine as its router.
    fn new() -> Self {
        let mut waiting = Command::new("unshare");
        let child = waiting
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let neighbour = Self(child);
        let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
        while fs::read_link(neighbour.namespace()).unwrap() == own {
            std::thread::yield_now();
        }
        ip(&format!(
            "link add lan0 type veth peer name eth0 netns {}",
            neighbour.namespace()
        ));
        ip("link set lan0 up");
        ip("addr add 192.168.7.1/24 dev lan0");
        ip("addr add 2a00:7::1/64 nodad dev lan0");
        for words in [
            "link set eth0 up",
            "addr add 192.168.7.2/24 dev eth0",
            "addr add 2a00:7::2/64 nodad dev eth0",
            "route add default via 192.168.7.1",
            "route add default via 2a00:7::1",
        ] {
            neighbour.run(&[&["ip"], &words.split(' ').collect::<Vec<_>>()[..]].concat());
        }
        neighbour
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    fn run(&self, words: &[&str]) -> String {
        let inside = format!("--net={}", self.namespace());
        run_program("nsenter", &[&[inside.as_str()], words].concat())
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a phase that prints that it runs, and calls a function of the test meanwhile.
fn while_a_phase_runs(look: impl FnOnce()) {
    let runner = runner(&[]);
    let mut look = Some(look);
    let mut watching = Watching(|| {
        if let Some(look) = look.take() {
            look();
        }
    });
    let spec = crate::scene::phase("echo running; sleep 1");
    crate::scene::block_on(kettle::sandbox::Run::run(&runner, &spec, &mut watching)).unwrap();
    assert!(look.is_none(), "the phase said nothing");
}

struct Watching<F: FnMut()>(F);

impl<F: FnMut()> kettle::sandbox::OutputSink for Watching<F> {
    fn chunk(&mut self, _: kettle::sandbox::Stream, _: &[u8]) -> std::io::Result<()> {
        (self.0)();
        Ok(())
    }
}

#[test]
#[ignore = "needs root"]
fn the_machine_forwards_for_nobody_else_meanwhile() {
    for (target, network, setting) in [
        ("1.1.1.1", "192.168.7.0/24", "/proc/sys/net/ipv4/ip_forward"),
        (
            "2606:4700::1111",
            "2a00:7::/64",
            "/proc/sys/net/ipv6/conf/all/forwarding",
        ),
    ] {
        with_machine(&[target], |world| {
            world.knows_the_way_to(network);
            let neighbour = Neighbour::new();
            let targets = [(target, PORT)];
            let reaches = || {
                !reached(
                    &neighbour.run(&["bash", "-c", &reaching(&targets)]),
                    &targets,
                )
                .is_empty()
            };
            assert!(!reaches(), "without a phase");
            while_a_phase_runs(|| assert!(!reaches(), "with a phase"));
            fs::write(setting, "1").unwrap();
            assert!(reaches(), "the control: the machine forwards");
            while_a_phase_runs(|| assert!(reaches(), "a machine that forwards goes on forwarding"));
            assert_eq!(fs::read_to_string(setting).unwrap(), "1\n");
        });
    }
}

#[test]
#[ignore = "needs root"]
fn the_end_of_one_phase_is_not_that_of_another() {
    with_machine(&["1.1.1.1"], |_| {
        let target = [("1.1.1.1", PORT)];
        let second = runner(&[]);
        let first = runner(&[]);
        let script = reaching(&target);
        let mut seen = String::new();
        while_a_phase_runs(|| seen = in_another_thread(&second, &script));
        assert_eq!(reached(&seen, &target), target);
        assert_eq!(reached(&run(&first, &script).1, &target), target);
        assert!(!seen.contains(SECRET));
    });
}

/// Runs a phase while another phase's output is read, which needs another runtime, and so another
/// thread of the same machine.
fn in_another_thread(runner: &kettle::sandbox::Runner, script: &str) -> String {
    std::thread::scope(|scope| scope.spawn(|| run(runner, script).1).join().unwrap())
}

/// Two containers with users in common, each with its own `/run`.
#[test]
#[ignore = "needs root"]
fn services_that_do_not_see_each_others_locks_have_no_user_in_common() {
    let user = |runner: &kettle::sandbox::Runner| runner.description().uid;
    let with_a_run_of_its_own = |work: &(dyn Fn(&kettle::sandbox::Runner) + Sync)| {
        with_machine(&[], |_| {
            run_program("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
            work(&runner(&[]));
        });
    };
    with_a_run_of_its_own(&|first| {
        let mut of_second = None;
        let found = std::sync::Mutex::new(&mut of_second);
        with_a_run_of_its_own(&|second| **found.lock().unwrap() = Some(user(second)));
        assert_ne!(of_second, Some(user(first)));
        assert!(of_second.is_some());
    });
}
