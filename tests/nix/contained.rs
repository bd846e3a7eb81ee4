//! What can a builder reach? Each attempt says in the package's output how it went.

use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::appliance::{Outcome, PATIENCE, store_paths};
use crate::attempts::{all_contained, attempts};
use crate::flake::{Flake, derivation};
use crate::harness::{Request, Server, StaticServer, sha256};
use crate::tool;

/// The first user of the first service on this machine, and how far apart those of two services
/// begin.
const FIRST_USER: u32 = 2_000_000_000;
const USERS_OF_A_SERVICE: u32 = 131_072;
/// The offsets of the builders' users among those: above the daemon's, and below that of commands.
const BUILDERS: std::ops::Range<u32> = 30_001..65_536;

/// Builds with a builder that makes all attempts, and asserts that none worked.
fn assert_contained(all: &[(&str, String)]) {
    let bundle = Outcome::of(&Flake::built_by(&attempts(all))).bundle();
    let said = String::from_utf8(bundle.artifacts()["package"].to_vec()).unwrap();
    assert_eq!(said, all_contained(all));
}

/// Asserts that no client connected to either listener.
fn assert_no_connection(listener: &TcpListener, named: &UnixListener) {
    listener.set_nonblocking(true).unwrap();
    named.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "a client came by TCP");
    assert!(
        named.accept().is_err(),
        "a client came by the abstract socket"
    );
}

/// The attempts are real: their targets exist outside.
#[test]
#[ignore = "needs nix"]
fn an_ordinary_builder_has_no_network() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let abstract_name = format!("kettle-test-{}", std::process::id());
    let named =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&abstract_name).unwrap()).unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_contained(&[
        ("loopback of the machine", format!("connects({port})")),
        (
            "abstract socket of the machine",
            format!("connects_to(\"{abstract_name}\", 1)"),
        ),
        (
            "packet socket",
            "socket(AF_PACKET, SOCK_RAW, 0) >= 0".to_owned(),
        ),
        (
            "raw socket",
            "socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0".to_owned(),
        ),
        ("vsock", "socket(40, SOCK_STREAM, 0) >= 0".to_owned()),
        (
            "another network's namespace",
            "unshare(CLONE_NEWNET) == 0".to_owned(),
        ),
        (
            "the daemon's socket",
            "connects_to(\"/nix/var/nix/daemon-socket/socket\", 0)".to_owned(),
        ),
    ]);
    assert_no_connection(&listener, &named);
}

/// It has the network of a phase that fetches, and so reaches nothing of the machine.
#[test]
#[ignore = "needs nix"]
fn a_builder_with_a_fixed_output_reaches_no_port_and_no_abstract_socket_of_the_machine() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let abstract_name = format!("kettle-test-fixed-{}", std::process::id());
    let named =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&abstract_name).unwrap()).unwrap();
    let all = [
        (
            "loopback of the machine",
            format!("connects({})", listener.local_addr().unwrap().port()),
        ),
        (
            "abstract socket of the machine",
            format!("connects_to(\"{abstract_name}\", 1)"),
        ),
        (
            "a metadata service",
            "reaches(\"169.254.169.254\", 80)".to_owned(),
        ),
        (
            "a packet socket",
            "socket(AF_PACKET, SOCK_RAW, 0) >= 0".to_owned(),
        ),
    ];
    let expected = all_contained(&all);
    let flake = Flake::fixed_by(&attempts(&all), &sha256(expected.as_bytes()));
    let bundle = Outcome::of_public_addresses(&flake).bundle();
    assert_eq!(
        String::from_utf8_lossy(bundle.artifacts()["package"]),
        expected
    );
    assert_no_connection(&listener, &named);
}

