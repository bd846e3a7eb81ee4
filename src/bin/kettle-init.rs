//! Boots the machine of the image and runs the service, as PID 1. On a host, `kettle-host` runs the
//! service.

use std::error::Error;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use kettle::api::Premises;
use kettle::attester::{AttestError, GuestDevice, ParavisorTpm};
use kettle::boot;
use kettle::digest::Sha256Digest;
use kettle::memory::ClearingAllocator;
use kettle::provenance::{ImageRecord, NamedDigest, Platform, sha256_set};
use kettle::sandbox::{NetworkTrial, Runner};
use kettle::service::{Prepared, Settings, Standing};
use kettle::toolchain::nix::{self, Nix};
use kettle::toolchain::{Limits, ListedDigests, Toolchain};

#[global_allocator]
static ALLOCATOR: ClearingAllocator = ClearingAllocator;

/// The exit status of a process that is not PID 1.
const NOT_PID_1: u8 = 2;

/// The addresses at which the image listens: all of the machine, with the ports of the protocols.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 80);
const TLS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 443);
/// The name of the boot in which ACPI programs run, as `measurements/` has it.
const AZURE: &str = "azure";
/// The sysroot of the image.
const TOOLCHAIN: &str = "/usr";

/// Why PID 1 ends, beside the errors of every service.
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

/// Boots, serves in another thread, and collects orphans in this one; see `boot::collect_orphans`.
fn be_the_machine() -> ! {
    boot::halt_on_panic();
    let boot::Booted {
        parameters,
        network,
    } = boot::boot().unwrap_or_else(|error| boot::halt(&error));
    let service = move || match serve(&parameters, network) {
        Ok(()) => boot::halt(&ImageError::Ended),
        Err(error) => boot::halt(&*error),
    };
    let builder = std::thread::Builder::new().name("service".to_owned());
    if let Err(error) = builder.spawn(service) {
        boot::halt(&error)
    }
    boot::collect_orphans()
}

/// Runs the service of the booted image. It logs nothing: the console belongs to the host, and logs
/// are for clients.
fn serve(
    parameters: &boot::Parameters,
    network: boot::PendingNetwork,
) -> Result<(), Box<dyn Error>> {
    let trial = NetworkTrial::start(&[]);
    let root = Path::new("/");
    let nix = Nix::find(root, &root.join(nix::CONFIGURATION_DIRECTORY))?;
    let toolchain = Toolchain::find(Path::new(TOOLCHAIN))?
        .with_nix(nix)
        .with_digests(ListedDigests::of_the_image()?);
    let standing = standing(parameters)?;
    let runner = Runner::of_image(trial)?;
    let settings = Settings {
        listen: LISTEN,
        tls_listen: TLS_LISTEN,
        premises: Premises::Image,
        limits: Limits::default(),
    };
    let prepared = Prepared::new(settings, runner, toolchain, boot::WORK.into(), standing)?;
    // Everything else is ready by now.
    network.wait()?;
    prepared.serve()?;
    Ok(())
}

/// Returns the image's record of itself, with the device of evidence if the machine has one.
fn standing(parameters: &boot::Parameters) -> Result<Standing, AttestError> {
    let named = |name: &str, digest| NamedDigest {
        name: name.to_owned(),
        digest: sha256_set(&digest),
    };
    let image = ImageRecord {
        version: parameters.version.clone(),
        variant: parameters.acpi.then_some(AZURE),
        root_hash: hex::encode(parameters.root_hash),
        kernel: named("kernel", Sha256Digest::from_bytes(parameters.kernel)),
        initrd: named("initrd", Sha256Digest::from_bytes(parameters.initrd)),
        command_line: named(
            "cmdline",
            Sha256Digest::of(parameters.command_line.as_bytes()),
        ),
    };
    // Both are taken, whichever is used: no build sees either.
    match (GuestDevice::take()?, ParavisorTpm::take()?) {
        (Some(device), _) => Standing::attested(Platform::attested(image), device),
        (None, Some(tpm)) => Standing::attested(Platform::attested_by_paravisor(image), tpm),
        (None, None) => Ok(Standing::unattested(Platform::unattested(image))),
    }
}
