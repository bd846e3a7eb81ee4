//! The arguments of `kettle build`, and what follows from them alone.
//!
//! * In: the command line and three environment variables.
//! * Out: the appliance to use or the machine to start, the fields of the submission, and what the
//!   statement has to say about them.
//! * Never: a token for an address without TLS.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kettle::client::Address;
use kettle::verifier::{Expectations, ExpectedOption};

use super::super::verify::{self, Options};
use super::error::BuildError;
use super::machine::{Engine, MAX_VCPUS, MIN_MEMORY_MIB, Machine, Plan, Shape};
use super::output::Output;
use super::source::Source;

/// Default of --wait: longer than a load balancer takes to notice that a machine is taken, and not
/// long for a user with one machine.
const WAIT_SECONDS: u64 = 10;

/// Default of --wait with --launch: machines of a cloud take minutes to start.
const LAUNCH_WAIT_SECONDS: u64 = 300;

/// Default of --memory, in MiB.
const MEMORY_MIB: u32 = 4096;

/// The environment variable with the image's directory, for use without --image.
const IMAGE_VARIABLE: &str = "KETTLE_IMAGE";

/// The environment variable with the appliance's address, for use without --to.
const APPLIANCE_VARIABLE: &str = "KETTLE_APPLIANCE";

/// The environment variable with the token for a private repository, for use without
/// --repo-token-file.
const TOKEN_VARIABLE: &str = "KETTLE_REPO_TOKEN";

/// The field of the form with the token.
const TOKEN_FIELD: &str = "repo_token";

/// The end of `--help`.
pub const AFTER_HELP: &str = "\
First, evidence is requested from the appliance with a fresh nonce. Only if it is accepted, under \
the same options as those of `kettle verify`, the TLS key is pinned and the source is sent. Then \
the bundle is verified: nonce, source, options, files.

From a git work tree, tracked files and untracked ones that are not ignored are sent, as they are \
on the disk; --all sends every file except those of git itself.

Files in --out: PROJECT.tar.gz, the bundle, and PROJECT/, its content. A rejected bundle is \
rejected.tar.gz, and is not unpacked.

Several machines may share the address, behind a load balancer or as the IP addresses of one \
name. If a machine is taken, busy or missing, another one is tried, until --wait is over; the next \
machine is verified again before it gets anything. All connections of a job have one random TLS \
server name, by which a balancer keeps them at one machine; no machine is trusted for a name.

--launch starts a machine for this build alone, and ends it: qemu on this host; libvirt:URI, as \
in libvirt:qemu:///system, by virsh; exec:PROGRAM, a program that prints the address of its \
machine as one line, runs as long as its input is open, and then ends the machine. qemu and \
libvirt boot the image in --image. On a host without SEV-SNP the machine has no evidence.

Proxies: HTTPS_PROXY, ALL_PROXY, NO_PROXY. KETTLE_APPLIANCE replaces --to, KETTLE_IMAGE replaces \
--image. KETTLE_REPO_TOKEN has the token that --repo-token-file has a file for: no option takes \
the token itself, because other users can read the options of a program.

Exit status: 0 accepted (or not verified, with --insecure-no-evidence), 1 rejected: the machine \
before anything was sent to it, or the bundle; 2 nothing was built: wrong usage, a refusal, \
a machine that was lost; 3 the build failed; 4 no free machine within --wait.

  kettle build . --to https://appliance.example
  kettle build . --launch qemu --image /srv/kettle-image
  kettle build https://example.org/project.git --ref v1.0.0 --to https://appliance.example";