#[test]
#[ignore = "needs nix"]
fn a_fixed_output_that_is_fetched_from_the_machine_itself_says_why_it_cannot_be() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "fetched\n").unwrap();
    let url = format!(
        "http://127.0.0.1:{}/file",
        StaticServer::start(directory.path().to_owned()).port
    );
    let hash = sha256(b"fetched\n");
    let fetch = format!(
        "derivation {{ name = \"file\"; system = \"builtin\"; builder = \"builtin:fetchurl\"; url = \"{url}\"; \
         outputHashMode = \"flat\"; outputHashAlgo = \"sha256\"; outputHash = \"{hash}\"; unpack = false; \
         executable = false; preferLocalBuild = true; }}"
    );
    let flake = Flake::of(&format!(
        "{{ outputs = {{ self }}: {{ packages.x86_64-linux.default = {fetch}; }}; }}"
    ));
    Outcome::of_public_addresses(&flake).assert_failed(
        "DependencyFetchFailed",
        "no public address: only public addresses are reached",
    );
}

#[test]
#[ignore = "needs nix"]
fn a_builder_reaches_no_memory_no_device_and_no_other_process() {
    let service = std::process::id();
    assert_contained(&[
        (
            "memory of the machine",
            "opens(\"/dev/mem\", O_RDONLY)".to_owned(),
        ),
        (
            "memory of the kernel",
            "opens(\"/dev/kmem\", O_RDONLY) || opens(\"/proc/kcore\", O_RDONLY)".to_owned(),
        ),
        (
            "messages of the kernel",
            "opens(\"/dev/kmsg\", O_RDONLY)".to_owned(),
        ),
        (
            "secure processor",
            "opens(\"/dev/sev-guest\", O_RDWR)".to_owned(),
        ),
        (
            "device mapper",
            "opens(\"/dev/mapper/control\", O_RDWR)".to_owned(),
        ),
        (
            "disk",
            "opens(\"/dev/vda\", O_RDONLY) || opens(\"/dev/sda\", O_RDONLY)".to_owned(),
        ),
        ("virtualisation", "opens(\"/dev/kvm\", O_RDWR)".to_owned()),
        (
            "a new device",
            "mknod(\"/tmp/mem\", S_IFCHR | 0666, 0x101) == 0".to_owned(),
        ),
        ("other processes", "strangers() > 0".to_owned()),
        (
            "the service's memory",
            format!("opens(\"/proc/{service}/mem\", O_RDWR)"),
        ),
        (
            "the service's environment",
            format!("reads(\"/proc/{service}/environ\")"),
        ),
        (
            "tracing",
            format!(
                "ptrace(PTRACE_ATTACH, {service}, 0, 0) == 0 || ptrace(PTRACE_ATTACH, 1, 0, 0) == 0"
            ),
        ),
        (
            "another's memory",
            format!("syscall(SYS_process_vm_readv, {service}, 0, 0, 0, 0, 0) >= 0"),
        ),
        ("killing the service", format!("kill({service}, 0) == 0")),
        (
            "killing others",
            "kill(-1, 0) == 0 && strangers() > 0".to_owned(),
        ),
    ]);
}

#[test]
#[ignore = "needs nix"]
fn a_builder_gets_no_rights_and_sees_no_files_but_its_own() {
    assert_contained(&[
        ("being root", "getuid() == 0 || setuid(0) == 0".to_owned()),
        ("a user namespace", "unshare(CLONE_NEWUSER) == 0".to_owned()),
        ("a user namespace by clone", "syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0) > 0".to_owned()),
        ("mounting", "mount(\"tmpfs\", \"/tmp\", \"tmpfs\", 0, \"\") == 0".to_owned()),
        ("unmounting", "umount2(\"/proc\", MNT_DETACH) == 0".to_owned()),
        ("a new root", "chroot(\"/tmp\") == 0".to_owned()),
        ("the host's name", "sethostname(\"x\", 1) == 0".to_owned()),
        ("a set-user-ID file", "chmod(getenv(\"out\"), 04755) == 0".to_owned()),
        ("the kernel's settings", "opens(\"/proc/sys/kernel/core_pattern\", O_WRONLY)".to_owned()),
        ("a module", "syscall(SYS_init_module, \"\", 0, \"\") == 0 || errno != EPERM".to_owned()),
        ("filter programs", "syscall(SYS_bpf, 0, 0, 0) >= 0 || errno != EPERM".to_owned()),
        ("the client's source", "reads(\"/kettle/source/flake.nix\")".to_owned()),
        ("the daemon's database", "reads(\"/nix/var/nix/db/db.sqlite\")".to_owned()),
        ("the configuration", "reads(\"/etc/nix/nix.conf\")".to_owned()),
        ("writing beside its output", "mkdir(\"/nix/store/00000000000000000000000000000000-x\", 0777) == 0 && access(\"/nix/store/.links\", F_OK) == 0".to_owned()),
        ("writing its source", "opens(\"/nix/store\", O_WRONLY) || chmod(\"/bin/sh\", 0777) == 0".to_owned()),
    ]);
}

