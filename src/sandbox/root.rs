//! Writes bubblewrap's arguments: the directories, files and namespaces that a command sees.
//!
//! * In: a [`CommandSpec`] and the machine's layout.
//! * Out: arguments, as values that a test can read.
//! * Never: a directory of the machine that is not in a list of this file or in the plan.

use std::ffi::OsString;
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use super::SetupError;
use super::kernel_files::Covered;
use super::limits::Limits;
use super::paths::{HOME, home};
use super::spec::{Access, CommandSpec, Mount, Network};

/// The user and group of a command, inside its sandbox.
const INNER_ID: u32 = 1000;
const HOST_NAME: &str = "kettle";
/// The directories of the machine's root, beside `/usr`, that have programs and libraries. On a
/// machine whose `/usr` is merged, they are links into it.
const SYSTEM_DIRECTORIES: [&str; 6] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// The files of `/etc` that every command sees: the programs of alternatives, the paths of
/// libraries, and the authorities that TLS trusts.
const ETC: [&str; 7] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
];
/// The files of `/etc` for resolving names, which commands with a network see.
const ETC_WITH_NETWORK: [&str; 3] = ["/etc/hosts", "/etc/nsswitch.conf", "/etc/services"];
/// The file of the name servers: those that the phase's own network reaches, or else the machine's
/// file.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The devices that store nothing.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const DEVICE_LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];
/// The device that covers files: on a mount without devices, no process can open it.
const COVER: &str = "/dev/null";
/// The directory of bubblewrap's reaper, which runs as the same user without a system call filter:
/// its memory would be a way around the filter. An empty directory covers it.
const REAPER: &str = "/proc/1";

/// The capabilities that a service needs to make sandboxes for users of its own namespace. Outside
/// of that namespace they permit nothing.
const SERVICE_CAPABILITIES: [&str; 9] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_KILL",
    // The loopback device of a sandbox without network.
    "CAP_NET_ADMIN",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SYS_ADMIN",
    "CAP_SYS_CHROOT",
];

/// The text of `/etc/passwd`, for programs that look up their own user.
pub(super) const PASSWD: &str = concat!(
    "build:x:1000:1000::",
    home!(),
    ":/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
);
pub(super) const GROUP: &str = "build:x:1000:\nnogroup:x:65534:\n";

/// A directory of the machine's root, as commands see it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SystemDirectory {
    /// The directory itself, which is bound.
    Bound(PathBuf),
    /// A symbolic link, of which the sandbox gets a copy.
    Link { target: PathBuf, path: PathBuf },
}

/// The entries of the lists above that this machine has. Looked up once.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    system: Vec<SystemDirectory>,
    etc: Vec<PathBuf>,
}

impl Layout {
    /// Looks up the layout of this machine.
    pub(super) fn of_this_machine() -> Result<Self, SetupError> {
        let mut layout = Self {
            system: Vec::new(),
            etc: Vec::new(),
        };
        for path in SYSTEM_DIRECTORIES {
            layout.system.extend(system_directory(Path::new(path))?);
        }
        for path in ETC.map(PathBuf::from) {
            match path.try_exists() {
                Ok(true) => layout.etc.push(path),
                Ok(false) => {}
                Err(source) => return Err(SetupError::Path { path, source }),
            }
        }
        Ok(layout)
    }
}

/// Looks up a directory of the machine's root. Returns none if there is no directory of this name.
fn system_directory(path: &Path) -> Result<Option<SystemDirectory>, SetupError> {
    let failed = |source| SetupError::Path {
        path: path.to_owned(),
        source,
    };
    let found = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(failed)?,
    };
    if found.is_symlink() {
        return Ok(Some(SystemDirectory::Link {
            target: path.read_link().map_err(failed)?,
            path: path.to_owned(),
        }));
    }
    let is_directory = found.is_dir();
    Ok(is_directory.then(|| SystemDirectory::Bound(path.to_owned())))
}

