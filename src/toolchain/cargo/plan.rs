//! What is run for a cargo project, as values. Comes in: a toolchain, the job's folders, the settings that were carried
//! over. Goes out: one [`CommandSpec`] a command. Never: a path or a variable of this machine inside the sandbox; every
//! job sees the same places, so that the same source gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sandbox::paths::{CARGO_HOME, HOME, SOURCE, TARGET, VENDOR};
use crate::sandbox::{Access, CommandSpec, Mount, Network};
use crate::source::git_rules;
use crate::toolchain::{ARTIFACTS_FOLDER, Toolchain};

use super::redirects;
use super::target;
use crate::toolchain::options::CargoOptions;

/// Wall-clock limit of a command that only reads the project.
const INSPECT_TIME: Duration = Duration::from_secs(120);

/// Wall-clock limit of one question to the server of a repository.
pub(super) const ASK_TIME: Duration = Duration::from_secs(120);

/// Settings of the git that cargo runs, beside those of every fetch: the other protocols that cargo's own library knows and
/// that need no other program, and no proxy, which [`NOWHERE`] is for cargo alone.
const GIT_SETTINGS: [(&str, &str); 3] = [
    ("http.proxy", ""),
    ("protocol.file.allow", "always"),
    ("protocol.git.allow", "always"),
];

/// The proxy of plain http, of a kind that there is not, so that cargo reaches nobody by it (curl, `http_proxy`): a registry
/// can send cargo anywhere for an archive, but only over https. Cargo's message shows this text.
const NOWHERE: &str = "plain-http-is-not-followed://nowhere";

/// A repository that its server has at another URL, on the same host, port and scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    /// As the lockfile names it.
    pub from: String,
    /// Where it is.
    pub to: String,
}

/// What all commands of one job share.
pub(super) struct Plan<'a> {
    pub toolchain: &'a Toolchain,
    /// The source tree on this machine.
    pub source: &'a Path,
    pub epoch: u64,
    /// `key=value` for `--config`.
    pub settings: &'a [String],
    /// What the client chose.
    pub options: &'a CargoOptions,
    /// The target platform, where the project names one.
    pub target: Option<&'a str>,
}

/// The job's folders on this machine, each seen by some sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folders {
    /// `CARGO_HOME` of the fetch phase, written by the sandbox.
    pub fetch: PathBuf,
    /// Checked packages.
    pub vendor: PathBuf,
    /// `CARGO_HOME` of the build, written by us.
    pub home: PathBuf,
    /// Written by the build.
    pub target: PathBuf,
    /// Written while a library is packed: what the build wrote does not come near it.
    pub package: PathBuf,
    /// The source as it is packed, where it cannot be packed as it is.
    pub unpublished: PathBuf,
    /// Copies of what is handed out. No sandbox sees it.
    pub artifacts: PathBuf,
}

impl Folders {
    pub fn of(job: &Path) -> Self {
        let folder = |name| job.join(name);
        Self {
            fetch: folder("cargo-fetch"),
            vendor: folder("vendor"),
            home: folder("cargo-home"),
            target: folder("target"),
            package: folder("package"),
            unpublished: folder("unpublished"),
            artifacts: folder(ARTIFACTS_FOLDER),
        }
    }
}

