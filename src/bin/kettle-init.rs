//! The service. `kettle-init serve` runs it on an ordinary host, for development; PID 1 of the image is the same program.

use std::error::Error;
use std::fs;
use std::future::poll_fn;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use kettle::api::limits::Limit;
use kettle::api::submission::Intake;
use kettle::api::{self, HostName, Listeners, Premises, Service, Session, TlsIdentity};
use kettle::attester::{AttestError, Attester, GuestDevice};
use kettle::boot;
use kettle::causes::Chain;
use kettle::digest::Sha256Digest;
use kettle::job::{Pipeline, Slot};
use kettle::provenance::{ImageRecord, NamedDigest, Platform, REPORT_DATA_BYTES, sha256_set};
use kettle::sandbox::{self, Cidr, NetworkTrial, ParseCidrError, Runner};
#[cfg(feature = "simulator")]
use kettle::simulator::Processor;
use kettle::snp::measurement::LaunchMeasurement;
use kettle::text;
use kettle::toolchain::nix::Nix;
use kettle::toolchain::{Limits, Toolchain};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{LocalSet, spawn_local};

/// Exit status for a command line that cannot be understood.
const USAGE: u8 = 2;

/// Our files are readable by all, writable by us.
const UMASK: u32 = 0o022;

const HELP: &str = "\
kettle-init: builds one source, and says from what

Usage: kettle-init serve --listen ADDR:PORT --tls-listen ADDR:PORT --work DIR [OPTIONS]

Serves the HTTP API on this host: one build, then downloads. On an ordinary host there is no evidence, and
provenance says so in its builder id. Prints `listening on http://ADDR:PORT` and the same for https once it serves.

Options:
  --listen ADDR:PORT      HTTP in plaintext, on a loopback address; port 0 takes a free port
  --expose-plaintext      lets --listen have an address that other machines reach: whoever is on the way reads sources
                          and results, and changes them
  --tls-listen ADDR:PORT  HTTPS, with a key made at start; port 0 takes a free port
  --host NAME             a DNS name that clients reach it by, beside addresses and localhost; can be repeated
  --work DIR              folder for uploads, the build and its results; made if it is missing
  --toolchain DIR         Rust sysroot to build with; without it, the one that rustc of PATH belongs to
  --nix-root DIR          root of a system with nix 2.34.8 or newer, for flakes; without it there are none; needs root
  --nix-conf DIR          nix.conf, passwd and group for it (default: etc/nix of that system)
  --allow-network CIDR    a range of addresses that phases which fetch may reach although it is not public, a loopback
                          registry's for instance (127.0.0.0/8); can be repeated; every statement names it
  --build-seconds N       limit of the build's wall-clock time
  --fetch-seconds N       limit of the wall-clock time for fetching dependencies
  -h, --help              this text, with every limit
  -V, --version           the version

Environment: RUST_LOG sets what is logged to standard error (error, warn, info, debug).
Exit status: 0 ended by SIGTERM or SIGINT, 1 could not start, 2 wrong usage.
";

/// What the help says beside it in a binary that is never shipped.
const SIMULATOR_HELP: &str = if cfg!(feature = "simulator") {
    "
With a simulated secure processor, trusted by nobody:
  --simulator DIR         sign with the processor that `kettle-simulator keys --out DIR` made
"
} else {
    ""
};

/// `serve`, understood.
struct Serve {
    listen: SocketAddr,
    tls_listen: SocketAddr,
    premises: Premises,
    work: PathBuf,
    toolchain: Option<PathBuf>,
    nix_root: Option<PathBuf>,
    nix_conf: Option<PathBuf>,
    limits: Limits,
    /// What phases that fetch reach beside public addresses.
    allowed: Vec<Cidr>,
    /// Folder of a simulated secure processor.
    #[cfg(feature = "simulator")]
    simulator: Option<PathBuf>,
}