/// No process that a builder leaves is alive at the end; the harness checks that.
#[test]
#[ignore = "needs nix"]
fn a_daemon_that_a_builder_leaves_is_dead_before_its_output_is_read() {
    let leaving = "#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n#include <sys/stat.h>\n\
        int main(void) { FILE *f = fopen(getenv(\"out\"), \"w\"); fputs(\"honest\\n\", f); fclose(f);\n\
        if (fork() == 0) { setsid(); if (fork() == 0) for (;;) { chmod(getenv(\"out\"), 0666);\n\
        if ((f = fopen(getenv(\"out\"), \"w\"))) { fputs(\"changed\\n\", f); fclose(f); } } _exit(0); }\n return 0; }";
    assert_eq!(
        Outcome::of(&Flake::built_by(leaving)).bundle().artifacts()["package"],
        b"honest\n"
    );
}

/// Fixed outputs are fetched with the network, and have the flake's hash or are refused.
#[test]
#[ignore = "needs nix"]
fn a_fixed_output_is_fetched_and_compared() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "fetched\n").unwrap();
    let url = format!(
        "http://127.0.0.1:{}/file",
        StaticServer::start(directory.path().to_owned()).port
    );
    let flake = |hash: &str| {
        let fetch = format!(
            "(derivation {{ name = \"file\"; system = \"builtin\"; builder = \"builtin:fetchurl\"; url = \"{url}\"; \
             outputHashMode = \"flat\"; outputHashAlgo = \"sha256\"; outputHash = \"{hash}\"; unpack = false; \
             executable = false; preferLocalBuild = true; }})"
        );
        let package = derivation(
            "package",
            &format!("file = {fetch};"),
            "read -r line < $file; echo \"$line\" > $out",
        );
        Flake::of(&format!(
            "{{ outputs = {{ self }}: {{ packages.x86_64-linux.default = {package}; }}; }}"
        ))
    };
    let bundle = Outcome::of(&flake(&sha256(b"fetched\n"))).bundle();
    assert_eq!(bundle.artifacts()["package"], b"fetched\n");
    let statement = bundle.statement();
    let how = |end: &str| {
        let (_, path) = store_paths(&statement)
            .into_iter()
            .find(|(name, _)| name.ends_with(end))
            .unwrap();
        path["annotations"]["realised"].clone()
    };
    assert_eq!(
        (how("-file"), how("-package")),
        (json!("fetched"), json!("built"))
    );
    Outcome::of(&flake(&sha256(b"other")))
        .assert_failed("BuildFailed", "hash mismatch in fixed-output derivation");
}

