//! Runs the daemon, and all commands that need it.
//!
//! * In: the plan of a job.
//! * Out: [`Answers`], after the daemon and everything that it started are dead.
//! * Never: output of nix that does not have the expected form.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::blocking::blocking;
use crate::sandbox::paths::SOURCE;
use crate::sandbox::{CommandSpec, Exit, Served, remove_directory};
use crate::source::redirect::{Endpoint, quoted};
use crate::toolchain::complaint::Complaint;
use crate::toolchain::{Context, Log, Phase, ToolchainError};

use super::NixError;
use super::downloads::Redirects;
use super::ledger::{self, Cached, PathInfo};
use super::plan::{Folders, Plan};
use super::progress::{CANNOT_BUILD, LogFilter, MAX_ANSWER_BYTES, Progress};
use super::store_path::StorePath;
use super::{recordable, refuse_plaintext};

/// The error of a nix that would have to change the lockfile.
const OUTDATED: &str = "requires lock file changes but they're not allowed";

/// The errors of a nix that finds another hash in an input.
const INPUT_HASH: [&str; 2] = [
    "NAR hash mismatch in input",
    "mismatch in field 'narHash' of input",
];

/// The error of a nix that lacks an output of a flake.
const NO_OUTPUT: &str = "does not provide attribute";

/// The most recipes that the evaluation of one flake imports from: each is realised by itself, and
/// the flake is evaluated again.
const MAX_IMPORTS: usize = 16;

/// The time that the daemon may take beside the build itself: each of its clients has its own
/// limit.
const DAEMON_TIME: Duration = Duration::from_secs(30 * 60);

/// The output of the commands that ran while the daemon did.
pub(super) struct Answers {
    /// The outputs by name, usually with one called `out`.
    pub outputs: Outputs,
    /// Every path of the store.
    pub paths: Vec<PathInfo>,
    /// The paths that came from a cache, with their origin.
    pub caches: BTreeMap<StorePath, Cached>,
}

/// The commands that led to the outputs.
pub(super) struct Ran {
    /// The command that evaluated the flake.
    pub evaluate: Vec<String>,
    /// The recipes from which the evaluation imported.
    pub imported: BTreeSet<StorePath>,
    /// The command that took paths from caches.
    pub substitute: Vec<String>,
    /// The command that built the rest.
    pub build: CommandSpec,
}

