//! Describes, as values, the commands that are run for a cargo project.
//!
//! * In: a toolchain, the job's directories, the settings that were carried over.
//! * Out: one [`CommandSpec`] for each command.
//! * Never: a path or a variable of this machine inside the sandbox; every job sees the same paths,
//!   so that the same source gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sandbox::paths::{CARGO_HOME, HOME, SOURCE, TARGET, VENDOR};
use crate::sandbox::{Access, CommandSpec, Mount, Network, owned_variables};
use crate::source::git_rules;
use crate::toolchain::{ARTIFACTS_FOLDER, Toolchain};

use super::redirects;
use super::target;
use crate::toolchain::options::CargoOptions;

/// The wall-clock limit of a command that only reads the project.
const INSPECT_TIME: Duration = Duration::from_secs(120);

/// The wall-clock limit of one request to the server of a repository.
pub(super) const ASK_TIME: Duration = Duration::from_secs(120);

/// Settings of the git that cargo runs, beside those of every fetch.
///
/// They allow the other protocols that cargo's own library knows and that need no other program,
/// and turn the proxy off: [`NOWHERE`] is for cargo alone.
const GIT_SETTINGS: [(&str, &str); 3] = [
    ("http.proxy", ""),
    ("protocol.file.allow", "always"),
    ("protocol.git.allow", "always"),
];

/// The proxy of plain http, of a kind that does not exist, so that cargo reaches no host by it
/// (curl, `http_proxy`).
///
/// A registry can redirect cargo anywhere for an archive, but only over https. Cargo's message
/// shows this text.
const NOWHERE: &str = "plain-http-is-not-followed://nowhere";

/// A repository that its server has at another URL, on the same host, port and scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    /// The URL that the lockfile has.
    pub from: String,
    /// The URL that the server redirects to.
    pub to: String,
}

/// The values that all commands of one job share.
pub(super) struct Plan<'a> {
    /// The toolchain that the commands run.
    pub toolchain: &'a Toolchain,
    /// The path of the source tree on this machine.
    pub source: &'a Path,
    /// A directory on this machine with a `.git` about the source, if there is one.
    pub git: Option<&'a Path>,
    /// The value of `SOURCE_DATE_EPOCH`, in seconds.
    pub epoch: u64,
    /// The arguments of `--config`, each `key=value`.
    pub settings: &'a [String],
    /// The options of a cargo project that the client chose.
    pub options: &'a CargoOptions,
    /// The target platform, where the project's configuration names one.
    pub target: Option<&'a str>,
}

/// The directories of one job on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folders {
    /// The `CARGO_HOME` of the fetch phase, which the sandbox writes.
    pub fetch: PathBuf,
    /// The directory sources with the checked packages of registries.
    pub vendor: PathBuf,
    /// The `CARGO_HOME` of the build, which no sandbox writes.
    pub home: PathBuf,
    /// The target directory, which the build writes.
    pub target: PathBuf,
    /// Where files are taken from the objects of a git dependency.
    pub objects: PathBuf,
    /// What the build writes to its source.
    pub overlay: PathBuf,
    /// The target directory of `cargo package`, which sees nothing that the build wrote.
    pub package: PathBuf,
    /// The copy of a source that cannot be packed as it is.
    pub unpublished: PathBuf,
    /// The copies of the artifacts, which no sandbox sees.
    pub artifacts: PathBuf,
}

impl Folders {
    /// Returns the directories of the job in the directory `job`.
    pub fn of(job: &Path) -> Self {
        Self {
            fetch: job.join("cargo-fetch"),
            vendor: job.join("vendor"),
            home: job.join("cargo-home"),
            target: job.join("target"),
            objects: job.join("objects"),
            overlay: job.join("overlay"),
            package: job.join("package"),
            unpublished: job.join("unpublished"),
            artifacts: job.join(ARTIFACTS_FOLDER),
        }
    }
}

