//! Everything that happens while the daemon runs. Comes in: plans. Goes out: [`Answers`], when everybody is dead. Never: an
//! answer that was not read as what it should be.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::blocking::blocking;
use crate::sandbox::paths::SOURCE;
use crate::sandbox::{CommandSpec, Exit, Served, remove_folder};
use crate::source::redirect::{Endpoint, quoted};
use crate::toolchain::complaint::Complaint;
use crate::toolchain::{Context, Log, Phase, ToolchainError};

use super::NixError;
use super::downloads::Redirects;
use super::ledger::{self, Cached, PathInfo};
use super::plan::{Folders, Plan};
use super::progress::{CANNOT_BUILD, MAX_ANSWER_BYTES, Manner, Progress};
use super::store_path::StorePath;
use super::{recordable, refuse_plaintext};

/// What nix says when it would have to change the lockfile.
const OUTDATED: &str = "requires lock file changes but they're not allowed";

/// What nix says when an input has another hash.
const INPUT_HASH: [&str; 2] = [
    "NAR hash mismatch in input",
    "mismatch in field 'narHash' of input",
];

/// How nix says that a flake lacks an output.
const NO_OUTPUT: &str = "does not provide attribute";

/// What the daemon may take beside the build itself: each of its clients has a limit of its own.
const DAEMON_TIME: Duration = Duration::from_secs(30 * 60);

/// What nix said while the daemon ran.
pub(super) struct Answers {
    /// Name to place, `out` among them as a rule.
    pub outputs: Outputs,
    /// All that the store holds.
    pub paths: Vec<PathInfo>,
    /// Paths that came from a cache, and from where.
    pub caches: BTreeMap<StorePath, Cached>,
}

/// The commands that led to the outputs.
pub(super) struct Ran {
    /// The command that evaluated the flake.
    pub evaluate: Vec<String>,
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
    let Served {
        end,
        out_of_memory,
        message,
        was_refused_an_address,
    } = context
        .runner
        .serve(&daemon, &folders.socket(), work)
        .await?;
    match answers {
        Some(Ok(answers)) => Ok(answers),
        Some(Err(ToolchainError::Failed { phase, .. })) if out_of_memory => {
            Err(ToolchainError::OutOfMemory { phase })
        }
        // A builder with a fixed output fetches, by the daemon's network.
        Some(Err(ToolchainError::Failed {
            phase: Phase::Build,
            ..
        })) if was_refused_an_address => Err(ToolchainError::Failed {
            phase: Phase::Fetch,
            exit: Exit::RefusedAddress,
            said: None,
        }),
        Some(Err(error)) => Err(error),
        None if out_of_memory => Err(ToolchainError::OutOfMemory {
            phase: Phase::Build,
        }),
        None => {
            log::warn!("nix-daemon ended: {message}");
            Err(NixError::Service {
                exit: end.unwrap_or(Exit::Status(0)),
            }
            .into())
        }
    }
}

async fn converse(
    plan: &Plan<'_>,
    folders: &Folders,
    inputs: &[PathBuf],
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<(Ran, Answers), ToolchainError> {
    if !inputs.is_empty() {
        ask(&plan.add(folders, inputs), Phase::Inspect, context, log).await?;
        // They are in the daemon's store now, and the place for both may be memory.
        let fetched = folders.fetch.clone();
        blocking(move || remove_folder(&fetched)).await?;
    }
    let realised = realise(plan, folders, context, log)
        .await
        .map_err(|error| error.within(context.limits.build));
    let (ran, outputs, caches) = realised?;
    let paths = ledger::parse(
        ask(&plan.list(folders), Phase::Inspect, context, log)
            .await?
            .answer(),
    )?;
    Ok((
        ran,
        Answers {
            outputs,
            paths,
            caches,
        },
    ))
}

/// Paths by the names of outputs.
type Outputs = BTreeMap<String, StorePath>;

/// Evaluates, takes from caches what they have, and builds the rest.
async fn realise(
    plan: &Plan<'_>,
    folders: &Folders,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<(Ran, Outputs, BTreeMap<StorePath, Cached>), ToolchainError> {
    let started = Instant::now();
    let left = || context.limits.build.saturating_sub(started.elapsed());
    let evaluate = plan.evaluate(folders, left());
    let said = hear(
        &evaluate,
        Phase::Build,
        context,
        Progress::new(log, Manner::Unlisted),
    )
    .await?;
    let recipe = read_recipe(said.answer())?;
    let substitute = plan.substitute(folders, &recipe, left());
    let caches = take_from_caches(&substitute, context, log).await?;
    let build = plan.build(folders, &recipe, left());
    let said = hear(
        &build,
        Phase::Build,
        context,
        Progress::new(log, Manner::Unlisted),
    )
    .await?;
    let outputs = read_outputs(said.answer())?;
    Ok((
        Ran {
            evaluate: evaluate.argv,
            substitute: substitute.argv,
            build,
        },
        outputs,
        caches,
    ))
}

/// Takes from caches what they have, and finds out from where it came: through which URLs, beginning with the cache's.
async fn take_from_caches(
    spec: &CommandSpec,
    context: &Context<'_>,
    log: &mut dyn Log,
) -> Result<BTreeMap<StorePath, Cached>, ToolchainError> {
    let mut progress = Progress::new(log, Manner::Terse);
    let exit = listen(spec, &mut progress, context).await?;
    match ToolchainError::of_exit(Phase::Build, exit) {
        // Something has to be built, which this step may not do.
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
        let redirected = archive.and_then(|url| redirects.get(url));
        // The description of a path can name another server for its archive.
        let elsewhere = archive.filter(|url| !is_below(url, cache));
        let urls: Vec<_> = elsewhere
            .into_iter()
            .chain(redirected.into_iter().flatten())
            .cloned()
            .collect();
        let fetched_from = urls.last().map(|url| recordable(url)).transpose()?;
        refuse_plaintext([(cache, &urls)])?;
        cached.insert(
            path.clone(),
            Cached {
                cache: cache.clone(),
                fetched_from,
            },
        );
    }
    Ok(cached)
}

/// Whether a URL is one of the files of a cache.
fn is_below(url: &str, cache: &str) -> bool {
    let cache = cache.split('?').next().unwrap_or_default();
    url.strip_prefix(cache.trim_end_matches('/'))
        .is_some_and(|rest| rest.starts_with('/'))
}

/// Where a client's downloads were redirected to.
pub(super) fn redirects(said: &Progress<'_>) -> Result<Redirects, ToolchainError> {
    said.redirects()
        .map_err(|url| ToolchainError::UnreadableUrl {
            download: quoted(url),
        })
}

/// Runs a client.
pub(super) async fn ask<'a>(
    spec: &CommandSpec,
    phase: Phase,
    context: &Context<'_>,
    log: &'a mut dyn Log,
) -> Result<Progress<'a>, ToolchainError> {
    hear(spec, phase, context, Progress::new(log, Manner::Plain)).await
}

