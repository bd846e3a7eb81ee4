//! `kettle build`: a source to files, by an appliance that is verified before it gets a byte.
//!
//! - Comes in: a folder, an archive or the URL of a repository; the address of an appliance; what
//!   `kettle verify` takes.
//! - Goes out: progress, a verdict, and the files of an accepted bundle.
//! - Never: anything of the source to a machine whose evidence was not accepted, unless somebody
//!   wants that and is told so in capitals; a file in its place before its bundle is accepted.

mod output;
mod place;
mod source;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use kettle::bundle::read;
use kettle::client::{
    Accepted, Address, AddressError, Appliance, Backoff, ClientError, Event, Patience, Refusal,
    Stranger, Submission, SubmitError,
};
use kettle::provenance::{MAX_NONCE_BYTES, Nonce};
use kettle::verifier::{
    Expectations, Rejection, SessionEvidence, appraise_without_evidence, verify_session,
};
use serde_json::json;
use tokio::runtime::Runtime;

use super::verify::{self, Fetching, Options, UsageError};
use output::Output;
use place::{Place, PlaceError};
pub use place::{Unpacked, unpack};
use source::{Source, SourceError};

/// How long nothing may succeed once a machine was verified, before the build is given up.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// How long a free machine is looked for, for somebody who does not say --wait: longer than a load
/// balancer takes to notice that a machine is taken, and not long for somebody with one machine.
const WAIT_SECONDS: u64 = 10;

/// The longest pause before the first of the tries to find another machine.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause before any of them, unless a machine asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Where the appliance is, for somebody who does not say --to.
const APPLIANCE_VARIABLE: &str = "KETTLE_APPLIANCE";

/// What the code of a machine's refusal is where its platform has no evidence.
const NO_EVIDENCE: &str = "AttestationUnavailable";

/// The bundle, or the evidence about the TLS key, is rejected.
const REJECTED: u8 = 1;
/// Nothing was built or verified.
const USAGE: u8 = 2;
/// The appliance was verified, and the build failed.
const FAILED: u8 = 3;
/// No machine took the build within --wait.
const NO_FREE_MACHINE: u8 = 4;

/// What `--help` says at its end.
pub const AFTER_HELP: &str = "\
The appliance is asked for evidence with a fresh nonce first. Only if that is accepted, under the \
same options as those of `kettle verify`, its TLS key is pinned and the source is sent. Then the \
bundle is verified: nonce, source, options, files.

Of a folder that is a work tree of git, tracked files and untracked ones that are not ignored are \
sent, as they are on the disk; --all sends every file but those of git itself.

Files in --out: PROJECT.tar.gz, the bundle, and PROJECT/, what it unpacks to. A rejected bundle is \
rejected.tar.gz, and is not unpacked.

Several machines may share the address, behind a load balancer or as the addresses of one name. \
A machine that is taken, busy or not there costs another try, until --wait is over; the next \
machine is verified anew before it gets anything. All connections of a job have one random TLS \
server name, by which a balancer keeps them at one machine; no machine is believed for a name.

Proxies: HTTPS_PROXY, ALL_PROXY, NO_PROXY. KETTLE_APPLIANCE stands for --to.

Exit status: 0 accepted (or not verified, with --insecure-no-evidence), 1 rejected: the machine \
before anything was sent to it, or the bundle; 2 nothing was built: wrong usage, a refusal, \
a machine that was lost; 3 the build failed; 4 no free machine within --wait.

  kettle build . --to https://appliance.example
  kettle build https://example.org/project.git --ref v1.0.0 --to https://appliance.example";