/// Before the daemon hashes a fixed output, it replaces it by a copy. The builder leaves a link
/// where that copy could be made, and the daemon must not write through it: another path of the
/// store would change after it was registered.
#[test]
#[ignore = "needs nix"]
fn a_fixed_output_builder_cannot_have_the_daemon_write_to_another_path() {
    const WRITTEN: &str = "written by the daemon\n";
    let plant = format!(
        "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n\
         int main(void) {{ const char *out = getenv(\"out\"); char copy[4096]; snprintf(copy, sizeof copy, \"%s.tmp\", out);\n\
         if (symlink(getenv(\"neighbour\"), copy)) return 1;\n\
         FILE *f = fopen(out, \"w\"); fputs({WRITTEN:?}, f); return fclose(f); }}"
    );
    let neighbour = derivation("neighbour", "", "echo honest > $out");
    let flake = |mode: &str, hash: &str| {
        let planting = format!(
            "derivation {{ name = \"planting\"; system = \"x86_64-linux\"; builder = \"${{self}}/plant\"; \
             outputHashMode = \"{mode}\"; outputHashAlgo = \"sha256\"; outputHash = \"{hash}\"; inherit neighbour; }}"
        );
        let package = derivation(
            "package",
            "inherit neighbour planting;",
            "test -e $planting || test -L $planting; read -r line < $neighbour; echo \"$line\" > $out",
        );
        let outputs = format!(
            "let neighbour = {neighbour}; planting = {planting}; in \
             {{ packages.x86_64-linux = {{ inherit neighbour; default = {package}; }}; }}"
        );
        Flake::of(&format!("{{ outputs = {{ self }}: {outputs}; }}")).program("plant", &plant)
    };
    // With the hash of the link, which takes the place of the output where the daemon wrote through
    // it, and with that of what the builder made.
    let tool = tool::Tool::new();
    let built = tool.build(&flake("flat", &sha256(b"")), "neighbour");
    std::os::unix::fs::symlink(built["out"].as_str().unwrap(), tool.path("link")).unwrap();
    Outcome::of(&flake("recursive", &tool.nar_hash("link")))
        .assert_failed("BuildFailed", "hash mismatch in fixed-output derivation");
    let bundle = Outcome::of(&flake("flat", &sha256(WRITTEN.as_bytes()))).bundle();
    assert_eq!(bundle.artifacts()["package"], b"honest\n");
}

/// A builder that may download does not count as one that built something.
#[test]
#[ignore = "needs nix"]
fn a_flake_whose_package_is_a_fixed_output_says_that_nothing_was_built() {
    let hash = sha256(b"fixed\n");
    let fixed =
        format!("outputHashMode = \"flat\"; outputHashAlgo = \"sha256\"; outputHash = \"{hash}\";");
    let outcome = Outcome::of(&Flake::derivation(&fixed, "echo fixed > $out"));
    let statement = outcome.bundle().statement();
    assert!(
        outcome.log.contains("nothing was built here"),
        "{}",
        outcome.log
    );
    let outputs = &statement["predicate"]["buildDefinition"]["internalParameters"]["outputs"];
    assert_eq!(outputs[0]["realised"], "fetched");
}

/// The package is built, and equals a download, byte for byte.
#[test]
#[ignore = "needs nix"]
fn a_builder_that_only_copies_a_download_built_nothing() {
    let hash = sha256(b"fixed\n");
    let fixed =
        format!("outputHashMode = \"flat\"; outputHashAlgo = \"sha256\"; outputHash = \"{hash}\";");
    let download = derivation("download", &fixed, "echo fixed > $out");
    let of = |script: &str| {
        let package = derivation("package", &format!("download = {download};"), script);
        let outputs = format!(
            "{{ outputs = {{ self }}: {{ packages.x86_64-linux.default = {package}; }}; }}"
        );
        Outcome::of(&Flake::of(&outputs))
    };
    for (script, is_copy) in [
        ("read -r line < $download; echo \"$line\" > $out", true),
        (
            "read -r line < $download; echo \"$line made here\" > $out",
            false,
        ),
    ] {
        let outcome = of(script);
        let statement = outcome.bundle().statement();
        let output = &statement["predicate"]["buildDefinition"]["internalParameters"]["outputs"][0];
        assert_eq!(output["realised"], "built");
        let from = output["copiedFrom"].as_array().map_or(0, Vec::len);
        assert_eq!(
            (from == 1, outcome.log.contains("nothing was built here")),
            (is_copy, is_copy),
            "{output}"
        );
    }
}

