//! `kettle build`: has a source built by an appliance that is verified before it gets a byte.
//!
//! * In: a directory, an archive or the URL of a repository; the address of an appliance; the
//!   options of `kettle verify`.
//! * Out: progress, a verdict, and the files of an accepted bundle.
//! * Never: any part of the source to a machine whose evidence was not accepted, unless the user
//!   requests that and is warned in capitals; a file under its final name before its bundle is
//!   accepted.

mod arguments;
mod error;
mod machine;
mod out_directory;
mod output;
mod source;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kettle::bundle::read;
use kettle::client::{
    Accepted, Address, Appliance, Backoff, Event, Retries, Submission, UnverifiedMachine,
    random_bytes,
};
use kettle::provenance::{MAX_NONCE_BYTES, Nonce};
use kettle::verifier::{
    Expectations, Rejection, SessionEvidence, appraise_without_evidence, verify_session,
};
use serde_json::json;
use tokio::runtime::Runtime;

use super::verify::{self, Fetching};
use super::{kernel_hashes, launch};
pub use arguments::{AFTER_HELP, Arguments};
use arguments::{Whom, check_token};
use error::BuildError;
use machine::Machine;
use out_directory::OutDirectory;
pub use out_directory::{Unpacked, unpack};
use output::Output;
use source::Source;

/// How long every request may fail once a machine was verified, before the build is given up.
const RETRY_LIMIT: Duration = Duration::from_secs(5 * 60);

/// How long one attempt may take at a machine of --launch, so that one that has ended is noticed.
const LAUNCH_ATTEMPT: Duration = Duration::from_secs(5);

/// Longest pause before the first attempt to find another machine.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Longest pause before any such attempt, unless a machine requests a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Exit status: the bundle, or the evidence about the TLS key, is rejected.
const REJECTED: u8 = 1;
/// Exit status: nothing was built or verified.
const USAGE: u8 = 2;
/// Exit status: the appliance was verified, and the build failed.
const FAILED: u8 = 3;
/// Exit status: no machine took the build within --wait.
const NO_FREE_MACHINE: u8 = 4;

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
        fields.extend(arguments.repository_token(&source)?);
        if let Whom::Address(address) = &whom {
            check_token(&fields, address)?;
        }
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
        check_token(&submission.options, &address)?;
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
            if self.machine.is_some() {
                left = left.min(LAUNCH_ATTEMPT);
            }
            let error = match self.attempt(left, output) {
                Err(error) => error,
                ended => return ended,
            };
            if let Some(machine) = &self.machine {
                // That the machine has ended is the reason, whatever the connection made of it.
                machine.check()?;
            }
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

fn draw_nonce() -> Result<Nonce, BuildError> {
    let bytes = random_bytes::<MAX_NONCE_BYTES>().map_err(BuildError::Random)?;
    Ok(Nonce::from_random(bytes))
}
