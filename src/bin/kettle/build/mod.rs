//! `kettle build`: has a source built by an appliance that is verified before it gets a byte.
//!
//! * In: a directory, an archive or the URL of a repository; the address of an appliance; the
//!   options of `kettle verify`.
//! * Out: progress, a verdict, and the files of an accepted bundle.
//! * Never: any part of the source to a machine whose evidence was not accepted, unless the user
//!   requests that and is warned in capitals; a file under its final name before its bundle is
//!   accepted.

mod machine;
mod out_directory;
mod output;
mod source;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use kettle::bundle::read;
use kettle::client::{
    Accepted, Address, AddressError, Appliance, Backoff, ClientError, Event, Refusal, Retries,
    Submission, SubmitError, UnverifiedMachine,
};
use kettle::provenance::{MAX_NONCE_BYTES, Nonce};
use kettle::verifier::{
    Expectations, ExpectedOption, Rejection, SessionEvidence, appraise_without_evidence,
    verify_session,
};
use serde_json::json;
use tokio::runtime::Runtime;

use super::launch;
use super::verify::{self, Fetching, Options, UsageError};
use machine::{Engine, MAX_VCPUS, MIN_MEMORY_MIB, Machine, MachineError, Plan, Shape};
use out_directory::{OutDirectory, OutDirectoryError};
pub use out_directory::{Unpacked, unpack};
use output::Output;
use source::{Source, SourceError};

/// How long every request may fail once a machine was verified, before the build is given up.
const RETRY_LIMIT: Duration = Duration::from_secs(5 * 60);

/// Default of --wait: longer than a load balancer takes to notice that a machine is taken, and not
/// long for a user with one machine.
const WAIT_SECONDS: u64 = 10;

/// Default of --wait with --launch: machines of a cloud take minutes to start.
const LAUNCH_WAIT_SECONDS: u64 = 300;

/// How long one attempt may take at a machine of --launch, so that one that has ended is noticed.
const LAUNCH_ATTEMPT: Duration = Duration::from_secs(5);

/// Default of --memory, in MiB.
const MEMORY_MIB: u32 = 4096;

/// Longest pause before the first attempt to find another machine.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Longest pause before any such attempt, unless a machine requests a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// The environment variable with the image's directory, for use without --image.
const IMAGE_VARIABLE: &str = "KETTLE_IMAGE";

/// The environment variable with the appliance's address, for use without --to.
const APPLIANCE_VARIABLE: &str = "KETTLE_APPLIANCE";

/// The code of a machine's refusal if its platform has no evidence.
const NO_EVIDENCE: &str = "AttestationUnavailable";