enum Command {
    Help,
    Version,
    Serve(Box<Serve>),
}

/// What statements say of the machine, and who vouches for it.
struct Standing {
    platform: Platform,
    attester: Option<Arc<dyn Attester>>,
    measurement: Option<LaunchMeasurement>,
}

impl Standing {
    fn unattested(platform: Platform) -> Self {
        Self { platform, attester: None, measurement: None }
    }

    /// An attester that is there has to work before the first build is accepted: its first report is about nothing.
    fn attested(platform: Platform, attester: impl Attester + 'static) -> Result<Self, AttestError> {
        let measurement = attester.attest(&[0; REPORT_DATA_BYTES])?.report.measurement();
        Ok(Self { platform, attester: Some(Arc::new(attester)), measurement: Some(measurement) })
    }
}

/// What is wrong with a command line.
#[derive(Debug, thiserror::Error)]
enum UsageError {
    #[error("a command is needed")]
    NoCommand,
    #[error("{0:?} is not known")]
    Unknown(String),
    #[error("{0} is needed")]
    Missing(&'static str),
    #[error(
        "--listen {0} is reached by other machines, in plaintext: take a loopback address, or say --expose-plaintext too"
    )]
    ExposedPlaintext(SocketAddr),
    #[error("--nix-conf is of no use without --nix-root")]
    ConfigurationAlone,
    #[error("{0} is given twice")]
    Repeated(String),
    #[error("{option} {value:?} is not {expected}")]
    Value { option: String, value: String, expected: &'static str },
    #[error("--allow-network {value:?}")]
    Network { value: String, source: ParseCidrError },
    #[error("{0} needs a value")]
    NoValue(String),
}

/// In the image every address is ours, and the ports are the protocols' own.
const IMAGE_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 80);
const IMAGE_TLS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 443);
/// The sysroot of the image.
const IMAGE_TOOLCHAIN: &str = "/usr";
/// The configuration of nix, below the root that has it.
const NIX_CONFIGURATION: &str = "etc/nix";