/// What to build, where, and what to compare it with.
#[derive(Args)]
pub struct Arguments {
    /// A directory, an archive (zip, tar, gzip tar, .crate) or the URL of a repository (--ref).
    source: String,
    /// The appliance, https://HOST[:PORT].
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// The directory for what comes out. It has to be empty, or not to exist yet.
    #[arg(long, value_name = "DIR", default_value = "kettle-out")]
    out: PathBuf,
    /// Sends every file of a directory but those of git itself, ignored ones too.
    #[arg(long)]
    all: bool,
    /// How long to look for a free machine, while those that answer are taken or busy, or nobody
    /// does. 0: one try.
    #[arg(long, value_name = "SECONDS", default_value_t = WAIT_SECONDS)]
    wait: u64,
    /// The toolchain: cargo or nix. Default: nix where there is a flake.lock, else cargo; with both
    /// lockfiles cargo too, where the flake has no default package.
    #[arg(long, value_name = "NAME")]
    toolchain: Option<String>,
    /// The directory of the project within the source; the build sees nothing outside of it.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// cargo: the package to build.
    #[arg(long, value_name = "NAME")]
    package: Option<String>,
    /// cargo: a program to build. Repeatable.
    #[arg(long = "bin", value_name = "NAME")]
    bins: Vec<String>,
    /// cargo: features to switch on, with commas between them.
    #[arg(long, value_name = "LIST")]
    features: Option<String>,
    /// cargo: leaves out the default features.
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

/// Options that say something of evidence.
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
    #[error("no appliance: say --to https://HOST, or set {APPLIANCE_VARIABLE}")]
    NoAddress,
    #[error("--to")]
    Address(#[from] AddressError),
    #[error(
        "{address} speaks plaintext: evidence binds a TLS key, so that --to needs https://; \
         a process on a host takes --insecure-no-evidence"
    )]
    Plaintext { address: Address },
    #[error("--repo-token-file is for TLS only: in plaintext everybody would read the token")]
    Token,
    #[error("the source")]
    Source(#[from] SourceError),
    #[error("--out")]
    Place(#[from] PlaceError),
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
    #[error("nobody answers")]
    Nobody(#[source] ClientError),
    #[error("no free machine at {address} within {seconds} s (--wait)")]
    NoFreeMachine {
        address: Address,
        seconds: u64,
        source: Box<BuildError>,
    },
    #[error("random numbers")]
    Random(#[source] std::io::Error),
    #[error("the runtime")]
    Runtime(#[source] std::io::Error),
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
    /// Takes what a machine answers that was not asked for anything but who it is.
    fn of_stranger(error: impl Into<SubmitError>) -> Self {
        match error.into() {
            SubmitError::Client(error) if error.is_transient() => Self::Nobody(error),
            error => error.into(),
        }
    }

    /// Returns how long to wait at least before another try, where another machine or a later time
    /// can help: the machine is taken, busy, or not there. One that refuses was verified before.
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

/// How it ended, where it ended with a word of the appliance or of the verifier.
enum Ended {
    Accepted,
    Rejected,
    Failed,
}

/// Builds, and prints everything that is to be said.
pub fn run(arguments: &Arguments) -> ExitCode {
    let mut output = Output::new(arguments.json);
    let ended = Run::new(arguments).and_then(|mut run| run.until_taken(&mut output));
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

/// One build, with everything that was decided before a machine is asked.
struct Run<'a> {
    arguments: &'a Arguments,
    address: Address,
    expectations: Expectations,
    fetching: Option<Fetching>,
    nonce: Nonce,
    submission: Submission,
    about_source: String,
    place: Place,
    runtime: Runtime,
    /// A machine has taken the build: no other one is asked.
    is_taken: bool,
}

impl<'a> Run<'a> {
    fn new(arguments: &'a Arguments) -> Result<Self, BuildError> {
        let options = arguments.options.with_policy()?;
        let fetching = options.fetching()?;
        let mut expectations = options.expectations()?;
        let address = arguments.address()?;
        let nonce = match expectations.nonce.take() {
            Some(nonce) => nonce,
            None => draw_nonce()?,
        };
        expectations.nonce = Some(nonce.clone());
        let reference = expectations.reference.clone();
        let has_path = arguments.path.is_some();
        let source = Source::open(&arguments.source, reference, arguments.all)?;
        source.expect(&mut expectations, has_path)?;
        let mut options = arguments.expect_options(&mut expectations);
        options.extend(arguments.repository_token(&address)?);
        let place = Place::reserve(&arguments.out)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let about_source = source.about();
        let submission = Submission {
            nonce: nonce.clone(),
            source: source.submitted(),
            options,
        };
        Ok(Self {
            arguments,
            address,
            expectations,
            fetching,
            nonce,
            submission,
            about_source,
            place,
            runtime: runtime.map_err(BuildError::Runtime)?,
            is_taken: false,
        })
    }

    /// Tries until a machine takes the build, within --wait. Each try is a machine of its own, as
    /// far as the client knows, and is verified anew.
    fn until_taken(&mut self, output: &mut Output) -> Result<Ended, BuildError> {
        let begun = Instant::now();
        let limit = Duration::from_secs(self.arguments.wait);
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let left = limit.saturating_sub(begun.elapsed());
            let error = match self.attempt(left, output) {
                Err(error) => error,
                ended => return ended,
            };
            let Some(shortest) = error.shortest_pause().filter(|_| !self.is_taken) else {
                return Err(error);
            };
            let left = limit.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(BuildError::NoFreeMachine {
                    address: self.address.clone(),
                    seconds: self.arguments.wait,
                    source: Box::new(error),
                });
            }
            let pause = backoff.pause().max(shortest).min(left);
            output.waiting(&error, pause);
            std::thread::sleep(pause);
        }
    }

    /// Builds at one machine. Within `patience` it has to say who it is.
    fn attempt(&mut self, patience: Duration, output: &mut Output) -> Result<Ended, BuildError> {
        let stranger = Stranger::new(self.address.clone())?;
        let patience = Patience::new(patience);
        let appliance = if self.arguments.insecure_no_evidence {
            self.believed(&stranger, patience, output)?
        } else {
            match self.verified(&stranger, patience, output)? {
                Some(appliance) => appliance,
                None => return Ok(Ended::Rejected),
            }
        };
        output.phase(&format!("sending {}", self.about_source));
        let mut patience = Patience::new(PATIENCE);
        let submitting = appliance.submit(&self.submission, &mut patience, output);
        let job = self.runtime.block_on(submitting)?;
        self.is_taken = true;
        output.accepted(&job, &self.nonce);
        let following = appliance.follow(&job, &mut patience, output);
        let last = self.runtime.block_on(following)?;
        if last.data["result"]["status"] != "ok" {
            output.failed(&last);
            return Ok(Ended::Failed);
        }
        self.bundle(&appliance, &job, &last, output)
    }

    /// Asks the machine who it is. Nothing else is sent to it before this says that it may be.
    fn verified(
        &mut self,
        stranger: &Stranger,
        mut patience: Patience,
        output: &mut Output,
    ) -> Result<Option<Appliance>, BuildError> {
        output.phase(&format!("verifying {}", self.address));
        let nonce = draw_nonce()?;
        let asking = stranger.introduce(&nonce, &mut patience, output);
        let introduced = self.runtime.block_on(asking);
        let introduction = introduced.map_err(BuildError::of_stranger)?;
        let mut expectations = self.expectations.clone();
        let evidence = SessionEvidence::read(&introduction.document).ok();
        let evidence = evidence.map(|session| session.evidence);
        verify::fetch(&mut expectations, evidence, self.fetching.clone())?;
        let key = &introduction.public_key;
        let result = verify_session(&introduction.document, &nonce, Some(key), &expectations);
        output.machine(&result, &expectations);
        if !result.is_accepted() {
            return Ok(None);
        }
        Ok(Some(stranger.pinned(key)?))
    }

    /// Takes the machine as it is.
    fn believed(
        &mut self,
        stranger: &Stranger,
        mut patience: Patience,
        output: &mut Output,
    ) -> Result<Appliance, BuildError> {
        output.unverified_machine(&self.address);
        if let Some(appliance) = stranger.in_plaintext() {
            return Ok(appliance);
        }
        let asking = stranger.key_without_evidence(&mut patience, output);
        let key = self.runtime.block_on(asking);
        let key = key.map_err(BuildError::of_stranger)?;
        Ok(stranger.pinned(&key)?)
    }

    /// Downloads the bundle, verifies it, and puts its files in their place if it is accepted.
    fn bundle(
        &mut self,
        appliance: &Appliance,
        job: &Accepted,
        last: &Event,
        output: &mut Output,
    ) -> Result<Ended, BuildError> {
        output.phase("downloading the bundle");
        let mut patience = Patience::new(PATIENCE);
        let mut file = self.place.file()?;
        let downloading = appliance.download(job, &mut file, &mut patience, output);
        self.runtime.block_on(downloading)?;
        let path = self.place.unfinished_bundle();
        if self.arguments.insecure_no_evidence {
            return self.without_evidence(&path, last, output);
        }
        let mut expectations = self.expectations.clone();
        let result = verify::bundle(&path, &mut expectations, self.fetching.clone())?;
        if result.is_accepted() {
            let files = self.place.accept()?;
            output.verdict(&result, &expectations, json!({"files": files.shown()}));
            output.files(&files);
            return Ok(Ended::Accepted);
        }
        let kept = self.place.reject()?;
        let kept = kept.display().to_string();
        output.verdict(&result, &expectations, json!({"rejected_bundle": kept}));
        Ok(Ended::Rejected)
    }

    /// Appraises what can be said of a bundle that nobody signed.
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
                let files = self.place.accept()?;
                output.unverified_bundle(&files, last);
                Ok(Ended::Accepted)
            }
            Err(rejection) => {
                let kept = self.place.reject()?;
                output.rejected_without_evidence(&rejection, &kept);
                Ok(Ended::Rejected)
            }
        }
    }
}

