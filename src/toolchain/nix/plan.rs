//! Describes, as values, the commands that are run for a flake.
//!
//! * In: a nix, the source, the job's directories.
//! * Out: one [`CommandSpec`] for each command.
//! * Never: a path or a variable of this machine inside the sandbox, a network for a command that
//!   evaluates the flake, or a setting that the flake chose.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::digest::GitOid;
use crate::sandbox::paths::{HOME, INPUTS, SOURCE};
use crate::sandbox::{Access, CommandSpec, Mount, Network, owned_variables};
use crate::source::git_rules;
use crate::toolchain::ARTIFACTS_FOLDER;

use super::locate::Nix;
use super::store_path::StorePath;
use crate::toolchain::options::{Cache, NixOptions};

/// The name that nix gives to the source, and to an input without a name.
pub(super) const INPUT_NAME: &str = "source";

/// The directory of the store and its state, which nix fixes.
const STORE_ROOT: &str = "/nix";

/// The directory of the store, relative to [`STORE_ROOT`].
const STORE: &str = "store";

/// The directory of the daemon's socket, relative to [`STORE_ROOT`].
const SOCKET_DIRECTORY: &str = "var/nix/daemon-socket";

/// The wall-clock limit of a command that evaluates nothing.
const LIST_TIME: Duration = Duration::from_secs(10 * 60);

/// The most verbose level of nix: it reports the redirects of downloads at no lower one.
const MOST_VERBOSE: &str = "-vvvvv";

/// The settings of every command.
///
/// They are in its environment, so that provenance has them. The daemon has its own configuration.
const SETTINGS: &str = "\
accept-flake-config = false
allow-import-from-derivation = false
eval-cache = false
experimental-features = nix-command flakes
flake-registry =
pure-eval = true
use-registries = false
";

/// The settings of the git that nix runs for inputs (git, `protocol.allow`).
///
/// They allow plain http where the lockfile has it, which nix requests like a user, and never where
/// a server redirects to.
const GIT_SETTINGS: [(&str, &str); 1] = [("protocol.http.allow", "user")];

/// The settings of the fetch: inputs come from the locked URL and not from a cache, and nothing is
/// built.
const FETCH_SETTINGS: &str = "\
build-users-group =
max-jobs = 0
substitute = false
";

/// The settings of the substitution: everything that a cache has is downloaded, and nothing is
/// built.
///
/// Nix turns substitution off, for the daemon too, if it sees no network itself.
const SUBSTITUTE_SETTINGS: &str = "\
keep-going = true
max-jobs = 0
substitute = true
";

/// The settings of the evaluation: it may import what was realised before, names what it imports,
/// and realises nothing itself.
const EVALUATE_SETTINGS: &str = "\
allow-import-from-derivation = true
max-jobs = 0
substitute = false
trace-import-from-derivation = true
";

/// The settings of the build: everything that no cache had is built.
const BUILD_SETTINGS: &str = "\
substitute = false
";

// `--no-write-lock-file` beside `--no-update-lock-file` would make nix continue with a lock that it
// completed itself.

/// The values that all commands of one job share.
pub(super) struct Plan<'a> {
    /// The nix that the commands run.
    pub nix: &'a Nix,
    /// The path of the source tree on this machine.
    pub source: &'a Path,
    /// The value of `SOURCE_DATE_EPOCH`, in seconds.
    pub epoch: u64,
    /// The commit of the source, if it came from a repository.
    pub commit: Option<GitOid>,
    /// The options of a flake that the client chose.
    pub options: &'a NixOptions,
}

/// The directories of one job on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folders {
    /// The root of the fetch phase's store, which the sandbox writes.
    pub fetch: PathBuf,
    /// The root of the build's store, which the daemon writes.
    pub daemon: PathBuf,
    /// The copies of the artifacts, which no sandbox sees.
    pub artifacts: PathBuf,
}

impl Folders {
    /// Returns the directories of the job in the directory `job`.
    pub fn of(job: &Path) -> Self {
        Self {
            fetch: job.join("nix-fetch"),
            daemon: job.join("nix"),
            artifacts: job.join(ARTIFACTS_FOLDER),
        }
    }