/// The arguments of `kettle build`.
#[derive(Args)]
pub struct Arguments {
    /// A directory, an archive (zip, tar, gzip tar, .crate) or the URL of a repository (--ref).
    pub(super) source: String,
    /// The appliance, https://HOST[:PORT].
    #[arg(long, value_name = "URL")]
    pub(super) to: Option<String>,
    /// Starts a machine for this build, and ends it: qemu, libvirt:URI or exec:PROGRAM.
    #[arg(long, value_name = "ENGINE", conflicts_with = "to")]
    pub(super) launch: Option<Engine>,
    /// The directory of the image that --launch boots, as scripts/build-image leaves it.
    #[arg(long, value_name = "DIR", requires = "launch")]
    pub(super) image: Option<PathBuf>,
    /// The processors of the machine that --launch starts, 1 to 255, which the launch measurement
    /// covers. Default: as many as this host has.
    #[arg(long, value_name = "N", requires = "launch",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_VCPUS)))]
    pub(super) vcpus: Option<u32>,
    /// The memory of the machine that --launch starts, in MiB. It has to hold the source, its
    /// dependencies and everything that is built.
    #[arg(long, value_name = "MIB", requires = "launch", default_value_t = MEMORY_MIB,
        value_parser = clap::value_parser!(u32).range(i64::from(MIN_MEMORY_MIB)..))]
    pub(super) memory: u32,
    /// The directory for the bundle and its files. It has to be empty or missing.
    #[arg(long, value_name = "DIR", default_value = "kettle-out")]
    pub(super) out: PathBuf,
    /// Sends every file of a directory except those of git itself, ignored ones too.
    #[arg(long)]
    pub(super) all: bool,
    /// How long to look for a free machine, in seconds, while machines are taken, busy or missing;
    /// with --launch, how long its machine may take to serve. 0: one attempt. Default: 10, with
    /// --launch 300.
    #[arg(long, value_name = "SECONDS")]
    pub(super) wait: Option<u64>,
    /// The toolchain: cargo or nix. Default: nix if there is a flake.lock, else cargo.
    #[arg(long, value_name = "NAME")]
    pub(super) toolchain: Option<String>,
    /// The directory of the project within the source.
    #[arg(long, value_name = "PATH")]
    pub(super) path: Option<String>,
    /// cargo: the package to build.
    #[arg(long, value_name = "NAME")]
    pub(super) package: Option<String>,
    /// cargo: a program to build. Repeatable.
    #[arg(long = "bin", value_name = "NAME")]
    pub(super) bins: Vec<String>,
    /// cargo: features to enable, separated by commas.
    #[arg(long, value_name = "LIST")]
    pub(super) features: Option<String>,
    /// cargo: disables the default features.
    #[arg(long)]
    pub(super) no_default_features: bool,
    /// nix: the output of the flake to build.
    #[arg(long, value_name = "NAME")]
    pub(super) attribute: Option<String>,
    /// A file with a token for the repository's own host (TOKEN, or USER:TOKEN), which the
    /// appliance forgets after the fetch. Without it, KETTLE_REPO_TOKEN is read.
    #[arg(long, value_name = "FILE")]
    pub(super) repo_token_file: Option<PathBuf>,
    /// Sends the source to a machine WITHOUT ANY EVIDENCE, such as a process on a host: its
    /// operator and the network can read and change everything.
    #[arg(long, conflicts_with_all = OF_EVIDENCE)]
    pub(super) insecure_no_evidence: bool,
    #[command(flatten)]
    pub(super) options: Options,
    /// Prints each event, the verdict on the machine and the one on the bundle as a line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options about evidence, which make no sense without any.
const OF_EVIDENCE: [&str; 10] = [
    "measurement",
    "measurements",
    "vcek",
    "crl",
    "fetch",
    "fetch_crl",
    "min_tcb",
    "trust_root",
    "waive",
    "at",
];

/// Refuses to send a token in plaintext.
pub fn check_token(fields: &[(&str, String)], address: &Address) -> Result<(), BuildError> {
    let has_token = fields.iter().any(|(name, _)| *name == TOKEN_FIELD);
    if has_token && !address.is_tls() {
        return Err(BuildError::Token);
    }
    Ok(())
}

/// The appliance that builds.
pub enum Whom {
    /// The appliance at an address.
    Address(Address),
    /// A machine that is started for this build.
    Machine(Plan),
}

impl Arguments {
    /// Returns the machine that --launch starts, or else the appliance of --to or of the
    /// environment variable.
    pub fn whom(&self) -> Result<Whom, BuildError> {
        if let Some(engine) = &self.launch {
            return Ok(Whom::Machine(self.plan(engine)?));
        }
        let of_variable = || std::env::var(APPLIANCE_VARIABLE).ok();
        let given = self.to.clone().or_else(of_variable);
        let address = given.ok_or(BuildError::NoAddress {
            variable: APPLIANCE_VARIABLE,
        })?;
        self.check_address(address.parse()?).map(Whom::Address)
    }