impl Arguments {
    /// Returns whom to ask: the option, else the variable.
    fn address(&self) -> Result<Address, BuildError> {
        let of_variable = || std::env::var(APPLIANCE_VARIABLE).ok();
        let given = self.to.clone().or_else(of_variable);
        let address: Address = given.ok_or(BuildError::NoAddress)?.parse()?;
        if !address.is_tls() && !self.insecure_no_evidence {
            return Err(BuildError::Plaintext { address });
        }
        Ok(address)
    }

    /// Reads the token for a private repository, as a field of the form. It is never sent in plaintext.
    fn repository_token(
        &self,
        address: &Address,
    ) -> Result<Option<(&'static str, String)>, BuildError> {
        let Some(path) = &self.repo_token_file else {
            return Ok(None);
        };
        if !address.is_tls() {
            return Err(BuildError::Token);
        }
        let content = verify::read_file(path)?;
        let token = String::from_utf8_lossy(&content).trim().to_owned();
        Ok(Some(("repo_token", token)))
    }

    /// Returns the options as fields of a form, and expects each of them, and no other, in the
    /// statement.
    fn expect_options(&self, expectations: &mut Expectations) -> Vec<(&'static str, String)> {
        let some_list = |list: &[String]| (!list.is_empty()).then(|| list.join(","));
        let flag = self.no_default_features.then(|| "true".to_owned());
        let given = [
            ("toolchain", "toolchain", self.toolchain.clone()),
            ("path", "path", self.path.clone()),
            ("package", "package", self.package.clone()),
            ("bins", "bins", some_list(&self.bins)),
            ("features", "features", self.features.clone()),
            ("no_default_features", "noDefaultFeatures", flag),
            ("attribute", "attribute", self.attribute.clone()),
        ];
        let mut fields = Vec::new();
        for (field, name, value) in given {
            let Some(value) = value else { continue };
            if expectations
                .options
                .iter()
                .all(|option| option.name != name)
            {
                let option = kettle::verifier::ExpectedOption {
                    name,
                    value: value.clone(),
                };
                expectations.options.push(option);
            }
            fields.push((field, value));
        }
        expectations.no_other_options = true;
        fields
    }
}

fn draw_nonce() -> Result<Nonce, BuildError> {
    let mut bytes = [0; MAX_NONCE_BYTES];
    let drawn = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    drawn.map_err(|error| BuildError::Random(error.into()))?;
    Ok(Nonce::from_random(bytes))
}