/// Runs everything that needs the daemon; it is dead when this returns.
pub(super) async fn with_daemon(
    plan: &Plan<'_>,
    folders: &Folders,
    inputs: &[PathBuf],
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<(Ran, Answers), ToolchainError> {
    let mut answers = None;
    let work =
        Box::pin(async { answers = Some(converse(plan, folders, inputs, context, log).await) });
    let daemon = plan.daemon(folders, DAEMON_TIME.saturating_add(context.limits.build));
    let socket = folders.socket();
    let served = context.runner.serve(&daemon, &socket, work).await?;
    match answers {
        Some(Ok(answers)) => Ok(answers),
        Some(Err(error)) => Err(explained(error, &served)),
        None => Err(ended_early(served)),
    }
}

/// Replaces the failure of a client by the cause that the daemon knows.
fn explained(error: ToolchainError, served: &Served) -> ToolchainError {
    match error {
        ToolchainError::Failed { phase, .. } if served.out_of_memory => {
            ToolchainError::OutOfMemory { phase }
        }
        // A builder with a fixed output fetches, by the daemon's network.
        ToolchainError::Failed {
            phase: Phase::Build,
            ..
        } if served.was_refused_an_address => ToolchainError::Failed {
            phase: Phase::Fetch,
            exit: Exit::RefusedAddress,
            said: None,
        },
        error => error,
    }
}

/// Returns the error for a daemon that ended before its clients.
fn ended_early(served: Served) -> ToolchainError {
    if served.out_of_memory {
        return ToolchainError::OutOfMemory {
            phase: Phase::Build,
        };
    }
    log::warn!("nix-daemon ended early: {}", served.message);
    NixError::Service {
        exit: served.end.unwrap_or(Exit::Status(0)),
    }
    .into()
}

/// Runs the daemon's clients, one after the other.
async fn converse(
    plan: &Plan<'_>,
    folders: &Folders,
    inputs: &[PathBuf],
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<(Ran, Answers), ToolchainError> {
    if !inputs.is_empty() {
        ask(&plan.add(folders, inputs), Phase::Inspect, context, log).await?;
        // The inputs are in the daemon's store now; both stores may be in memory.
        let fetched = folders.fetch.clone();
        blocking(move || remove_directory(&fetched)).await?;
    }
    let (ran, outputs, caches) = realise(plan, folders, context, log)
        .await
        .map_err(|error| error.within(context.limits.build))?;
    let list = ask(&plan.list(folders), Phase::Inspect, context, log).await?;
    let answers = Answers {
        outputs,
        paths: ledger::parse(list.answer())?,
        caches,
    };
    Ok((ran, answers))
}

/// Store paths by the names of outputs.
type Outputs = BTreeMap<String, StorePath>;

/// Evaluates the flake, downloads the paths that caches have, and builds the rest.
async fn realise(
    plan: &Plan<'_>,
    folders: &Folders,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<(Ran, Outputs, BTreeMap<StorePath, Cached>), ToolchainError> {
    let started = Instant::now();
    let left = || context.limits.build.saturating_sub(started.elapsed());
    let mut caches = BTreeMap::new();
    let mut realised = BTreeSet::new();
    let (evaluate, recipe, imported) = loop {
        let evaluate = plan.evaluate(folders, left());
        let mut progress = Progress::new(log, LogFilter::Evaluation);
        let exit = listen(&evaluate, &mut progress, context).await?;
        let imports: BTreeSet<_> = progress.imports().iter().cloned().collect();
        // It ends at the first import that is not there yet.
        let wanted = progress.imports().last().cloned();
        let has_failed = matches!(exit, Exit::Status(status) if status != 0);
        if let Some(wanted) = wanted.filter(|wanted| has_failed && !realised.contains(wanted)) {
            if realised.len() == MAX_IMPORTS {
                return Err(NixError::TooManyImports { limit: MAX_IMPORTS }.into());
            }
            let made = realise_recipe(plan, folders, &wanted, &left, context, log).await?;
            caches.extend(made.caches);
            realised.insert(wanted);
            continue;
        }
        judge(exit, Phase::Build, &progress)?;
        break (evaluate, read_recipe(progress.answer())?, imports);
    };
    let made = realise_recipe(plan, folders, &recipe, &left, context, log).await?;
    caches.extend(made.caches);
    let ran = Ran {
        evaluate: evaluate.argv,
        imported,
        substitute: made.substitute,
        build: made.build,
    };
    Ok((ran, made.outputs, caches))
}

/// The result of one recipe.
struct Made {
    outputs: Outputs,
    caches: BTreeMap<StorePath, Cached>,
    substitute: Vec<String>,
    build: CommandSpec,
}

/// Downloads what caches have of a recipe, and builds the rest.
async fn realise_recipe(
    plan: &Plan<'_>,
    folders: &Folders,
    recipe: &StorePath,
    left: &impl Fn() -> Duration,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<Made, ToolchainError> {
    let substitute = plan.substitute(folders, recipe, left());
    let caches = take_from_caches(&substitute, context, log).await?;
    let build = plan.build(folders, recipe, left());
    let progress = Progress::new(log, LogFilter::Unlisted);
    let built = judged(&build, Phase::Build, context, progress).await?;
    Ok(Made {
        outputs: read_outputs(built.answer())?,
        caches,
        substitute: substitute.argv,
        build,
    })
}

/// Downloads the paths that caches have, and returns the origin of each.
async fn take_from_caches(
    spec: &CommandSpec,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<BTreeMap<StorePath, Cached>, ToolchainError> {
    let mut progress = Progress::new(log, LogFilter::Terse);
    let exit = listen(spec, &mut progress, context).await?;
    match ToolchainError::of_exit(Phase::Build, exit) {
        // Nix complains that it may not build; the next step builds.
        Err(ToolchainError::Failed { .. })
            if progress.error_text().contains(CANNOT_BUILD) && !progress.has_refused_a_cache() => {}
        ended => ended?,
    }
    let redirects = redirects(&progress)?;
    let mut cached = BTreeMap::new();
    for (path, cache) in progress.caches() {
        let archive = progress.archives().get(path);
        if archive.is_none() && Endpoint::of(cache).is_some() {
            return Err(ToolchainError::UnreadableUrl {
                download: path.to_string(),
            });
        }
        cached.insert(path.clone(), origin(cache, archive, &redirects)?);
    }
    Ok(cached)
}

/// Returns the origin of a path that `cache` has; `archive` is the URL that nix requested.
fn origin(
    cache: &String,
    archive: Option<&String>,
    redirects: &Redirects,
) -> Result<Cached, ToolchainError> {
    let mut urls = Vec::new();
    if let Some(url) = archive {
        // The cache's description of a path can name another server for the archive.
        if !is_below(url, cache) {
            urls.push(url.clone());
        }
        urls.extend(redirects.get(url).into_iter().flatten().cloned());
    }
    let fetched_from = urls.last().map(|url| recordable(url)).transpose()?;
    refuse_plaintext([(cache, &urls)])?;
    Ok(Cached {
        cache: cache.clone(),
        fetched_from,
    })
}

/// Returns whether a URL is one of the files of a cache.
fn is_below(url: &str, cache: &str) -> bool {
    let cache = cache.split('?').next().unwrap_or_default();
    url.strip_prefix(cache.trim_end_matches('/'))
        .is_some_and(|rest| rest.starts_with('/'))
}

/// Returns the redirects of a client's downloads.
pub(super) fn redirects(progress: &Progress<'_>) -> Result<Redirects, ToolchainError> {
    progress
        .redirects()
        .map_err(|url| ToolchainError::UnreadableUrl {
            download: quoted(url),
        })
}

/// Runs a client, and returns its output.
///
/// # Errors
/// The client did not succeed.
pub(super) async fn ask<'a>(
    spec: &CommandSpec,
    phase: Phase,
    context: &Context<'_>,
    log: &'a mut dyn Log,
) -> Result<Progress<'a>, ToolchainError> {
    let progress = Progress::new(log, LogFilter::Plain);
    judged(spec, phase, context, progress).await
}

/// Runs a client, and judges how it ended.
async fn judged<'a>(
    spec: &CommandSpec,
    phase: Phase,
    context: &Context<'_>,
    mut progress: Progress<'a>,
) -> Result<Progress<'a>, ToolchainError> {
    let exit = listen(spec, &mut progress, context).await?;
    judge(exit, phase, &progress)?;
    Ok(progress)
}

/// Turns an error of nix into the one that clients of the appliance know.
fn judge(exit: Exit, phase: Phase, progress: &Progress<'_>) -> Result<(), ToolchainError> {
    let errors = progress.error_text();
    let complains = |text| errors.contains(text);
    match ToolchainError::of_exit(phase, exit) {
        Ok(()) => Ok(()),
        Err(ToolchainError::Failed { .. })
            if complains(OUTDATED) || progress.unlocked_input().is_some() =>
        {
            let input = progress.unlocked_input().map(str::to_owned);
            Err(NixError::FlakeLockOutdated { input }.into())
        }
        Err(ToolchainError::Failed { .. }) if INPUT_HASH.into_iter().any(complains) => {
            Err(NixError::InputHashByNix.into())
        }
        Err(ToolchainError::Failed { .. }) if lacks_output(progress.untraced_errors()) => {
            Err(NixError::NoDefaultPackage.into())
        }
        Err(ToolchainError::Failed {
            phase: Phase::Build,
            ..
        }) if !progress.has_begun_to_realise() => Err(NixError::Evaluation {
            said: first_error(progress),
        }
        .into()),
        Err(error) => Err(error.saying(first_error(progress))),
    }
}

/// Returns whether one of nix's own errors is that the source lacks an output. A flake that throws
/// these words has failed, and does not give way to cargo.
fn lacks_output<'e>(mut untraced_errors: impl Iterator<Item = &'e str>) -> bool {
    let of_the_source = format!("flake 'path:{SOURCE}");
    untraced_errors.any(|error| {
        let first_line = error.lines().next().unwrap_or_default();
        first_line.starts_with(&of_the_source) && first_line.contains(NO_OUTPUT)
    })
}