/// Exit status: the bundle, or the evidence about the TLS key, is rejected.
const REJECTED: u8 = 1;
/// Exit status: nothing was built or verified.
const USAGE: u8 = 2;
/// Exit status: the appliance was verified, and the build failed.
const FAILED: u8 = 3;
/// Exit status: no machine took the build within --wait.
const NO_FREE_MACHINE: u8 = 4;

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
--image.

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
    source: String,
    /// The appliance, https://HOST[:PORT].
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Starts a machine for this build, and ends it: qemu, libvirt:URI or exec:PROGRAM.
    #[arg(long, value_name = "ENGINE", conflicts_with = "to")]
    launch: Option<Engine>,
    /// The directory of the image that --launch boots, as scripts/build-image leaves it.
    #[arg(long, value_name = "DIR", requires = "launch")]
    image: Option<PathBuf>,
    /// The processors of the machine that --launch starts, 1 to 255, which the launch measurement
    /// covers. Default: as many as this host has.
    #[arg(long, value_name = "N", requires = "launch",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_VCPUS)))]
    vcpus: Option<u32>,
    /// The memory of the machine that --launch starts, in MiB. It has to hold the source, its
    /// dependencies and everything that is built.
    #[arg(long, value_name = "MIB", requires = "launch", default_value_t = MEMORY_MIB,
        value_parser = clap::value_parser!(u32).range(i64::from(MIN_MEMORY_MIB)..))]
    memory: u32,
    /// The directory for the bundle and its files. It has to be empty or missing.
    #[arg(long, value_name = "DIR", default_value = "kettle-out")]
    out: PathBuf,
    /// Sends every file of a directory except those of git itself, ignored ones too.
    #[arg(long)]
    all: bool,
    /// How long to look for a free machine, in seconds, while machines are taken, busy or missing;
    /// with --launch, how long its machine may take to serve. 0: one attempt. Default: 10, with
    /// --launch 300.
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    /// The toolchain: cargo or nix. Default: nix if there is a flake.lock, else cargo.
    #[arg(long, value_name = "NAME")]
    toolchain: Option<String>,
    /// The directory of the project within the source.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// cargo: the package to build.
    #[arg(long, value_name = "NAME")]
    package: Option<String>,
    /// cargo: a program to build. Repeatable.
    #[arg(long = "bin", value_name = "NAME")]
    bins: Vec<String>,
    /// cargo: features to enable, separated by commas.
    #[arg(long, value_name = "LIST")]
    features: Option<String>,
    /// cargo: disables the default features.
    #[arg(long)]
    no_default_features: bool,
    /// nix: the output of the flake to build.
    #[arg(long, value_name = "NAME")]
    attribute: Option<String>,
    /// A file with a token for the repository's host, which the appliance forgets after the fetch.
    #[arg(long, value_name = "FILE")]
    repo_token_file: Option<PathBuf>,
    /// Sends the source to a machine WITHOUT ANY EVIDENCE, such as a process on a host: its
    /// operator and the network can read and change everything.
    #[arg(long, conflicts_with_all = OF_EVIDENCE)]
    insecure_no_evidence: bool,
    #[command(flatten)]
    options: Options,
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

/// Why nothing was built or verified.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
enum BuildError {
    #[error(transparent)]
    Usage(Box<UsageError>),
    #[error(
        "no appliance: give --to https://HOST, set {APPLIANCE_VARIABLE}, or start one with --launch"
    )]
    NoAddress,
    #[error("--to")]
    Address(#[from] AddressError),
    #[error(
        "{address} speaks plaintext: evidence binds a TLS key, so --to needs https://; \
         a process on a host takes --insecure-no-evidence"
    )]
    Plaintext { address: Address },
    #[error("--repo-token-file is for TLS only: in plaintext everybody could read the token")]
    Token,
    #[error("the source cannot be sent")]
    Source(#[from] SourceError),
    #[error("--out")]
    OutDirectory(#[from] OutDirectoryError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Refused(Refusal),
    #[error(
        "this machine has no evidence about itself, and got nothing of the source ({0}); a \
         process on a host takes --insecure-no-evidence"
    )]
    NoEvidence(Refusal),
    #[error(
        "the machine is taken, perhaps by this very build, whose confirmation was lost and which \
         the machine does not recognise ({0}); start another machine"
    )]
    Lost(Refusal),
    #[error("no machine responds")]
    Nobody(#[source] ClientError),
    #[error("no free machine at {address} within {seconds} s (--wait)")]
    NoFreeMachine {
        address: Address,
        seconds: u64,
        source: Box<BuildError>,
    },
    #[error("--launch")]
    Machine(#[from] MachineError),
    #[error("the machine does not serve within {seconds} s (--wait)")]
    Silent {
        seconds: u64,
        source: Box<BuildError>,
    },
    #[error("the kernel returned no random numbers")]
    Random(#[source] io::Error),
    #[error("the runtime cannot be started")]
    Runtime(#[source] io::Error),
}

impl From<UsageError> for BuildError {
    fn from(error: UsageError) -> Self {
        Self::Usage(Box::new(error))
    }
}

impl From<SubmitError> for BuildError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Client(error) => Self::Client(error),
            SubmitError::Refused(refusal) if refusal.error_type == NO_EVIDENCE => {
                Self::NoEvidence(refusal)
            }
            SubmitError::Refused(refusal) if refusal.status == 409 && refusal.may_be_ours => {
                Self::Lost(refusal)
            }
            SubmitError::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

impl BuildError {
    /// Converts an error of the first request, which only asks for evidence. A connection that
    /// fails means that no machine responds.
    fn of_first_request(error: impl Into<SubmitError>) -> Self {
        match error.into() {
            SubmitError::Client(error) if error.is_transient() => Self::Nobody(error),
            error => error.into(),
        }
    }

    /// Returns how long to wait at least before another attempt, if another machine or a later time
    /// can help: the machine is taken, busy or missing. A machine that refuses was verified before.
    fn shortest_pause(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) if matches!(refusal.status, 409 | 429 | 503) => {
                Some(refusal.retry_after.unwrap_or_default())
            }
            Self::Nobody(_) => Some(Duration::ZERO),
            _ => None,
        }
    }

    const fn exit_status(&self) -> u8 {
        match self {
            Self::NoFreeMachine { .. } => NO_FREE_MACHINE,
            _ => USAGE,
        }
    }
}

/// How a build ended, if the appliance or the verifier decided it.
enum Ended {
    Accepted,
    Rejected,
    Failed,
}

/// Builds, and prints progress and verdict. Returns the exit status.
pub fn run(arguments: &Arguments) -> ExitCode {
    let mut output = Output::new(arguments.json);
    let ended = Run::new(arguments, &mut output).and_then(|mut run| run.until_taken(&mut output));
    let code = match ended {
        Ok(Ended::Accepted) => 0,
        Ok(Ended::Rejected) => REJECTED,
        Ok(Ended::Failed) => FAILED,
        Err(error) => {
            output.error(&error);
            error.exit_status()
        }
    };
    if output.is_lost() {
        ExitCode::from(USAGE)
    } else {
        ExitCode::from(code)
    }
}

/// One build, with everything that was decided before the first request.
struct Run<'a> {
    arguments: &'a Arguments,
    address: Address,
    expectations: Expectations,
    fetching: Option<Fetching>,
    nonce: Nonce,
    submission: Submission,
    about_source: String,
    out_directory: OutDirectory,
    runtime: Runtime,
    /// The machine that was started for this build, which ends with it.
    machine: Option<Machine>,
    /// Whether a machine has taken the build; then no other one is tried.
    is_taken: bool,
}