    /// Returns the directory of the fetched store paths.
    pub fn fetched(&self) -> PathBuf {
        self.fetch.join(STORE)
    }

    /// Returns the directory of the build's store paths.
    pub fn store(&self) -> PathBuf {
        self.daemon.join(STORE)
    }

    /// Returns the path of the socket on which the daemon listens.
    pub fn socket(&self) -> PathBuf {
        self.daemon.join(SOCKET_DIRECTORY).join("socket")
    }

    /// Returns the daemon's directories that must exist before other commands see them, outermost
    /// first.
    pub fn of_daemon(&self) -> [PathBuf; 5] {
        ["", STORE, "var", "var/nix", SOCKET_DIRECTORY].map(|name| self.daemon.join(name))
    }
}

impl Plan<'_> {
    /// Downloads the inputs that the lockfile names into their own store, without a daemon.
    ///
    /// Nix prints every header that it receives.
    pub fn fetch(&self, folders: &Folders, time_limit: Duration) -> CommandSpec {
        let flake = self.flake();
        let mut argv = nix(&[
            "flake",
            "archive",
            "--json",
            "--no-update-lock-file",
            "--log-format",
            "internal-json",
        ]);
        argv.extend([MOST_VERBOSE.to_owned(), flake]);
        let mut spec = self.command(
            argv,
            vec![Mount::new(&folders.fetch, STORE_ROOT, Access::ReadWrite)],
            time_limit,
        );
        spec.network = Network::Fetch;
        spec.environment.extend(owned_variables([
            // Unpacked archives go through nix's cache: some are larger than HOME.
            ("NIX_CACHE_HOME", "/nix/cache"),
            ("NIX_CONFIG", &format!("{SETTINGS}{FETCH_SETTINGS}")),
            ("NIX_REMOTE", "local"),
        ]));
        spec.environment.extend(git_rules::variables(GIT_SETTINGS));
        spec
    }

    /// Runs the daemon: everything that is written into the store passes through it.
    pub fn daemon(&self, folders: &Folders, time_limit: Duration) -> CommandSpec {
        let conf = |name: &str| self.nix.configuration().join(name);
        let mut mounts = self.nix.mounts();
        mounts.extend([
            Mount::new(conf("passwd"), "/etc/passwd", Access::ReadOnly),
            Mount::new(conf("group"), "/etc/group", Access::ReadOnly),
            Mount::new(&folders.daemon, STORE_ROOT, Access::ReadWrite),
        ]);
        let mut environment = BTreeMap::from(owned_variables([
            ("HOME", HOME),
            ("LANG", "C.UTF-8"),
            ("PATH", "/usr/bin:/bin"),
            ("TZ", "UTC"),
        ]));
        environment.extend(self.cache_settings());
        CommandSpec {
            argv: vec!["/usr/bin/nix-daemon".to_owned()],
            environment,
            directory: "/".into(),
            mounts,
            secret: None,
            network: Network::Fetch,
            time_limit,
        }
    }

    /// Adds checked inputs, which are directories or files of this machine, to the daemon's store.
    pub fn add(&self, folders: &Folders, inputs: &[PathBuf]) -> CommandSpec {
        let target = |index: usize| format!("{INPUTS}/{index}/{INPUT_NAME}");
        let mut argv = ["/usr/bin/nix-store", "--add-fixed", "--recursive", "sha256"]
            .map(str::to_owned)
            .to_vec();
        let mut mounts = self.daemons(folders);
        for (index, input) in inputs.iter().enumerate() {
            argv.push(target(index));
            mounts.push(Mount::new(input, &target(index), Access::ReadOnly));
        }
        self.client(argv, mounts, BUILD_SETTINGS, LIST_TIME)
    }

    /// Returns the daemon's settings for the caches that the client chose, beside those of its
    /// configuration.
    fn cache_settings(&self) -> Option<(String, String)> {
        let caches = self
            .options
            .caches
            .as_ref()
            .filter(|caches| !caches.is_empty())?;
        let list = |text: fn(&Cache) -> &str| caches.iter().map(text).collect::<Vec<_>>().join(" ");
        let settings = format!(
            "extra-substituters = {}\nextra-trusted-public-keys = {}\n",
            list(Cache::url),
            list(Cache::key)
        );
        Some(("NIX_CONFIG".to_owned(), settings))
    }

    /// Evaluates the flake, and prints the recipe of the chosen output, or of the default package
    /// for this machine, as JSON, with its outputs.
    pub fn evaluate(&self, folders: &Folders, time_limit: Duration) -> CommandSpec {
        let argv = [
            "build",
            "--dry-run",
            "--json",
            "--no-update-lock-file",
            "--log-format",
            "internal-json",
        ];
        let mut argv = nix(&argv);
        let attribute = self.options.attribute.as_ref();
        let fragment = attribute.map(|attribute| format!("#{}", attribute.as_str()));
        argv.push(format!(
            "{}{}^*",
            self.flake(),
            fragment.unwrap_or_default()
        ));
        self.client(argv, self.daemons(folders), EVALUATE_SETTINGS, time_limit)
    }

    /// Downloads the paths that the recipe needs and that caches have.
    ///
    /// Nix prints every header that it receives. No builder runs, so its messages about downloads
    /// are its own.
    pub fn substitute(
        &self,
        folders: &Folders,
        recipe: &StorePath,
        time_limit: Duration,
    ) -> CommandSpec {
        let argv = [
            "build",
            "--no-link",
            "--log-format",
            "internal-json",
            MOST_VERBOSE,
        ];
        let mut argv = nix(&argv);
        argv.push(format!("{recipe}^*"));
        self.client(argv, self.daemons(folders), SUBSTITUTE_SETTINGS, time_limit)
    }

    /// Builds all outputs of the recipe, and prints them as JSON.
    pub fn build(
        &self,
        folders: &Folders,
        recipe: &StorePath,
        time_limit: Duration,
    ) -> CommandSpec {
        let argv = [
            "build",
            "--no-link",
            "--json",
            "--print-build-logs",
            "--log-format",
            "internal-json",
        ];
        let mut argv = nix(&argv);
        argv.push(format!("{recipe}^*"));
        self.client(argv, self.daemons(folders), BUILD_SETTINGS, time_limit)
    }

    /// Prints the database entries of all paths in the store, as JSON.
    pub fn list(&self, folders: &Folders) -> CommandSpec {
        let argv = nix(&["path-info", "--json", "--json-format", "1", "--all"]);
        self.client(argv, self.daemons(folders), BUILD_SETTINGS, LIST_TIME)
    }

    /// Runs `PROGRAM --version` in a sandbox that sees nix and nothing else.
    pub fn version(nix: &Nix, program: &str) -> CommandSpec {
        CommandSpec {
            argv: vec![program.to_owned(), "--version".to_owned()],
            environment: BTreeMap::from(owned_variables([
                ("HOME", HOME),
                ("LANG", "C.UTF-8"),
                ("PATH", "/usr/bin:/bin"),
            ])),
            directory: "/".into(),
            mounts: nix.mounts(),
            secret: None,
            network: Network::None,
            time_limit: LIST_TIME,
        }
    }

    /// Returns the reference of the source, with the time and the commit that expressions see, as
    /// they would where nix fetches the repository itself: the files have neither.
    fn flake(&self) -> String {
        let mut reference = format!("path:{SOURCE}?lastModified={}", self.epoch);
        if let Some(commit) = self.commit {
            reference.push_str(&format!("&rev={commit}"));
        }
        reference
    }

    /// Returns the mounts of a client: the store, and the socket of the daemon.
    fn daemons(&self, folders: &Folders) -> Vec<Mount> {
        let see = |name: &str| {
            Mount::new(
                folders.daemon.join(name),
                &format!("{STORE_ROOT}/{name}"),
                Access::ReadOnly,
            )
        };
        vec![see(STORE), see(SOCKET_DIRECTORY)]
    }

    /// Returns a command that uses the daemon's store.
    fn client(
        &self,
        argv: Vec<String>,
        mounts: Vec<Mount>,
        settings: &str,
        time_limit: Duration,
    ) -> CommandSpec {
        let mut spec = self.command(argv, mounts, time_limit);
        spec.environment
            .insert("NIX_CONFIG".to_owned(), format!("{SETTINGS}{settings}"));
        spec.environment
            .insert("NIX_REMOTE".to_owned(), "daemon".to_owned());
        spec
    }

    /// Returns a command that sees nix, the source and `mounts`.
    fn command(&self, argv: Vec<String>, mounts: Vec<Mount>, time_limit: Duration) -> CommandSpec {
        let mut environment = BTreeMap::from(owned_variables([
            ("HOME", HOME),
            ("LANG", "C.UTF-8"),
            ("PATH", "/usr/bin:/bin"),
            ("TZ", "UTC"),
        ]));
        environment.insert("SOURCE_DATE_EPOCH".to_owned(), self.epoch.to_string());
        let mut all = self.nix.mounts();
        all.push(Mount::new(self.source, SOURCE, Access::ReadOnly));
        all.extend(mounts);
        CommandSpec {
            argv,
            environment,
            directory: HOME.into(),
            mounts: all,
            secret: None,
            network: Network::None,
            time_limit,
        }
    }
}