/// Returns the first error that nix reports, on one line of limited length.
fn first_error(progress: &Progress<'_>) -> Option<String> {
    let mut complaint = Complaint::default();
    complaint.take(format!("error: {}\n", progress.error_text()).as_bytes());
    complaint.text().filter(|text| text != "error:")
}

/// Runs a client while `progress` reads its output, and returns how it ended.
async fn listen(
    spec: &CommandSpec,
    progress: &mut Progress<'_>,
    context: &Context<'_>,
) -> Result<Exit, ToolchainError> {
    let exit = context.runner.run(spec, progress).await;
    if progress.answer_is_too_long() {
        return Err(ToolchainError::AnswerTooLong {
            tool: "nix",
            limit: MAX_ANSWER_BYTES,
        });
    }
    progress.finish()?;
    Ok(exit?)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BuiltDerivation {
    drv_path: String,
    outputs: BTreeMap<String, String>,
}

/// Reads the output of `nix build --json` for exactly one derivation.
fn read_derivation(answer: &[u8]) -> Result<BuiltDerivation, ToolchainError> {
    let built: Result<[BuiltDerivation; 1], _> = serde_json::from_slice(answer);
    let [derivation] = built.map_err(|_| ToolchainError::Answer { tool: "nix build" })?;
    Ok(derivation)
}

/// Returns the recipe of that derivation.
fn read_recipe(answer: &[u8]) -> Result<StorePath, ToolchainError> {
    let recipe = StorePath::parse(&read_derivation(answer)?.drv_path);
    recipe.map_err(|_| ToolchainError::Answer { tool: "nix build" })
}

/// Returns the outputs of that derivation.
fn read_outputs(answer: &[u8]) -> Result<Outputs, ToolchainError> {
    let mut outputs = Outputs::new();
    for (name, path) in read_derivation(answer)?.outputs {
        let Ok(path) = StorePath::parse(&path) else {
            return Err(ToolchainError::Answer { tool: "nix build" });
        };
        outputs.insert(name, path);
    }
    Ok(outputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/nix/store/hxdcrmdp9kr6x4ai5h1iyd9mpg0inv36-hello";

    #[test]
    fn only_a_missing_output_is_one() {
        let flake = "flake 'path:/kettle/source?lastModified=0' does not provide attribute";
        let missing = format!("{flake} 'packages.x86_64-linux.default'\nDid you mean x?");
        assert!(lacks_output(["x", &missing].into_iter()));
        let quoted = format!("evaluation aborted with the following error message: 'x\n{missing}'");
        for other in [
            &quoted,
            "my-flake: the system x86_64-linux does not provide attribute 'x'",
            "flake 'github:o/r' does not provide attribute 'x'",
            "attribute 'x' missing",
        ] {
            assert!(!lacks_output([other].into_iter()), "{other}");
        }
    }

    #[test]
    fn outputs_are_those_of_one_derivation() {
        let one = format!(
            r#"{{"drvPath":"/nix/store/x.drv","outputs":{{"out":"{PATH}"}},"startTime":1}}"#
        );
        let read = |text: &str| read_outputs(text.as_bytes());
        assert_eq!(read(&format!("[{one}]")).unwrap()["out"].to_string(), PATH);
        for wrong in [
            "[]",
            &format!("[{one},{one}]"),
            "",
            r#"[{"drvPath":"x","outputs":{"out":"/etc/passwd"}}]"#,
            r#"[{"drvPath":"x","outputs":{"out":null}}]"#,
            r#"[{"outputs":{}}]"#,
        ] {
            assert!(
                matches!(read(wrong), Err(ToolchainError::Answer { .. })),
                "{wrong}"
            );
        }
    }
}