impl Plan<'_> {
    /// Downloads the packages that the lockfile names, for all platforms: a directory source must
    /// have every package.
    ///
    /// Repositories are fetched by git itself and not by cargo's library, because git can be told
    /// to follow no redirect. Those that their servers have `moved` are fetched from the new URL.
    /// `plain` are the hosts that cargo reaches by plain http.
    pub fn fetch(
        &self,
        folders: &Folders,
        moved: &[Moved],
        plain: &BTreeSet<String>,
        limit: Duration,
    ) -> CommandSpec {
        let home = Mount::new(&folders.fetch, CARGO_HOME, Access::ReadWrite);
        let argv = self.cargo("fetch", &["--locked"], Vec::new());
        let mut spec = self.command(argv, vec![home], limit, Phase::Online);
        spec.network = Network::Fetch;
        spec.environment
            .insert("CARGO_NET_GIT_FETCH_WITH_CLI".to_owned(), "true".to_owned());
        spec.environment
            .extend(owned_variables(git_rules::ENVIRONMENT));
        spec.environment.extend(git_settings(moved));
        spec.environment.extend(proxies(plain));
        spec.environment.extend(owned_variables(redirects::TRACE));
        spec
    }

    /// Prints the raw commit object `commit` of a repository that the fetch phase left.
    pub fn commit(&self, folders: &Folders, repository: &str, commit: &str) -> CommandSpec {
        let repository = format!("--git-dir={CARGO_HOME}/git/db/{repository}");
        let argv = [
            &self.toolchain.git(),
            &repository,
            "cat-file",
            "commit",
            commit,
        ]
        .map(str::to_owned);
        let home = Mount::new(&folders.fetch, CARGO_HOME, Access::ReadOnly);
        self.command(argv.to_vec(), vec![home], INSPECT_TIME, Phase::Offline)
    }

    /// Prints the project's own packages, without a look at any dependency.
    pub fn survey(&self, folders: &Folders) -> CommandSpec {
        let fixed = ["--locked", "--offline", "--format-version=1", "--no-deps"];
        let argv = self.cargo("metadata", &fixed, Vec::new());
        let home = Mount::new(&folders.home, CARGO_HOME, Access::ReadOnly);
        self.command(argv, vec![home], INSPECT_TIME, Phase::Offline)
    }

    /// Prints every package with its targets and its directory.
    pub fn metadata(&self, folders: &Folders) -> CommandSpec {
        let fixed = ["--locked", "--offline", "--format-version=1"];
        let argv = self.cargo("metadata", &fixed, Vec::new());
        self.command(argv, self.inputs(folders), INSPECT_TIME, Phase::Offline)
    }

    /// Prints the packages that `build` will compile, one on each line.
    pub fn tree(&self, folders: &Folders) -> CommandSpec {
        let fixed = [
            "--locked",
            "--offline",
            "--edges=normal,build",
            "--prefix=none",
            "--format={p}",
        ];
        self.command(
            self.cargo("tree", &fixed, self.chosen()),
            self.inputs(folders),
            INSPECT_TIME,
            Phase::Offline,
        )
    }

    /// Builds the default members, and prints each command that it runs. With `writable`, a
    /// directory that covers the source, the build can write to its source.
    pub fn build(
        &self,
        folders: &Folders,
        writable: Option<&Path>,
        limit: Duration,
    ) -> CommandSpec {
        let fixed = [
            "--release",
            "--locked",
            "--offline",
            "--verbose",
            "--message-format=json-render-diagnostics",
        ];
        let mut chosen = self.chosen();
        let bins = self.options.bins.iter().flatten();
        chosen.extend(bins.map(|bin| format!("--bin={bin}")));
        let argv = self.cargo("build", &fixed, chosen);
        let mut spec = self.writing(argv, folders, &folders.target, limit);
        if let Some(writable) = writable {
            let is_source = |mount: &&mut Mount| mount.target == Path::new(SOURCE);
            let sources = spec.mounts.iter_mut().filter(is_source);
            sources.for_each(|mount| *mount = Mount::new(writable, SOURCE, Access::ReadWrite));
        }
        spec
    }

    /// Returns the directory, below `target`, of the files that the build writes.
    pub fn release(&self) -> String {
        target::release(self.target)
    }

    /// Returns the arguments for the choices of the client and of the project's configuration:
    /// package, features and target.
    fn chosen(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        arguments.extend(self.package_argument());
        if let Some(features) = &self.options.features {
            let features: Vec<_> = features.iter().map(ToString::to_string).collect();
            arguments.push(format!("--features={}", features.join(",")));
        }
        if self.options.no_default_features == Some(true) {
            arguments.push("--no-default-features".to_owned());
        }
        arguments.extend(self.target.map(|target| format!("--target={target}")));
        arguments
    }

    fn package_argument(&self) -> Option<String> {
        let package = self.options.package.as_ref()?;
        Some(format!("--package={package}"))
    }

    /// Packs the default members as `.crate` files.
    pub fn package(&self, folders: &Folders, limit: Duration) -> CommandSpec {
        let fixed = ["--locked", "--offline", "--no-verify", "--allow-dirty"];
        let chosen = self.package_argument().into_iter().collect();
        self.writing(
            self.cargo("package", &fixed, chosen),
            folders,
            &folders.package,
            limit,
        )
    }

    /// Returns a command that writes `target`.
    fn writing(
        &self,
        argv: Vec<String>,
        folders: &Folders,
        target: &Path,
        limit: Duration,
    ) -> CommandSpec {
        let mut mounts = self.inputs(folders);
        mounts.push(Mount::new(target, TARGET, Access::ReadWrite));
        self.command(argv, mounts, limit, Phase::Offline)
    }

    /// Returns the mounts of the checked dependencies.
    fn inputs(&self, folders: &Folders) -> Vec<Mount> {
        vec![
            Mount::new(&folders.home, CARGO_HOME, Access::ReadOnly),
            Mount::new(&folders.vendor, VENDOR, Access::ReadOnly),
        ]
    }

    /// Returns the words of a cargo command: subcommand, `fixed`, manifest, settings, choices.
    fn cargo(&self, subcommand: &str, fixed: &[&str], chosen: Vec<String>) -> Vec<String> {
        let mut argv = vec![self.toolchain.program("cargo"), subcommand.to_owned()];
        argv.extend(fixed.iter().map(|&argument| argument.to_owned()));
        argv.extend(chosen);
        argv.push(format!("--manifest-path={SOURCE}/Cargo.toml"));
        argv.extend(
            self.settings
                .iter()
                .map(|setting| format!("--config={setting}")),
        );
        argv
    }

    /// Returns a command that sees the toolchain, the source and `mounts`.
    ///
    /// The working directory is outside the source, because cargo reads configuration from it and
    /// its parents.
    fn command(
        &self,
        argv: Vec<String>,
        mounts: Vec<Mount>,
        time_limit: Duration,
        phase: Phase,
    ) -> CommandSpec {
        let mut all: Vec<Mount> = self.toolchain.mount().into_iter().collect();
        all.push(Mount::new(self.source, SOURCE, Access::ReadOnly));
        all.extend(mounts);
        CommandSpec {
            argv,
            environment: self.environment(phase),
            directory: CARGO_HOME.into(),
            mounts: all,
            secret: None,
            network: Network::None,
            time_limit,
        }
    }

    /// Returns the complete environment.
    ///
    /// `CARGO_BUILD_JOBS` stays unset: build scripts would see a number that the appliance alone
    /// chooses, while the processors are the machine's; projects are used to cargo's own default.
    fn environment(&self, phase: Phase) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::from(owned_variables([
            ("AR", "/usr/bin/ar"),
            ("CARGO_HOME", CARGO_HOME),
            ("CARGO_INCREMENTAL", "0"),
            ("CARGO_TARGET_DIR", TARGET),
            ("CARGO_TERM_COLOR", "never"),
            ("CARGO_TERM_PROGRESS_WHEN", "never"),
            // Absolute: a build script that sets PATH for its package does not choose the linker.
            (
                "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER",
                "/usr/bin/cc",
            ),
            ("CC", "/usr/bin/cc"),
            ("CXX", "/usr/bin/c++"),
            ("HOME", HOME),
            ("LANG", "C.UTF-8"),
            ("RUSTC_WORKSPACE_WRAPPER", ""),
            ("RUSTC_WRAPPER", ""),
            ("TZ", "UTC"),
        ]));
        let mut set = |name: &str, value: String| variables.insert(name.to_owned(), value);
        set("PATH", self.toolchain.path_variable());
        set("RUSTC", self.toolchain.program("rustc"));
        set("RUSTDOC", self.toolchain.program("rustdoc"));
        set("SOURCE_DATE_EPOCH", self.epoch.to_string());
        if phase == Phase::Offline {
            set("CARGO_NET_OFFLINE", "true".to_owned());
        }
        variables
    }
}