/// An archive that is only unpacked is a download in another form: by nix's own builder, whatever
/// its compression (that one is xz, which is not read here), and by a builder of the flake.
#[test]
#[ignore = "needs nix"]
fn a_builder_that_only_unpacks_a_download_built_nothing() {
    let packed = |kind: &str| {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("top")).unwrap();
        fs::write(directory.path().join("top/text"), "from an archive\n").unwrap();
        let status = Command::new("tar")
            .args([kind, "-cf", "archive", "top"])
            .current_dir(directory.path())
            .status();
        assert!(status.unwrap().success());
        fs::read(directory.path().join("archive")).unwrap()
    };
    let fixed = |archive: &[u8]| {
        let hash = sha256(archive);
        let text: String = archive
            .iter()
            .map(|byte| format!("\\x{byte:02x}"))
            .collect();
        let fixed = format!(
            "outputHashMode = \"flat\"; outputHashAlgo = \"sha256\"; outputHash = \"{hash}\";"
        );
        derivation("download", &fixed, &format!("printf '%b' '{text}' > $out"))
    };
    let unpacking = "derivation { name = \"package\"; system = \"x86_64-linux\"; \
                     builder = \"builtin:unpack-channel\"; channelName = \"top\"; src = DOWNLOAD; }";
    let writing = |script: &str| derivation("package", "download = DOWNLOAD;", script);
    for (archive, package, is_copy) in [
        (packed("--xz"), unpacking.to_owned(), true),
        (
            packed("--gzip"),
            writing("[ -f $download ]; echo from an archive > $out"),
            true,
        ),
        (
            packed("--gzip"),
            writing("[ -f $download ]; echo from here > $out"),
            false,
        ),
    ] {
        let package = package.replace("DOWNLOAD", &format!("({})", fixed(&archive)));
        let outputs = format!(
            "{{ outputs = {{ self }}: {{ packages.x86_64-linux.default = {package}; }}; }}"
        );
        let outcome = Outcome::of(&Flake::of(&outputs));
        let statement = outcome.bundle().statement();
        let output = &statement["predicate"]["buildDefinition"]["internalParameters"]["outputs"][0];
        assert_eq!(output["realised"], "built");
        let from = output["copiedFrom"].as_array().map_or(0, Vec::len);
        assert_eq!(
            (from == 1, outcome.log.contains("nothing was built here")),
            (is_copy, is_copy),
            "{output}"
        );
    }
}

/// Addresses are the same in every run: nix fixes them for reproducible results.
#[test]
#[ignore = "needs nix"]
fn a_builder_runs_with_fixed_addresses() {
    let bundle = Outcome::of(&Flake::script(
        "read -r line < /proc/self/personality; echo $line > $out",
    ))
    .bundle();
    assert_eq!(bundle.artifacts()["package"], b"00040000\n");
}

/// Builders run as other users than the service, in their own namespaces.
#[test]
#[ignore = "needs nix"]
fn a_service_that_is_told_to_end_takes_the_builders_along() {
    let (root, conf) = (tool::root(), tool::configuration());
    let mut server = Server::with_options(&[
        "--nix-root",
        root.to_str().unwrap(),
        "--nix-conf",
        conf.to_str().unwrap(),
    ]);
    let endless = Flake::script("while :; do read -r -t 60 < /dev/zero || :; done");
    server
        .run(&Request::json(&endless.archive(), "flake.tar"))
        .job();
    let user_of = |id: &u32| {
        fs::metadata(format!("/proc/{id}"))
            .ok()?
            .uid()
            .checked_sub(FIRST_USER)
    };
    let is_builder =
        |id: &u32| user_of(id).is_some_and(|user| BUILDERS.contains(&(user % USERS_OF_A_SERVICE)));
    let patience = Instant::now() + PATIENCE;
    let running = loop {
        let running = server.descendants();
        if running.iter().any(is_builder) {
            break running;
        }
        assert!(Instant::now() < patience, "no builder: {}", server.log());
        sleep(Duration::from_millis(50));
    };
    assert!(server.terminate().success());
    // A process that is dead and not yet collected has no memory any more.
    let is_alive = |id: &&u32| {
        fs::read_to_string(format!("/proc/{id}/smaps_rollup")).is_ok_and(|text| !text.is_empty())
    };
    let alive: Vec<_> = running.iter().filter(is_alive).collect();
    assert!(alive.is_empty(), "{alive:?}");
}