/// Why PID 1 ends, beside what every service can end by.
#[derive(Debug, thiserror::Error)]
enum ImageError {
    #[error("the sandbox of this image is weaker than it should be: {name}: {reason}")]
    Degraded { name: &'static str, reason: String },
    #[error("the service ended")]
    Ended,
}

fn main() -> ExitCode {
    if std::process::id() == 1 {
        be_the_machine()
    }
    match parse(std::env::args().skip(1)) {
        Ok(Command::Help) => print(&format!("{HELP}{SIMULATOR_HELP}\nLimits:\n{}", limits())),
        Ok(Command::Version) => print(concat!("kettle-init ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Serve(serve)) => {
            log_to_standard_error();
            run(&serve).map_or_else(|error| complain(&*error), |()| ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("kettle-init: {}; see kettle-init --help", Chain(&error));
            ExitCode::from(USAGE)
        }
    }
}

/// Starts the service's own log. Records quote what tools and clients say: each is one line, in which nothing is hidden.
fn log_to_standard_error() {
    let mut builder = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"));
    let in_one_line = |record: &log::Record<'_>| text::inert(&record.args().to_string());
    builder.format(move |out, record| {
        writeln!(out, "[{:<5} {}] {}", record.level(), record.target(), in_one_line(record))
    });
    builder.init();
}

fn print(text: &str) -> ExitCode {
    // A reader that went away is no error of ours.
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn complain(error: &(dyn Error + 'static)) -> ExitCode {
    eprintln!("kettle-init: {}", Chain(error));
    ExitCode::FAILURE
}

fn limits() -> String {
    let line = |limit: Limit| format!("  {:<24} {:<12} {}\n", limit.name, limit.value, limit.meaning);
    api::limits::all().into_iter().map(line).collect()
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Command, UsageError> {
    match words.next().as_deref() {
        None => Err(UsageError::NoCommand),
        Some("-h" | "--help" | "help") => Ok(Command::Help),
        Some("-V" | "--version") => Ok(Command::Version),
        Some("serve") => parse_serve(words),
        Some(other) => Err(UsageError::Unknown(other.to_owned())),
    }
}

fn parse_serve(mut words: impl Iterator<Item = String>) -> Result<Command, UsageError> {
    let (mut listen, mut tls_listen, mut work, mut toolchain) = (None, None, None, None);
    let (mut build, mut fetch, mut nix_root, mut nix_conf) = (None, None, None, None);
    let (mut names, mut exposed) = (Vec::new(), false);
    let (mut allowed, mut range) = (Vec::new(), None);
    #[cfg(feature = "simulator")]
    let mut simulator = None;
    while let Some(word) = words.next() {
        if matches!(word.as_str(), "-h" | "--help") {
            return Ok(Command::Help);
        }
        let (option, inline) = match word.split_once('=') {
            Some((option, value)) => (option.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        if option == "--expose-plaintext" && inline.is_none() {
            exposed = true;
            continue;
        }
        if option == "--host" {
            names.push(host_name(option, inline.or_else(|| words.next()))?);
            continue;
        }
        let target = match option.as_str() {
            "--listen" => &mut listen,
            "--tls-listen" => &mut tls_listen,
            "--work" => &mut work,
            "--toolchain" => &mut toolchain,
            "--nix-root" => &mut nix_root,
            "--nix-conf" => &mut nix_conf,
            "--allow-network" => &mut range,
            "--build-seconds" => &mut build,
            "--fetch-seconds" => &mut fetch,
            #[cfg(feature = "simulator")]
            "--simulator" => &mut simulator,
            _ => return Err(UsageError::Unknown(option)),
        };
        let value = inline.or_else(|| words.next()).ok_or_else(|| UsageError::NoValue(option.clone()))?;
        if target.replace(value).is_some() {
            return Err(UsageError::Repeated(option));
        }
        allowed.extend(range.take().map(network).transpose()?);
    }
    if nix_conf.is_some() && nix_root.is_none() {
        return Err(UsageError::ConfigurationAlone);
    }
    let defaults = Limits::default();
    let listen = address("--listen", listen)?;
    if !listen.ip().is_loopback() && !exposed {
        return Err(UsageError::ExposedPlaintext(listen));
    }
    Ok(Command::Serve(Box::new(Serve {
        listen,
        premises: Premises::Host { names },
        tls_listen: address("--tls-listen", tls_listen)?,
        work: work.ok_or(UsageError::Missing("--work"))?.into(),
        toolchain: toolchain.map(PathBuf::from),
        nix_root: nix_root.map(PathBuf::from),
        nix_conf: nix_conf.map(PathBuf::from),
        limits: Limits {
            build: seconds("--build-seconds", build, defaults.build)?,
            fetch: seconds("--fetch-seconds", fetch, defaults.fetch)?,
        },
        allowed,
        #[cfg(feature = "simulator")]
        simulator: simulator.map(PathBuf::from),
    })))
}

fn address(option: &'static str, value: Option<String>) -> Result<SocketAddr, UsageError> {
    let value = value.ok_or(UsageError::Missing(option))?;
    value.parse().map_err(|_| UsageError::Value { option: option.to_owned(), value, expected: "an ADDR:PORT" })
}

fn host_name(option: String, value: Option<String>) -> Result<HostName, UsageError> {
    let Some(value) = value else { return Err(UsageError::NoValue(option)) };
    HostName::parse(&value).ok_or(UsageError::Value { option, value, expected: "a DNS name without a port" })
}

fn network(value: String) -> Result<Cidr, UsageError> {
    value.parse().map_err(|source| UsageError::Network { value, source })
}

fn seconds(option: &'static str, value: Option<String>, default: Duration) -> Result<Duration, UsageError> {
    let Some(value) = value else { return Ok(default) };
    match value.parse() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(UsageError::Value { option: option.to_owned(), value, expected: "a number of seconds" }),
    }
}

/// PID 1: boots, serves on a thread of its own, and collects orphans on this one; see `boot::collect_orphans`.
fn be_the_machine() -> ! {
    boot::halt_on_panic();
    let booted = boot::boot().unwrap_or_else(|error| boot::halt(&error));
    let boot::Booted { parameters, network } = booted;
    let service = move || match serve_image(&parameters, network) {
        Ok(()) => boot::halt(&ImageError::Ended),
        Err(error) => boot::halt(&*error),
    };
    if let Err(error) = std::thread::Builder::new().name("service".to_owned()).spawn(service) {
        boot::halt(&error)
    }
    boot::collect_orphans()
}

/// The service of the booted image. It logs nothing: the console belongs to the host, and what a log says is for clients.
fn serve_image(parameters: &boot::Parameters, network: boot::PendingNetwork) -> Result<(), Box<dyn Error>> {
    let trial = NetworkTrial::start(&[]);
    let root = Path::new("/");
    let nix = Nix::find(root, &root.join(NIX_CONFIGURATION))?;
    let toolchain = Toolchain::find(Some(Path::new(IMAGE_TOOLCHAIN)))?.with_nix(nix);
    let serve = Serve {
        listen: IMAGE_LISTEN,
        tls_listen: IMAGE_TLS_LISTEN,
        premises: Premises::Image,
        work: boot::WORK.into(),
        toolchain: None,
        nix_root: None,
        nix_conf: None,
        limits: Limits::default(),
        allowed: Vec::new(),
        #[cfg(feature = "simulator")]
        simulator: None,
    };
    let named = |name: &str, digest| NamedDigest { name: name.to_owned(), digest: sha256_set(&digest) };
    let standing = image_standing(ImageRecord {
        version: parameters.version.clone(),
        root_hash: hex::encode(parameters.root_hash),
        kernel: named("kernel", Sha256Digest::from_bytes(parameters.kernel)),
        initrd: named("initrd", Sha256Digest::from_bytes(parameters.initrd)),
        command_line: named("cmdline", Sha256Digest::of(parameters.command_line.as_bytes())),
    })?;
    start(&serve, trial, toolchain, Path::new(boot::WORK), standing, || Ok(network.wait()?))
}

/// What the image may say of itself.
fn image_standing(image: ImageRecord) -> Result<Standing, AttestError> {
    match GuestDevice::take()? {
        None => Ok(Standing::unattested(Platform::unattested(image))),
        Some(device) => Standing::attested(Platform::attested(image), device),
    }
}

/// What a host may say of itself.
#[cfg(not(feature = "simulator"))]
fn host_standing(_: &Serve) -> Result<Standing, Box<dyn Error>> {
    Ok(Standing::unattested(Platform::HOST))
}

/// What a host may say of itself, beside a simulated secure processor where that is wanted.
#[cfg(feature = "simulator")]
fn host_standing(serve: &Serve) -> Result<Standing, Box<dyn Error>> {
    Ok(match &serve.simulator {
        None => Standing::unattested(Platform::HOST),
        Some(folder) => Standing::attested(Platform::SIMULATED, Processor::open(folder)?)?,
    })
}

/// Sets everything up that can fail, in the order in which threads, mounts and users allow it, and serves.
fn run(serve: &Serve) -> Result<(), Box<dyn Error>> {
    // Sandboxes under another uid read what we make for them.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(UMASK));
    let toolchain = Toolchain::find(serve.toolchain.as_deref())?;
    let nix = find_nix(serve)?;
    fs::create_dir_all(&serve.work)?;
    let work = serve.work.canonicalize()?;
    let machine_toolchain = toolchain.mount().map(|mount| mount.source);
    let of_nix = nix.iter().flat_map(Nix::places);
    let folders: Vec<_> = machine_toolchain.as_deref().into_iter().chain(of_nix).collect();
    let entered = sandbox::enter_private_mounts(&work, &folders)?;
    let mut seen = entered.folders.into_iter();
    let toolchain = match machine_toolchain.and_then(|_| seen.next()) {
        Some(path) => toolchain.seen_at(path),
        None => toolchain,
    };
    let toolchain = match (nix, seen.next(), seen.next()) {
        (Some(nix), Some(root), Some(configuration)) => toolchain.with_nix(nix.seen_at(root, configuration)),
        _ => toolchain,
    };
    // A thread keeps the mounts that there were when it began.
    let trial = NetworkTrial::start(&serve.allowed);
    start(serve, trial, toolchain, &entered.work, host_standing(serve)?, || Ok(()))
}

/// The nix of this host, if it is to have one.
fn find_nix(serve: &Serve) -> Result<Option<Nix>, Box<dyn Error>> {
    let Some(root) = &serve.nix_root else { return Ok(None) };
    if !rustix::process::geteuid().is_root() {
        return Err("--nix-root needs root: nobody else can give a namespace more than one user".into());
    }
    let root = root.canonicalize()?;
    let configuration = match &serve.nix_conf {
        Some(folder) => folder.canonicalize()?,
        None => root.join(NIX_CONFIGURATION),
    };
    Ok(Some(Nix::find(&root, &configuration)?))
}

/// Prepares and serves; `network` returns once there is one to listen on.
fn start(
    serve: &Serve,
    trial: NetworkTrial,
    toolchain: Toolchain,
    work: &Path,
    standing: Standing,
    network: impl FnOnce() -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serving = LocalSet::new();
    let uploads = serving.block_on(&runtime, serve_until_told(serve, trial, toolchain, work, standing, network))?;
    // Waits for who may be removing the same files: the two would get into each other's way.
    drop((serving, runtime));
    let removed = fs::remove_dir_all(uploads);
    Ok(removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?)
}

/// Gives the folder of uploads, which nobody needs any more.
async fn serve_until_told(
    serve: &Serve,
    trial: NetworkTrial,
    toolchain: Toolchain,
    work: &Path,
    standing: Standing,
    network: impl FnOnce() -> Result<(), Box<dyn Error>>,
) -> Result<PathBuf, Box<dyn Error>> {
    let runner = Runner::after(trial)?;
    for degradation in &runner.description().degradations {
        if standing.platform.image.is_some() {
            return Err(ImageError::Degraded { name: degradation.name, reason: degradation.reason.to_string() }.into());
        }
        log::warn!("the sandbox is weaker here: {}: {}", degradation.name, degradation.reason);
    }
    let uploads = work.join(format!("intake-{}", std::process::id()));
    let intake = Intake::open(uploads.clone())?;
    let about = about(&standing);
    let Standing { platform, attester, .. } = standing;
    let pipeline = Pipeline::new(runner, toolchain, serve.limits, uploads.clone(), platform, attester.clone());
    pipeline.warm_up();
    let identity = TlsIdentity::generate()?;
    let session = attester.map(|attester| Session::new(attester, identity.public_key().to_vec()));
    // Nothing else has anything to do until then.
    network()?;
    let listeners = Listeners::bind(serve.listen, serve.tls_listen, identity).await?;
    let addresses = listeners.addresses()?;
    let slot = Arc::new(Slot::new(work.to_owned(), about));
    let service = Service::new(slot, Box::new(intake), Box::new(pipeline), serve.premises.clone());
    let service = Rc::new(match session {
        Some(session) => service.with_session(session),
        None => service,
    });
    print(&format!("listening on http://{}\nlistening on https://{}\n", addresses.clear, addresses.tls));
    let serving = spawn_local(api::serve(listeners, service));
    told_to_end().await?;
    serving.abort();
    Ok(uploads)
}

fn about(standing: &Standing) -> String {
    let place = match &standing.platform.image {
        None => "on an ordinary host".to_owned(),
        Some(image) => format!("in the image with root hash {}", image.root_hash),
    };
    let measurement = standing.measurement.map_or_else(|| "none: no evidence".to_owned(), |found| found.to_string());
    format!("kettle-init {} {place}, launch measurement {measurement}", env!("CARGO_PKG_VERSION"))
}

/// Waits for SIGTERM or SIGINT.
async fn told_to_end() -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    poll_fn(|cx| match (terminate.poll_recv(cx), interrupt.poll_recv(cx)) {
        (Poll::Pending, Poll::Pending) => Poll::Pending,
        _ => Poll::Ready(()),
    })
    .await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &str) -> Result<Command, UsageError> {
        parse(words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn serve_takes_values_in_both_forms() {
        let words = "serve --listen=127.0.0.1:0 --tls-listen [::1]:443 --work w --build-seconds 5";
        let Ok(Command::Serve(serve)) = parse_words(words) else { panic!("{words}") };
        assert_eq!((serve.listen.port(), serve.tls_listen.port()), (0, 443));
        assert!(serve.allowed.is_empty(), "public addresses only");
        assert_eq!(serve.limits, Limits { build: Duration::from_secs(5), ..Limits::default() });
    }

    #[test]
    fn plaintext_for_other_machines_has_to_be_asked_for() {
        for address in ["0.0.0.0:80", "[::]:80", "192.0.2.1:80", "[::ffff:127.0.0.1]:80"] {
            let words = format!("serve --listen {address} --tls-listen 0.0.0.0:443 --work w");
            assert!(matches!(parse_words(&words), Err(UsageError::ExposedPlaintext(_))), "{words}");
            let told = format!("{words} --expose-plaintext");
            assert!(matches!(parse_words(&told), Ok(Command::Serve(_))), "{told}");
        }
    }

    #[test]
    fn names_of_the_host_are_dns_names_and_can_be_several() {
        let all = "serve --listen 127.0.0.1:0 --tls-listen 127.0.0.1:0 --work w";
        let Ok(Command::Serve(serve)) = parse_words(&format!("{all} --host A.example --host=b")) else { panic!() };
        let names = ["a.example", "b"].map(|name| HostName::parse(name).unwrap()).to_vec();
        assert_eq!(serve.premises, Premises::Host { names });
        for value in ["", " a:80", " 127.0.0.1", "=", " http://a"] {
            assert!(parse_words(&format!("{all} --host{value}")).is_err(), "{value}");
        }
    }

    #[test]
    fn networks_are_allowed_one_by_one() {
        let words = "serve --listen=127.0.0.1:0 --tls-listen [::1]:443 --work w --allow-network 127.0.0.0/8 \
            --allow-network=10.1.0.0/16";
        let Ok(Command::Serve(serve)) = parse_words(words) else { panic!("{words}") };
        let allowed: Vec<_> = serve.allowed.iter().map(ToString::to_string).collect();
        assert_eq!(allowed, ["127.0.0.0/8", "10.1.0.0/16"]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let all = "--listen 127.0.0.1:0 --tls-listen 127.0.0.1:0 --work w";
        for words in [
            String::new(),
            "build".to_owned(),
            "serve".to_owned(),
            "serve --listen 127.0.0.1:0 --work w".to_owned(),
            "serve --listen localhost --tls-listen 127.0.0.1:0 --work w".to_owned(),
            format!("serve {all} --work x"),
            format!("serve {all} --debug"),
            format!("serve {all} --build-seconds 0"),
            format!("serve {all} --build-seconds"),
            format!("serve {all} --nix-conf c"),
            format!("serve {all} --allow-network 10.0.0.0"),
            format!("serve {all} --allow-network 10.0.0.1/8"),
            format!("serve {all} --allow-network"),
        ] {
            assert!(parse_words(&words).is_err(), "{words}");
        }
    }
}