/// Returns the settings of git as variables of its environment.
///
/// Git replaces the longest beginning of a URL that it knows. Each new URL also replaces itself, so
/// that one that begins with an old URL is not changed.
fn git_settings(moved: &[Moved]) -> Vec<(String, String)> {
    let mut replacements = Vec::new();
    for Moved { from, to } in moved {
        let name = format!("url.{to}.insteadOf");
        replacements.push((name.clone(), from.as_str()));
        replacements.push((name, to.as_str()));
    }
    let fixed = git_rules::SETTINGS.into_iter().chain(GIT_SETTINGS);
    let replacements = replacements
        .iter()
        .map(|(name, value)| (name.as_str(), *value));
    git_rules::variables(fixed.chain(replacements))
}

/// Keeps cargo from plain http, except to the hosts that the lockfile itself names without TLS, and
/// to names below theirs.
fn proxies(plain: &BTreeSet<String>) -> [(String, String); 2] {
    let hosts: Vec<_> = plain.iter().map(String::as_str).collect();
    owned_variables([("http_proxy", NOWHERE), ("no_proxy", &hosts.join(","))])
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Online,
    Offline,
}

/// Runs `PROGRAM --version` in a sandbox that sees the toolchain and nothing else.
pub(in crate::toolchain) fn probe(toolchain: &Toolchain, program: &str) -> CommandSpec {
    CommandSpec {
        argv: vec![program.to_owned(), "--version".to_owned()],
        environment: BTreeMap::from([
            ("HOME".to_owned(), HOME.to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
            ("PATH".to_owned(), toolchain.path_variable()),
        ]),
        directory: "/".into(),
        mounts: toolchain.mount().into_iter().collect(),
        secret: None,
        network: Network::None,
        time_limit: INSPECT_TIME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::options::ItemName;

    const LIMIT: Duration = Duration::from_secs(9);

    fn with_plan<T>(check: impl FnOnce(&Plan<'_>, &Folders) -> T) -> T {
        choosing(&CargoOptions::default(), check)
    }

    fn choosing<T>(options: &CargoOptions, check: impl FnOnce(&Plan<'_>, &Folders) -> T) -> T {
        let toolchain = Toolchain::test_only_at("/home/x/stable");
        let settings = ["profile.release.lto=true".to_owned()];
        let plan = Plan {
            toolchain: &toolchain,
            source: Path::new("/work/j/source"),
            git: None,
            epoch: 7,
            settings: &settings,
            options,
            target: None,
        };
        check(&plan, &Folders::of(Path::new("/work/j")))
    }

    fn writable(spec: &CommandSpec) -> Vec<&str> {
        let writable = spec
            .mounts
            .iter()
            .filter(|mount| mount.access == Access::ReadWrite);
        writable.filter_map(|mount| mount.target.to_str()).collect()
    }

    #[test]
    fn git_follows_no_redirect_and_asks_for_what_moved_where_it_is() {
        let moved = [Moved {
            from: "https://h/a".to_owned(),
            to: "https://h/a.git".to_owned(),
        }];
        let spec = with_plan(|plan, folders| plan.fetch(folders, &moved, &BTreeSet::new(), LIMIT));
        let settings: Vec<(&str, &str)> = (0..)
            .map_while(|index| {
                spec.environment
                    .get(&format!("GIT_CONFIG_KEY_{index}"))
                    .zip(Some(index))
            })
            .map(|(key, index)| {
                (
                    key.as_str(),
                    spec.environment[&format!("GIT_CONFIG_VALUE_{index}")].as_str(),
                )
            })
            .collect();
        assert_eq!(
            spec.environment["GIT_CONFIG_COUNT"],
            settings.len().to_string()
        );
        for expected in [
            ("http.followRedirects", "false"),
            ("protocol.allow", "never"),
            ("url.https://h/a.git.insteadOf", "https://h/a"),
            ("url.https://h/a.git.insteadOf", "https://h/a.git"),
        ] {
            assert!(
                settings.contains(&expected),
                "{expected:?} is not in {settings:?}"
            );
        }
        assert_eq!(spec.environment["CARGO_NET_GIT_FETCH_WITH_CLI"], "true");
    }

    #[test]
    fn cargo_has_plain_http_to_hosts_that_the_lockfile_names_so_and_git_is_not_concerned() {
        for (plain, hosts) in [
            (vec![], ""),
            (vec!["a.example", "b.example"], "a.example,b.example"),
        ] {
            let plain = plain.into_iter().map(str::to_owned).collect();
            let spec = with_plan(|plan, folders| plan.fetch(folders, &[], &plain, LIMIT));
            assert_eq!(
                (
                    spec.environment["http_proxy"].as_str(),
                    spec.environment["no_proxy"].as_str()
                ),
                (NOWHERE, hosts)
            );
            assert!(!spec.environment.contains_key("https_proxy"));
            let index = (0..)
                .find(|index| spec.environment[&format!("GIT_CONFIG_KEY_{index}")] == "http.proxy")
                .unwrap();
            assert_eq!(spec.environment[&format!("GIT_CONFIG_VALUE_{index}")], "");
        }
    }

    #[test]
    fn the_build_is_this_and_nothing_else() {
        let spec = with_plan(|plan, folders| plan.build(folders, None, LIMIT));
        assert_eq!(
            spec.argv,
            [
                "/toolchain/bin/cargo",
                "build",
                "--release",
                "--locked",
                "--offline",
                "--verbose",
                "--message-format=json-render-diagnostics",
                "--manifest-path=/kettle/source/Cargo.toml",
                "--config=profile.release.lto=true",
            ]
        );
        let mounts: Vec<_> = spec
            .mounts
            .iter()
            .map(|m| (m.source.to_str().unwrap(), m.target.to_str().unwrap()))
            .collect();
        assert_eq!(
            mounts,
            [
                ("/home/x/stable", "/toolchain"),
                ("/work/j/source", "/kettle/source"),
                ("/work/j/cargo-home", "/kettle/cargo"),
                ("/work/j/vendor", "/kettle/vendor"),
                ("/work/j/target", "/kettle/target"),
            ]
        );
        assert_eq!(writable(&spec), ["/kettle/target"]);
        assert_eq!(
            (spec.network, spec.time_limit, spec.directory.to_str()),
            (Network::None, LIMIT, Some(CARGO_HOME))
        );
    }

    #[test]
    fn choices_are_arguments_of_the_commands_that_they_concern() {
        let name = |name: &str| ItemName::parse(name).unwrap();
        let options = CargoOptions {
            package: Some(name("tool")),
            bins: Some(vec![name("a"), name("b")]),
            features: Some(vec![name("x"), name("y/z")]),
            no_default_features: Some(true),
        };
        choosing(&options, |plan, folders| {
            let plan = Plan {
                target: Some("wasm32-unknown-unknown"),
                ..*plan
            };
            let chosen = |spec: CommandSpec, fixed: usize| {
                let end = spec.argv.len() - 2;
                spec.argv[2 + fixed..end].join(" ")
            };
            let common = "--package=tool --features=x,y/z --no-default-features --target=wasm32-unknown-unknown";
            assert_eq!(chosen(plan.tree(folders), 5), common);
            assert_eq!(
                chosen(plan.build(folders, None, LIMIT), 5),
                format!("{common} --bin=a --bin=b")
            );
            assert_eq!(chosen(plan.package(folders, LIMIT), 4), "--package=tool");
            assert_eq!(chosen(plan.metadata(folders), 3), "");
            assert_eq!(plan.release(), "wasm32-unknown-unknown/release");
        });
    }

    #[test]
    fn only_the_fetch_phase_has_a_network_and_it_writes_its_own_directory_only() {
        with_plan(|plan, folders| {
            let fetch = plan.fetch(folders, &[], &BTreeSet::new(), LIMIT);
            assert_eq!(
                (fetch.network, writable(&fetch)),
                (Network::Fetch, vec![CARGO_HOME])
            );
            assert!(!fetch.environment.contains_key("CARGO_NET_OFFLINE"));
            for spec in [
                plan.survey(folders),
                plan.metadata(folders),
                plan.tree(folders),
                plan.commit(folders, "r-1", "abc"),
            ] {
                assert_eq!((spec.network, writable(&spec)), (Network::None, vec![]));
                assert_eq!(spec.environment["CARGO_NET_OFFLINE"], "true");
            }
        });
    }

    #[test]
    fn the_environment_names_no_place_of_this_machine() {
        let spec = with_plan(|plan, folders| plan.build(folders, None, LIMIT));
        assert!(
            spec.environment
                .values()
                .all(|value| !value.contains("/work") && !value.contains("/home/x"))
        );
        assert_eq!(spec.environment["PATH"], "/toolchain/bin:/usr/bin:/bin");
        assert_eq!(spec.environment["SOURCE_DATE_EPOCH"], "7");
        assert_eq!(spec.environment["RUSTC_WRAPPER"], "");
    }
}