    fn plan(&self, engine: &Engine) -> Result<Plan, BuildError> {
        let of_variable = || std::env::var_os(IMAGE_VARIABLE).map(PathBuf::from);
        let image = self.image.clone().or_else(of_variable);
        let of_host = || {
            let count = std::thread::available_parallelism().map_or(1, usize::from);
            u32::try_from(count).unwrap_or(MAX_VCPUS).min(MAX_VCPUS)
        };
        let shape = Shape {
            vcpus: self.vcpus.unwrap_or_else(of_host),
            memory_mib: self.memory,
        };
        Ok(Plan::new(engine.clone(), image.as_deref(), shape)?)
    }

    /// Starts the machine of --launch, and returns the address of the appliance.
    pub fn start(
        &self,
        whom: Whom,
        output: &mut Output,
    ) -> Result<(Address, Option<Machine>), BuildError> {
        let plan = match whom {
            Whom::Address(address) => return Ok((address, None)),
            Whom::Machine(plan) => plan,
        };
        output.phase(&plan.about());
        let machine = plan.start(self.patience())?;
        let address = machine.address.parse();
        let address = self.check_address(address.map_err(BuildError::LaunchedAddress)?)?;
        Ok((address, Some(machine)))
    }

    /// Returns how long to look for a machine that takes the build.
    pub fn patience(&self) -> Duration {
        let usual = match self.launch {
            Some(_) => LAUNCH_WAIT_SECONDS,
            None => WAIT_SECONDS,
        };
        Duration::from_secs(self.wait.unwrap_or(usual))
    }

    /// Refuses an address without TLS, unless the user wants no evidence.
    fn check_address(&self, address: Address) -> Result<Address, BuildError> {
        if !address.is_tls() && !self.insecure_no_evidence {
            return Err(BuildError::Plaintext { address });
        }
        Ok(address)
    }

    /// Returns the token for a private repository as a field of the form. The environment variable
    /// counts for a repository only.
    pub fn repository_token(
        &self,
        source: &Source,
    ) -> Result<Option<(&'static str, String)>, BuildError> {
        if !matches!(source, Source::Repository { .. }) && self.repo_token_file.is_none() {
            return Ok(None);
        }
        Ok(self.token()?.map(|token| (TOKEN_FIELD, token)))
    }

    /// Reads the token from its file, or else from the environment; an empty variable has none.
    fn token(&self) -> Result<Option<String>, BuildError> {
        let Some(path) = &self.repo_token_file else {
            let variable = std::env::var(TOKEN_VARIABLE).ok();
            return Ok(variable.filter(|token| !token.is_empty()));
        };
        let content = verify::read_file(path)?;
        let token = String::from_utf8_lossy(&content).trim().to_owned();
        if token.is_empty() {
            return Err(BuildError::EmptyToken { path: path.clone() });
        }
        Ok(Some(token))
    }

    /// Returns the options as fields of a form, and adds them to the expectations: the statement
    /// has to have each of them and no others.
    pub fn expect_options(&self, expectations: &mut Expectations) -> Vec<(&'static str, String)> {
        let some_list = |list: &[String]| (!list.is_empty()).then(|| list.join(","));
        let flag = self.no_default_features.then(|| "true".to_owned());
        // The field of the form, the name in the statement, and the value.
        let options = [
            ("toolchain", "toolchain", self.toolchain.clone()),
            ("path", "path", self.path.clone()),
            ("package", "package", self.package.clone()),
            ("bins", "bins", some_list(&self.bins)),
            ("features", "features", self.features.clone()),
            ("no_default_features", "noDefaultFeatures", flag),
            ("attribute", "attribute", self.attribute.clone()),
        ];
        let mut fields = Vec::new();
        for (field, name, given) in options {
            let Some(value) = given else { continue };
            let mut expected = expectations.options.iter();
            if expected.all(|option| option.name != name) {
                expectations.options.push(ExpectedOption {
                    name,
                    value: value.clone(),
                });
            }
            fields.push((field, value));
        }
        expectations.no_other_options = true;
        fields
    }
}