impl<'a> Run<'a> {
    fn new(arguments: &'a Arguments, output: &mut Output) -> Result<Self, BuildError> {
        let options = arguments.options.with_policy()?;
        let fetching = options.fetching()?;
        let mut expectations = options.expectations()?;
        let whom = arguments.whom()?;
        let nonce = match expectations.nonce.take() {
            Some(nonce) => nonce,
            None => draw_nonce()?,
        };
        expectations.nonce = Some(nonce.clone());
        let reference = expectations.reference.clone();
        let has_path = arguments.path.is_some();
        let source = Source::open(&arguments.source, reference, arguments.all)?;
        source.expect(&mut expectations, has_path)?;
        let mut fields = arguments.expect_options(&mut expectations);
        fields.extend(arguments.repository_token(&whom)?);
        let out_directory = OutDirectory::reserve(&arguments.out)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BuildError::Runtime)?;
        let about_source = source.about();
        let submission = Submission {
            nonce: nonce.clone(),
            source: source.submitted(),
            options: fields,
        };
        let (address, machine) = arguments.start(whom, output)?;
        Ok(Self {
            arguments,
            address,
            expectations,
            fetching,
            nonce,
            submission,
            about_source,
            out_directory,
            runtime,
            machine,
            is_taken: false,
        })
    }

    /// Tries until a machine takes the build, within --wait. Each attempt may reach another
    /// machine, which is verified again.
    fn until_taken(&mut self, output: &mut Output) -> Result<Ended, BuildError> {
        let begun = Instant::now();
        let limit = self.arguments.patience();
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let mut left = limit.saturating_sub(begun.elapsed());
            if let Some(machine) = &self.machine {
                machine.check()?;
                left = left.min(LAUNCH_ATTEMPT);
            }
            let error = match self.attempt(left, output) {
                Err(error) => error,
                ended => return ended,
            };
            let Some(shortest) = error.shortest_pause().filter(|_| !self.is_taken) else {
                return Err(error);
            };
            let left = limit.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(self.gave_up(error));
            }
            let pause = backoff.pause().max(shortest).min(left);
            output.waiting(&error, pause);
            std::thread::sleep(pause);
        }
    }

    /// Returns the error that no machine took the build within --wait.
    fn gave_up(&self, error: BuildError) -> BuildError {
        let (seconds, source) = (self.arguments.patience().as_secs(), Box::new(error));
        if self.machine.is_some() {
            return BuildError::Silent { seconds, source };
        }
        BuildError::NoFreeMachine {
            address: self.address.clone(),
            seconds,
            source,
        }
    }

    /// Builds on one machine. It has to respond within `limit`.
    fn attempt(&mut self, limit: Duration, output: &mut Output) -> Result<Ended, BuildError> {
        let machine = UnverifiedMachine::new(self.address.clone())?;
        let appliance = if self.arguments.insecure_no_evidence {
            self.unverified(&machine, Retries::new(limit), output)?
        } else {
            match self.verified(&machine, Retries::new(limit), output)? {
                Some(appliance) => appliance,
                None => return Ok(Ended::Rejected),
            }
        };
        output.phase(&format!("sending {}", self.about_source));
        let mut retries = Retries::new(RETRY_LIMIT);
        let submitting = appliance.submit(&self.submission, &mut retries, output);
        let job = self.runtime.block_on(submitting)?;
        self.is_taken = true;
        output.accepted(&job, &self.nonce);
        let following = appliance.follow(&job, &mut retries, output);
        let last = self.runtime.block_on(following)?;
        if last.data["result"]["status"] != "ok" {
            output.failed(&last);
            return Ok(Ended::Failed);
        }
        self.bundle(&appliance, &job, &last, output)
    }

    /// Requests the machine's evidence and verifies it. Returns `None` if it is rejected. The
    /// source can only be sent to the appliance that this returns.
    fn verified(
        &mut self,
        machine: &UnverifiedMachine,
        mut retries: Retries,
        output: &mut Output,
    ) -> Result<Option<Appliance>, BuildError> {
        output.phase(&format!("verifying {}", self.address));
        let nonce = draw_nonce()?;
        let requesting = machine.request_evidence(&nonce, &mut retries, output);
        let response = self
            .runtime
            .block_on(requesting)
            .map_err(BuildError::of_first_request)?;
        let mut expectations = self.expectations.clone();
        let session = SessionEvidence::read(&response.document).ok();
        let evidence = session.map(|session| session.evidence);
        verify::fetch(&mut expectations, evidence, self.fetching.clone())?;
        let key = &response.public_key;
        let result = verify_session(&response.document, &nonce, Some(key), &expectations);
        output.machine(&result, &expectations);
        if !result.is_accepted() {
            return Ok(None);
        }
        Ok(Some(machine.pinned(key)?))
    }

    /// Returns the machine without verifying it, for --insecure-no-evidence.
    fn unverified(
        &mut self,
        machine: &UnverifiedMachine,
        mut retries: Retries,
        output: &mut Output,
    ) -> Result<Appliance, BuildError> {
        output.unverified_machine(&self.address);
        if let Some(appliance) = machine.in_plaintext() {
            return Ok(appliance);
        }
        let requesting = machine.key_without_evidence(&mut retries, output);
        let key = self
            .runtime
            .block_on(requesting)
            .map_err(BuildError::of_first_request)?;
        Ok(machine.pinned(&key)?)
    }

    /// Downloads the bundle, verifies it, and gives its files their final names if it is accepted.
    fn bundle(
        &mut self,
        appliance: &Appliance,
        job: &Accepted,
        last: &Event,
        output: &mut Output,
    ) -> Result<Ended, BuildError> {
        output.phase("downloading the bundle");
        let mut retries = Retries::new(RETRY_LIMIT);
        let mut file = self.out_directory.file()?;
        let downloading = appliance.download(job, &mut file, &mut retries, output);
        self.runtime.block_on(downloading)?;
        let path = self.out_directory.unfinished_bundle();
        if self.arguments.insecure_no_evidence {
            return self.without_evidence(&path, last, output);
        }
        let mut expectations = self.expectations.clone();
        let result = verify::bundle(&path, &mut expectations, self.fetching.clone())?;
        if result.is_accepted() {
            let files = self.out_directory.accept()?;
            output.verdict(&result, &expectations, json!({"files": files.shown()}));
            output.files(&files);
            return Ok(Ended::Accepted);
        }
        let kept = self.out_directory.reject()?.display().to_string();
        output.verdict(&result, &expectations, json!({"rejected_bundle": kept}));
        Ok(Ended::Rejected)
    }

    /// Appraises what can be appraised of a bundle without evidence.
    fn without_evidence(
        &self,
        path: &Path,
        last: &Event,
        output: &mut Output,
    ) -> Result<Ended, BuildError> {
        let found: Result<(), Rejection> =
            appraise_without_evidence(read::open(path), &self.expectations);
        match found {
            Ok(()) => {
                let files = self.out_directory.accept()?;
                output.unverified_bundle(&files, last);
                Ok(Ended::Accepted)
            }
            Err(rejection) => {
                let kept = self.out_directory.reject()?;
                output.rejected_without_evidence(&rejection, &kept);
                Ok(Ended::Rejected)
            }
        }
    }
}