/// The nix program, by its path in the system that has it.
pub const NIX: &str = "/usr/bin/nix";

/// Returns the words of a nix command.
fn nix(arguments: &[&str]) -> Vec<String> {
    let mut argv = vec![NIX.to_owned()];
    argv.extend(arguments.iter().map(|&argument| argument.to_owned()));
    argv
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::options::Attribute;

    const LIMIT: Duration = Duration::from_secs(9);

    fn with_plan<T>(check: impl FnOnce(&Plan<'_>, &Folders) -> T) -> T {
        let nix = Nix::test_only_at("/w/root", "/w/conf");
        let options = NixOptions::default();
        let plan = Plan {
            nix: &nix,
            source: Path::new("/w/j/source"),
            epoch: 7,
            commit: None,
            options: &options,
        };
        check(&plan, &Folders::of(Path::new("/w/j")))
    }

    fn recipe() -> StorePath {
        StorePath::parse("/nix/store/hxdcrmdp9kr6x4ai5h1iyd9mpg0inv36-hello.drv").unwrap()
    }

    fn mounts(spec: &CommandSpec) -> Vec<(&str, &str, Access)> {
        spec.mounts
            .iter()
            .map(|m| {
                (
                    m.source.to_str().unwrap(),
                    m.target.to_str().unwrap(),
                    m.access,
                )
            })
            .collect()
    }

    #[test]
    fn the_build_sees_the_store_read_only_and_no_network() {
        let spec = with_plan(|plan, folders| plan.build(folders, &recipe(), LIMIT));
        assert_eq!(
            mounts(&spec),
            [
                ("/w/root/usr", "/usr", Access::ReadOnly),
                ("/w/conf", "/etc/nix", Access::ReadOnly),
                ("/w/j/source", "/kettle/source", Access::ReadOnly),
                ("/w/j/nix/store", "/nix/store", Access::ReadOnly),
                (
                    "/w/j/nix/var/nix/daemon-socket",
                    "/nix/var/nix/daemon-socket",
                    Access::ReadOnly
                ),
            ]
        );
        assert_eq!((spec.network, spec.time_limit), (Network::None, LIMIT));
        assert_eq!(spec.environment["NIX_REMOTE"], "daemon");
        for setting in [
            "pure-eval = true",
            "accept-flake-config = false",
            "allow-import-from-derivation = false",
        ] {
            assert!(
                spec.environment["NIX_CONFIG"]
                    .lines()
                    .any(|line| line == setting),
                "{setting}"
            );
        }
    }

    #[test]
    fn what_takes_from_caches_does_not_build_and_what_builds_takes_nothing() {
        with_plan(|plan, folders| {
            let of = |spec: CommandSpec| spec.environment["NIX_CONFIG"].clone();
            let from_caches = of(plan.substitute(folders, &recipe(), LIMIT));
            assert!(
                from_caches.contains("\nmax-jobs = 0\n")
                    && from_caches.contains("\nsubstitute = true\n")
            );
            for settings in [
                of(plan.evaluate(folders, LIMIT)),
                of(plan.build(folders, &recipe(), LIMIT)),
            ] {
                assert!(
                    settings.contains("\nsubstitute = false\n")
                        && !settings.contains("substitute = true")
                );
            }
        });
    }

    #[test]
    fn the_fetch_phase_writes_a_store_of_its_own_only() {
        let spec = with_plan(|plan, folders| plan.fetch(folders, LIMIT));
        let writable: Vec<_> = mounts(&spec)
            .into_iter()
            .filter(|(.., access)| *access == Access::ReadWrite)
            .collect();
        assert_eq!(writable, [("/w/j/nix-fetch", "/nix", Access::ReadWrite)]);
        assert_eq!(
            (spec.network, spec.environment["NIX_REMOTE"].as_str()),
            (Network::Fetch, "local")
        );
    }

    #[test]
    fn the_daemon_has_the_store_its_users_and_nothing_of_the_job() {
        let spec = with_plan(|plan, folders| plan.daemon(folders, LIMIT));
        let writable: Vec<_> = mounts(&spec)
            .into_iter()
            .filter(|(.., access)| *access == Access::ReadWrite)
            .collect();
        assert_eq!(writable, [("/w/j/nix", "/nix", Access::ReadWrite)]);
        assert!(
            mounts(&spec)
                .iter()
                .all(|(source, ..)| *source != "/w/j/source")
        );
        assert!(mounts(&spec).contains(&("/w/conf/passwd", "/etc/passwd", Access::ReadOnly)));
    }

    #[test]
    fn an_attribute_goes_to_the_evaluation_and_caches_to_the_daemon() {
        let key = format!("cache-1:{}=", "A".repeat(43));
        let options = NixOptions {
            attribute: Attribute::parse("packages.x86_64-linux.tool").ok(),
            caches: Some(vec![Cache::parse("https://c.example", &key).unwrap()]),
        };
        with_plan(|plan, folders| {
            assert!(
                !plan
                    .daemon(folders, LIMIT)
                    .environment
                    .contains_key("NIX_CONFIG")
            );
            let plan = Plan {
                options: &options,
                ..*plan
            };
            let evaluate = plan.evaluate(folders, LIMIT).argv;
            let flake = "path:/kettle/source?lastModified=7#packages.x86_64-linux.tool^*";
            assert_eq!(evaluate.last().map(String::as_str), Some(flake));
            let settings = &plan.daemon(folders, LIMIT).environment["NIX_CONFIG"];
            let expected = format!(
                "extra-substituters = https://c.example\nextra-trusted-public-keys = {key}\n"
            );
            assert_eq!(*settings, expected);
        });
    }

    #[test]
    fn inputs_are_added_under_the_name_that_nix_gives_them() {
        let spec =
            with_plan(|plan, folders| plan.add(folders, &["/w/j/a".into(), "/w/j/b".into()]));
        assert_eq!(
            spec.argv[4..],
            ["/kettle/inputs/0/source", "/kettle/inputs/1/source"]
        );
        assert!(mounts(&spec).contains(&("/w/j/b", "/kettle/inputs/1/source", Access::ReadOnly)));
    }

    #[test]
    fn no_variable_names_a_place_of_this_machine() {
        with_plan(|plan, folders| {
            let build = plan.build(folders, &recipe(), LIMIT);
            for spec in [
                plan.fetch(folders, LIMIT),
                plan.daemon(folders, LIMIT),
                plan.evaluate(folders, LIMIT),
                build,
            ] {
                assert!(
                    spec.environment
                        .values()
                        .all(|value| !value.contains("/w/")),
                    "{:?}",
                    spec.argv
                );
            }
        });
    }
}