impl Plan<'_> {
    /// Downloads what the lockfile names, for all platforms: a directory source has to hold every package.
    ///
    /// Repositories are fetched by git itself and not by cargo's library: it can be told to follow no redirect. Those
    /// that their servers have `moved` are asked for where they are. `plain` are the hosts that cargo reaches by plain http.
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
        spec.environment.extend(
            git_rules::ENVIRONMENT.map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        spec.environment.extend(git_settings(moved));
        spec.environment.extend(proxies(plain));
        spec.environment
            .extend(redirects::TRACE.map(|(name, value)| (name.to_owned(), value.to_owned())));
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

    /// Prints the project's own packages, for which no dependency has to be there.
    pub fn survey(&self, folders: &Folders) -> CommandSpec {
        let fixed = ["--locked", "--offline", "--format-version=1", "--no-deps"];
        let argv = self.cargo("metadata", &fixed, Vec::new());
        let home = Mount::new(&folders.home, CARGO_HOME, Access::ReadOnly);
        self.command(argv, vec![home], INSPECT_TIME, Phase::Offline)
    }

    /// Prints every package with its targets and its folder.
    pub fn metadata(&self, folders: &Folders) -> CommandSpec {
        let fixed = ["--locked", "--offline", "--format-version=1"];
        let argv = self.cargo("metadata", &fixed, Vec::new());
        self.command(argv, self.inputs(folders), INSPECT_TIME, Phase::Offline)
    }

    /// Prints the packages that `build` will compile, one a line.
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

    /// Builds the default members, and prints each command that it runs.
    pub fn build(&self, folders: &Folders, limit: Duration) -> CommandSpec {
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
        self.writing(argv, folders, &folders.target, limit)
    }

    /// The directory below `target` that the build writes its files to.
    pub fn release(&self) -> String {
        target::release(self.target)
    }

    /// The arguments for what the client, or the project's configuration, chose: package, features and target.
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

    fn inputs(&self, folders: &Folders) -> Vec<Mount> {
        vec![
            Mount::new(&folders.home, CARGO_HOME, Access::ReadOnly),
            Mount::new(&folders.vendor, VENDOR, Access::ReadOnly),
        ]
    }

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

    /// The working directory is outside the source, because cargo reads configuration from it and its parents.
    fn command(
        &self,
        argv: Vec<String>,
        mounts: Vec<Mount>,
        time_limit: Duration,
        phase: Phase,
    ) -> CommandSpec {
        let source = Mount::new(self.source, SOURCE, Access::ReadOnly);
        CommandSpec {
            argv,
            environment: self.environment(phase),
            directory: CARGO_HOME.into(),
            mounts: self
                .toolchain
                .mount()
                .into_iter()
                .chain([source])
                .chain(mounts)
                .collect(),
            network: Network::None,
            time_limit,
        }
    }

    /// The complete environment.
    ///
    /// `CARGO_BUILD_JOBS` stays unset: it would reach build scripts as a number that depends on nothing but us, while
    /// the processors are the machine's; cargo's own default is what projects are used to.
    fn environment(&self, phase: Phase) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::from(
            [
                ("AR", "/usr/bin/ar"),
                ("CARGO_HOME", CARGO_HOME),
                ("CARGO_INCREMENTAL", "0"),
                ("CARGO_TARGET_DIR", TARGET),
                ("CARGO_TERM_COLOR", "never"),
                ("CARGO_TERM_PROGRESS_WHEN", "never"),
                // Absolute, so that a build script that sets PATH for its package does not choose the linker.
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
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
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

/// Our settings of git as variables of its environment.
///
/// Git replaces the longest beginning of a URL that it knows. The new URLs stand for themselves, so that one that goes on
/// from an old one is not changed.
fn git_settings(moved: &[Moved]) -> Vec<(String, String)> {
    let instead = |to: &str| format!("url.{to}.insteadOf");
    let moved: Vec<_> = moved
        .iter()
        .flat_map(|Moved { from, to }| [(instead(to), from.as_str()), (instead(to), to.as_str())])
        .collect();
    let moved = moved.iter().map(|(name, value)| (name.as_str(), *value));
    git_rules::variables(
        git_rules::SETTINGS
            .into_iter()
            .chain(GIT_SETTINGS)
            .chain(moved),
    )
}

/// Keeps cargo from plain http, but for the hosts that the lockfile itself names so, and for names below theirs.
fn proxies(plain: &BTreeSet<String>) -> Vec<(String, String)> {
    let hosts: Vec<_> = plain.iter().map(String::as_str).collect();
    [
        ("http_proxy", NOWHERE.to_owned()),
        ("no_proxy", hosts.join(",")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Online,
    Offline,
}

/// `PROGRAM --version`, in a sandbox that sees the toolchain and nothing else.
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
        let spec = with_plan(|plan, folders| plan.build(folders, LIMIT));
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
                chosen(plan.build(folders, LIMIT), 5),
                format!("{common} --bin=a --bin=b")
            );
            assert_eq!(chosen(plan.package(folders, LIMIT), 4), "--package=tool");
            assert_eq!(chosen(plan.metadata(folders), 3), "");
            assert_eq!(plan.release(), "wasm32-unknown-unknown/release");
        });
    }

    #[test]
    fn only_the_fetch_phase_has_a_network_and_it_writes_its_own_folder_only() {
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
        let spec = with_plan(|plan, folders| plan.build(folders, LIMIT));
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