/// The appliance that builds.
enum Whom {
    Address(Address),
    Machine(Plan),
}

impl Arguments {
    /// Returns the machine that --launch starts, or else the appliance of --to or of the
    /// environment variable.
    fn whom(&self) -> Result<Whom, BuildError> {
        if let Some(engine) = &self.launch {
            return Ok(Whom::Machine(self.plan(engine)?));
        }
        let of_variable = || std::env::var(APPLIANCE_VARIABLE).ok();
        let given = self.to.clone().or_else(of_variable);
        let address = given.ok_or(BuildError::NoAddress)?;
        self.checked_address(&address).map(Whom::Address)
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
    fn start(
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
        let address = self.checked_address(&machine.address)?;
        self.check_token(&address)?;
        Ok((address, Some(machine)))
    }

    /// Returns how long to look for a machine that takes the build.
    fn patience(&self) -> Duration {
        let usual = match self.launch {
            Some(_) => LAUNCH_WAIT_SECONDS,
            None => WAIT_SECONDS,
        };
        Duration::from_secs(self.wait.unwrap_or(usual))
    }

    /// Reads an address. Without evidence of a TLS key, plaintext has to be wanted.
    fn checked_address(&self, text: &str) -> Result<Address, BuildError> {
        let address: Address = text.parse()?;
        if !address.is_tls() && !self.insecure_no_evidence {
            return Err(BuildError::Plaintext { address });
        }
        Ok(address)
    }

    /// Refuses to send a token in plaintext.
    fn check_token(&self, address: &Address) -> Result<(), BuildError> {
        if self.repo_token_file.is_some() && !address.is_tls() {
            return Err(BuildError::Token);
        }
        Ok(())
    }

    /// Reads the token for a private repository and returns it as a field of the form. It is never
    /// sent in plaintext.
    fn repository_token(&self, whom: &Whom) -> Result<Option<(&'static str, String)>, BuildError> {
        let Some(path) = &self.repo_token_file else {
            return Ok(None);
        };
        if let Whom::Address(address) = whom {
            self.check_token(address)?;
        }
        let content = verify::read_file(path)?;
        let token = String::from_utf8_lossy(&content).trim().to_owned();
        Ok(Some(("repo_token", token)))
    }

    /// Returns the options as fields of a form, and adds them to the expectations: the statement
    /// has to have each of them and no others.
    fn expect_options(&self, expectations: &mut Expectations) -> Vec<(&'static str, String)> {
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

fn draw_nonce() -> Result<Nonce, BuildError> {
    let bytes = random_bytes().map_err(BuildError::Random)?;
    Ok(Nonce::from_random(bytes))
}

/// Draws as many random bytes as the longest nonce has.
fn random_bytes() -> io::Result<[u8; MAX_NONCE_BYTES]> {
    let mut bytes = [0; MAX_NONCE_BYTES];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes)
}
