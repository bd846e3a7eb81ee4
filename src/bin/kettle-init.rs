//! PID 1 of the image: boots the machine, runs the service, and is nothing else. On a host there is `kettle-host`.

use std::error::Error;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use kettle::api::Premises;
use kettle::attester::{AttestError, GuestDevice};
use kettle::boot;
use kettle::digest::Sha256Digest;
use kettle::provenance::{ImageRecord, NamedDigest, Platform, sha256_set};
use kettle::sandbox::{NetworkTrial, Runner};
use kettle::service::{Prepared, Settings, Standing};
use kettle::toolchain::nix::{self, Nix};
use kettle::toolchain::{Limits, Toolchain};

/// Exit status of a process that is not PID 1.
const NOT_PID_1: u8 = 2;

/// In the image every address is ours, and the ports are the protocols' own.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 80);
const TLS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 443);
/// The sysroot of the image.
const TOOLCHAIN: &str = "/usr";

/// Why PID 1 ends, beside what every service can end by.
#[derive(Debug, thiserror::Error)]
enum ImageError {
    #[error("the service ended")]
    Ended,
}

fn main() -> ExitCode {
    if std::process::id() == 1 {
        be_the_machine()
    }
    eprintln!(concat!(
        "kettle-init ",
        env!("CARGO_PKG_VERSION"),
        " is PID 1 of the appliance's image and nothing else; it takes no arguments.\n",
        "To run the appliance as a process of this host: kettle-host serve (see kettle-host --help)."
    ));
    ExitCode::from(NOT_PID_1)
}

/// PID 1: boots, serves on a thread of its own, and collects orphans on this one; see `boot::collect_orphans`.
fn be_the_machine() -> ! {
    boot::halt_on_panic();
    let booted = boot::boot().unwrap_or_else(|error| boot::halt(&error));
    let boot::Booted {
        parameters,
        network,
    } = booted;
    let service = move || match serve(&parameters, network) {
        Ok(()) => boot::halt(&ImageError::Ended),
        Err(error) => boot::halt(&*error),
    };
    if let Err(error) = std::thread::Builder::new()
        .name("service".to_owned())
        .spawn(service)
    {
        boot::halt(&error)
    }
    boot::collect_orphans()
}

/// The service of the booted image. It logs nothing: the console belongs to the host, and what a log says is for clients.
fn serve(
    parameters: &boot::Parameters,
    network: boot::PendingNetwork,
) -> Result<(), Box<dyn Error>> {
    let trial = NetworkTrial::start(&[]);
    let root = Path::new("/");
    let nix = Nix::find(root, &root.join(nix::CONFIGURATION_DIRECTORY))?;
    let toolchain = Toolchain::find(Path::new(TOOLCHAIN))?.with_nix(nix);
    let standing = standing(parameters)?;
    let runner = Runner::of_image(trial)?;
    let settings = Settings {
        listen: LISTEN,
        tls_listen: TLS_LISTEN,
        premises: Premises::Image,
        limits: Limits::default(),
    };
    let prepared = Prepared::new(settings, runner, toolchain, boot::WORK.into(), standing)?;
    // Nothing else has anything to do until then.
    network.wait()?;
    prepared.serve()?;
    Ok(())
}

/// Returns what the image may say of itself.
fn standing(parameters: &boot::Parameters) -> Result<Standing, AttestError> {
    let named = |name: &str, digest| NamedDigest {
        name: name.to_owned(),
        digest: sha256_set(&digest),
    };
    let image = ImageRecord {
        version: parameters.version.clone(),
        root_hash: hex::encode(parameters.root_hash),
        kernel: named("kernel", Sha256Digest::from_bytes(parameters.kernel)),
        initrd: named("initrd", Sha256Digest::from_bytes(parameters.initrd)),
        command_line: named(
            "cmdline",
            Sha256Digest::of(parameters.command_line.as_bytes()),
        ),
    };
    Ok(match GuestDevice::take()? {
        None => Standing::unattested(Platform::unattested(image)),
        Some(device) => Standing::attested(Platform::attested(image), device)?,
    })
}