/// Runs a client, and returns what it said.
async fn hear<'a>(
    spec: &CommandSpec,
    phase: Phase,
    context: &Context<'_>,
    mut progress: Progress<'a>,
) -> Result<Progress<'a>, ToolchainError> {
    let exit = listen(spec, &mut progress, context).await?;
    let complains = |text| progress.error_text().contains(text);
    match ToolchainError::of_exit(phase, exit) {
        Ok(()) => Ok(progress),
        Err(ToolchainError::Failed { .. }) if complains(OUTDATED) => {
            Err(NixError::FlakeLockOutdated.into())
        }
        Err(ToolchainError::Failed { .. }) if INPUT_HASH.into_iter().any(complains) => {
            Err(NixError::InputHashByNix.into())
        }
        Err(ToolchainError::Failed { .. }) if lacks_output(&progress.error_text()) => {
            Err(NixError::NoDefaultPackage.into())
        }
        Err(ToolchainError::Failed {
            phase: Phase::Build,
            ..
        }) if !progress.has_begun_to_realise() => Err(NixError::Evaluation {
            said: first_error(&progress),
        }
        .into()),
        Err(error) => Err(error.saying(first_error(&progress))),
    }
}

/// Whether nix says that there is no such output, and not the flake something like it.
fn lacks_output(errors: &str) -> bool {
    let of_the_source = format!("flake 'path:{SOURCE}");
    let is_it = |line: &str| line.starts_with(&of_the_source) && line.contains(NO_OUTPUT);
    errors.lines().any(is_it)
}

fn first_error(progress: &Progress<'_>) -> Option<String> {
    let mut complaint = Complaint::default();
    complaint.take(format!("error: {}\n", progress.error_text()).as_bytes());
    complaint.text().filter(|text| text != "error:")
}

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

/// What `nix build --json` says of the one derivation that was asked for.
fn read_derivation(answer: &[u8]) -> Result<BuiltDerivation, ToolchainError> {
    let built: Option<Vec<BuiltDerivation>> = serde_json::from_slice(answer).ok();
    let one = built.and_then(|built| <[_; 1]>::try_from(built).ok());
    one.map(|[derivation]| derivation)
        .ok_or(ToolchainError::Answer { tool: "nix build" })
}

/// The recipe of that derivation.
fn read_recipe(answer: &[u8]) -> Result<StorePath, ToolchainError> {
    let recipe = StorePath::parse(&read_derivation(answer)?.drv_path);
    recipe.map_err(|_| ToolchainError::Answer { tool: "nix build" })
}

/// The outputs of that derivation.
fn read_outputs(answer: &[u8]) -> Result<Outputs, ToolchainError> {
    let unreadable = || ToolchainError::Answer { tool: "nix build" };
    let outputs = read_derivation(answer)?.outputs;
    let parse =
        |(name, path): (&String, &String)| Some((name.clone(), StorePath::parse(path).ok()?));
    outputs
        .iter()
        .map(parse)
        .collect::<Option<_>>()
        .ok_or_else(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/nix/store/hxdcrmdp9kr6x4ai5h1iyd9mpg0inv36-hello";

    #[test]
    fn only_a_missing_output_is_one() {
        let flake = "flake 'path:/kettle/source?lastModified=0' does not provide attribute";
        let missing = format!("x\n{flake} 'packages.x86_64-linux.default'");
        assert!(lacks_output(&missing));
        for other in [
            "my-flake: the system x86_64-linux does not provide attribute 'x'",
            "flake 'github:o/r' does not provide attribute 'x'",
            "attribute 'x' missing",
        ] {
            assert!(!lacks_output(other), "{other}");
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
