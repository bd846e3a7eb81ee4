//! Names, and replies that change.

use std::net::Ipv4Addr;

use kettle::sandbox::{Exit, Runner};

use crate::scene::{NAME_SERVER, PORT, SECRET, run, run_program, runner, with_machine};

const PUBLIC: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);
const PRIVATE: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Prints the response at a name, which is asked again and again; `-` where there is none.
const ASK_THRICE: &str = "for i in 1 2 3; do (exec 3<>/dev/tcp/registry.example/8000 && echo x >&3 && \
    sed -n '/^secret/p' <&3) 2>/dev/null | grep . || echo -; done; exit 1";

#[test]
#[ignore = "needs root"]
fn a_name_that_means_another_address_the_next_time_gains_nothing() {
    assert_eq!(PORT, 8000, "as in the script");
    with_machine(&["1.1.1.1", "169.254.169.254"], |world| {
        let change = |answers: &[Ipv4Addr]| {
            world
                .names
                .lock()
                .unwrap()
                .insert("registry.example".to_owned(), answers.to_vec());
        };
        change(&[PUBLIC, PRIVATE, PUBLIC]);
        let control = run_program("bash", &["-c", &ASK_THRICE.replace("exit 1", "exit 0")]);
        assert_eq!(control, format!("{SECRET}\n").repeat(3), "the control");
        change(&[PUBLIC, PRIVATE, PUBLIC]);
        let (exit, printed) = run(&runner(&[]), ASK_THRICE);
        assert_eq!(printed, format!("{SECRET}\n-\n{SECRET}\n"));
        assert_eq!(exit, Exit::RefusedAddress);
    });
}

#[test]
#[ignore = "needs root"]
fn a_phase_asks_the_name_servers_that_the_machine_has_at_that_moment() {
    with_machine(&["10.8.8.8"], |world| {
        world
            .names
            .lock()
            .unwrap()
            .insert("a.example".to_owned(), vec![PUBLIC]);
        let runner = runner(&[]);
        for servers in [&[NAME_SERVER][..], &["10.8.8.8", NAME_SERVER]] {
            world.set_name_servers(servers);
            let (_, printed) = run(
                &runner,
                "cat /etc/resolv.conf; getent ahostsv4 a.example | head -n 1",
            );
            let expected: String = servers
                .iter()
                .map(|server| format!("nameserver {server}\n"))
                .collect();
            assert!(printed.starts_with(&expected), "{printed}");
            assert!(
                printed[expected.len()..].starts_with("1.1.1.1"),
                "{printed}"
            );
        }
    });
}

#[test]
#[ignore = "needs root"]
fn name_servers_on_the_machines_loopback_alone_are_a_named_degradation() {
    with_machine(&[], |world| {
        world.set_name_servers(&["127.0.0.1", "::1"]);
        let runner = Runner::new().unwrap();
        let found = runner
            .description()
            .degradations
            .iter()
            .find(|one| one.name == "fetch-network-shared");
        let reason = &found.unwrap().reason;
        assert!(
            reason.contains("127.0.0.1, ::1") && reason.contains("/etc/resolv.conf"),
            "{reason}"
        );
        let recorded = serde_json::to_value(runner.description()).unwrap();
        assert_eq!(recorded["fetchNetwork"]["reaches"], "machine");
    });
}