/// The numbers of the descriptors that bubblewrap gets. It closes them all before the command runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptors {
    /// The programs of the filter, in the order in which they are loaded.
    pub(super) filter: [RawFd; 2],
    pub(super) passwd: RawFd,
    pub(super) group: RawFd,
    /// A pipe for the child's number, and for its exit status if the command ran.
    pub(super) status: RawFd,
    /// A pipe at which the child waits before it becomes the command.
    pub(super) start: RawFd,
    /// The user namespace of a service, which is root there and makes sandboxes itself.
    pub(super) users: Option<RawFd>,
    /// The file of the name servers, for a phase that has its own network.
    pub(super) resolv_conf: Option<RawFd>,
    /// The content of the plan's secret file.
    pub(super) secret: Option<RawFd>,
}

/// Builds all of bubblewrap's arguments.
pub(super) fn arguments(
    spec: &CommandSpec,
    layout: &Layout,
    covered: &Covered,
    limits: &Limits,
    fds: &Descriptors,
) -> Vec<OsString> {
    let mut arguments = Arguments(Vec::new());
    match fds.users {
        None => arguments.identity(),
        Some(users) => arguments.service_identity(users),
    }
    arguments.isolation(spec.network);
    arguments.environment(spec);
    arguments.system(layout);
    arguments.etc(layout, spec.network, fds);
    match fds.users {
        None => arguments.kernel_files(covered),
        Some(_) => arguments.service_kernel_files(),
    }
    arguments.temporary(limits);
    for mount in &spec.mounts {
        arguments.mount(mount);
    }
    arguments.secret(spec, fds);
    arguments.add(["--remount-ro", "/"]);
    arguments.add([OsString::from("--chdir"), spec.directory.clone().into()]);
    arguments.descriptors(fds);
    arguments.command(spec);
    arguments.0
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn add<T: Into<OsString>>(&mut self, words: impl IntoIterator<Item = T>) {
        self.0.extend(words.into_iter().map(Into::into));
    }

    fn identity(&mut self) {
        let id = INNER_ID.to_string();
        self.add([
            "--unshare-user",
            "--disable-userns",
            "--cap-drop",
            "ALL",
            "--uid",
            &id,
            "--gid",
            &id,
        ]);
    }

    fn service_identity(&mut self, users: RawFd) {
        self.add(["--userns", &users.to_string(), "--cap-drop", "ALL"]);
        for capability in SERVICE_CAPABILITIES {
            self.add(["--cap-add", capability]);
        }
    }

    fn isolation(&mut self, network: Network) {
        self.add([
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-uts",
            "--unshare-cgroup",
        ]);
        if network == Network::None {
            self.add(["--unshare-net"]);
        }
        self.add([
            "--die-with-parent",
            "--new-session",
            "--hostname",
            HOST_NAME,
        ]);
    }

    fn environment(&mut self, spec: &CommandSpec) {
        self.add(["--clearenv"]);
        for (name, value) in &spec.environment {
            self.add(["--setenv", name, value]);
        }
    }

    fn bind(&mut self, option: &str, source: &Path, target: &Path) {
        self.add([OsString::from(option), source.into(), target.into()]);
    }

    fn system(&mut self, layout: &Layout) {
        self.bind("--ro-bind", Path::new("/usr"), Path::new("/usr"));
        for directory in &layout.system {
            match directory {
                SystemDirectory::Bound(path) => self.bind("--ro-bind", path, path),
                SystemDirectory::Link { target, path } => self.bind("--symlink", target, path),
            }
        }
    }

    fn etc(&mut self, layout: &Layout, network: Network, fds: &Descriptors) {
        for path in &layout.etc {
            self.bind("--ro-bind", path, path);
        }
        if network == Network::Fetch {
            for path in ETC_WITH_NETWORK {
                self.bind("--ro-bind-try", Path::new(path), Path::new(path));
            }
            match fds.resolv_conf {
                Some(file) => self.file(file, RESOLV_CONF),
                None => self.bind(
                    "--ro-bind-try",
                    Path::new(RESOLV_CONF),
                    Path::new(RESOLV_CONF),
                ),
            }
        }
        self.file(fds.passwd, "/etc/passwd");
        self.file(fds.group, "/etc/group");
    }

    fn file(&mut self, descriptor: RawFd, path: &str) {
        self.add(["--perms", "0444", "--file", &descriptor.to_string(), path]);
    }

    fn kernel_files(&mut self, covered: &Covered) {
        self.add(["--proc", "/proc"]);
        for path in &covered.files {
            self.add(["--ro-bind", COVER, path]);
        }
        let directories = || {
            covered
                .directories
                .iter()
                .map(String::as_str)
                .chain([REAPER])
        };
        for path in directories() {
            self.add(["--tmpfs", path]);
        }
        for path in &covered.settings {
            self.add(["--ro-bind", path, path]);
        }
        for path in directories() {
            self.add(["--remount-ro", path]);
        }
        self.add(["--tmpfs", "/dev"]);
        for device in DEVICES {
            let path = Path::new("/dev").join(device);
            self.bind("--dev-bind", &path, &path);
        }
        for (target, path) in DEVICE_LINKS {
            self.add(["--symlink", target, path]);
        }
        self.add(["--remount-ro", "/dev"]);
    }

    /// Mounts a `/proc` that hides nothing: otherwise, the kernel does not let a service mount a
    /// `/proc` for its sandboxes. The files that are hidden from commands are empty for a service,
    /// or refused, because it is not the machine's root.
    fn service_kernel_files(&mut self) {
        self.add(["--proc", "/proc", "--dev", "/dev"]);
    }

    fn temporary(&mut self, limits: &Limits) {
        self.add([
            "--perms",
            "1777",
            "--size",
            &limits.tmp_bytes.to_string(),
            "--tmpfs",
            "/tmp",
        ]);
        self.add([
            "--perms",
            "0700",
            "--size",
            &limits.home_bytes.to_string(),
            "--tmpfs",
            HOME,
        ]);
    }

    fn mount(&mut self, mount: &Mount) {
        let option = match mount.access {
            Access::ReadOnly => "--ro-bind",
            Access::ReadWrite => "--bind",
        };
        self.bind(option, &mount.source, &mount.target);
    }

    /// Adds the secret file, which is in the sandbox's own file system, and so ends with it.
    fn secret(&mut self, spec: &CommandSpec, fds: &Descriptors) {
        let (Some(secret), Some(file)) = (&spec.secret, fds.secret) else {
            return;
        };
        self.add(["--perms", "0400", "--file", &file.to_string()]);
        self.add([OsString::from(&secret.target)]);
    }

    fn descriptors(&mut self, fds: &Descriptors) {
        for filter in fds.filter {
            self.add(["--add-seccomp-fd", &filter.to_string()]);
        }
        self.add([
            "--json-status-fd",
            &fds.status.to_string(),
            "--block-fd",
            &fds.start.to_string(),
        ]);
    }

    /// Adds the command, after `env`. bubblewrap sets `PWD` after everything else; `env` removes it
    /// again, unless the plan has it.
    fn command(&mut self, spec: &CommandSpec) {
        self.add(["--", "/usr/bin/env"]);
        match spec.environment.get("PWD") {
            Some(value) => self.add([format!("PWD={value}")]),
            None => self.add(["-u", "PWD"]),
        }
        self.add(["--"]);
        self.add(&spec.argv);
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::SecretFile;
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;
    use zeroize::Zeroizing;

    const FDS: Descriptors = Descriptors {
        filter: [3, 4],
        passwd: 5,
        group: 6,
        status: 7,
        start: 8,
        users: None,
        resolv_conf: None,
        secret: None,
    };

    fn plan(network: Network) -> Vec<String> {
        plan_with(network, &FDS)
    }

    fn plan_with(network: Network, fds: &Descriptors) -> Vec<String> {
        let spec = CommandSpec {
            argv: vec!["/usr/bin/true".into(), "--help".into()],
            environment: BTreeMap::from([("A".into(), "1".into())]),
            directory: "/kettle/source".into(),
            mounts: vec![Mount {
                source: "/w/s".into(),
                target: "/kettle/source".into(),
                access: Access::ReadOnly,
            }],
            secret: fds.secret.map(|_| SecretFile {
                target: "/kettle/secret".into(),
                content: Arc::new(Zeroizing::new(b"hush".to_vec())),
            }),
            network,
            time_limit: Duration::from_secs(1),
        };
        let layout = Layout {
            system: vec![
                SystemDirectory::Link {
                    target: "usr/bin".into(),
                    path: "/bin".into(),
                },
                SystemDirectory::Bound("/lib64".into()),
            ],
            etc: vec!["/etc/ssl/certs".into()],
        };
        let covered = Covered {
            directories: vec!["/proc/sys".into()],
            files: vec!["/proc/keys".into()],
            settings: vec!["/proc/sys/kernel/osrelease".into()],
        };
        let arguments = arguments(&spec, &layout, &covered, &Limits::for_memory(1 << 30), fds);
        arguments
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    fn has(plan: &[String], words: &[&str]) -> bool {
        plan.windows(words.len()).any(|window| window == words)
    }

    #[test]
    fn plan_mounts_become_binds_before_the_root_becomes_read_only() {
        let plan = plan(Network::None);
        assert!(has(
            &plan,
            &[
                "--ro-bind",
                "/w/s",
                "/kettle/source",
                "--remount-ro",
                "/",
                "--chdir",
                "/kettle/source"
            ]
        ));
    }

    #[test]
    fn a_secret_is_passed_by_its_descriptor_and_in_no_argument() {
        let plan = plan_with(
            Network::Fetch,
            &Descriptors {
                secret: Some(9),
                ..FDS
            },
        );
        let words = ["--perms", "0400", "--file", "9", "/kettle/secret"];
        assert!(has(&plan, &words), "{plan:?}");
        assert!(!plan.iter().any(|word| word.contains("hush")));
    }

    #[test]
    fn network_is_unshared_unless_asked_for() {
        assert!(has(&plan(Network::None), &["--unshare-net"]));
        assert!(!has(&plan(Network::Fetch), &["--unshare-net"]));
    }

    #[test]
    fn name_resolution_is_there_only_with_a_network() {
        assert!(!has(&plan(Network::None), &["/etc/resolv.conf"]));
        assert!(has(
            &plan(Network::Fetch),
            &["--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf"]
        ));
        let own = plan_with(
            Network::Fetch,
            &Descriptors {
                resolv_conf: Some(9),
                ..FDS
            },
        );
        assert!(has(
            &own,
            &["--perms", "0444", "--file", "9", "/etc/resolv.conf"]
        ));
        assert!(!has(&own, &["--ro-bind-try", "/etc/resolv.conf"]));
    }

    #[test]
    fn system_directories_are_links_where_the_machine_has_links() {
        let plan = plan(Network::None);
        assert!(has(&plan, &["--symlink", "usr/bin", "/bin"]));
        assert!(has(&plan, &["--ro-bind", "/lib64", "/lib64"]));
    }

    #[test]
    fn environment_is_what_the_plan_says() {
        let plan = plan(Network::None);
        assert!(has(&plan, &["--clearenv", "--setenv", "A", "1"]));
        assert!(plan.ends_with(
            &["/usr/bin/env", "-u", "PWD", "--", "/usr/bin/true", "--help"].map(String::from)
        ));
    }

    #[test]
    fn a_service_has_users_and_capabilities_of_its_own_and_a_command_none() {
        let service = plan_with(
            Network::Fetch,
            &Descriptors {
                users: Some(9),
                ..FDS
            },
        );
        assert!(has(
            &service,
            &["--userns", "9", "--cap-drop", "ALL", "--cap-add"]
        ));
        assert!(!has(&service, &["--unshare-user"]) && !has(&service, &["--cap-add", "ALL"]));
        let command = plan(Network::Fetch);
        assert!(has(
            &command,
            &[
                "--unshare-user",
                "--disable-userns",
                "--cap-drop",
                "ALL",
                "--uid"
            ]
        ));
        assert!(!has(&command, &["--cap-add"]) && !has(&command, &["--userns"]));
    }

    #[test]
    fn reaper_is_masked_whatever_the_machine_has() {
        let plan = plan(Network::None);
        assert!(has(&plan, &["--tmpfs", "/proc/1"]) && has(&plan, &["--remount-ro", "/proc/1"]));
    }

    #[test]
    fn covers_are_read_only_once_what_is_seen_below_them_is_there() {
        let plan = plan(Network::None);
        let setting = [
            "--ro-bind",
            "/proc/sys/kernel/osrelease",
            "/proc/sys/kernel/osrelease",
        ];
        let expected = [
            "--ro-bind",
            COVER,
            "/proc/keys",
            "--tmpfs",
            "/proc/sys",
            "--tmpfs",
            "/proc/1",
        ];
        let after = ["--remount-ro", "/proc/sys", "--remount-ro", "/proc/1"];
        assert!(
            has(&plan, &[&expected[..], &setting, &after].concat()),
            "{plan:?}"
        );
    }
}
