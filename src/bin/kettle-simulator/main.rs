//! A simulated secure processor, on the command line and inside a test machine. See
//! `kettle::simulator`.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use kettle::attester::ReportData;
use kettle::causes::Chain;
use kettle::simulator::segment::{self, Entry};
use kettle::simulator::{
    Faults, GuestDevice, HandedOver, Identity, Key, MARKER, Processor, RSA_BITS, SignedLaunch,
    cuse, hcl_report,
};
use kettle::snp::measurement::LaunchMeasurement;
use kettle::snp::tcb::Product;

mod bundle;
mod guest;

/// A simulated secure processor: for tests, trusted by nobody.
#[derive(Parser)]
#[command(version, long_about = MARKER)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Creates a processor: its own root, certificates in AMD's format, a key, a description.
    Keys(Keys),
    /// Writes a signed report, 1184 bytes, to a file.
    Report(ReportArguments),
    /// Writes the report that a paravisor of Azure leaves in its machine's TPM, 2048 bytes.
    Hcl(Hcl),
    /// Packs a directory as the appliance packs a bundle.
    Bundle(BundleArguments),
    /// Writes a segment to append to a test machine's initrd, so that its `/dev/sev-guest` is the
    /// processor.
    Segment(Segment),
    /// Serves a processor as `sev-guest` through the kernel's `cuse` device.
    Cuse(Cuse),
}

#[derive(Args)]
struct Keys {
    /// The directory to create.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The line of processors.
    #[arg(long, value_enum, default_value = "milan")]
    product: ProductName,
    /// The kind of the signing key.
    #[arg(long, value_enum, default_value = "vcek")]
    key: KeyName,
    /// The version of the reports, 2 to 5.
    #[arg(
        long,
        value_name = "N",
        default_value = "3",
        value_parser = clap::value_parser!(u32).range(2..=5)
    )]
    report_version: u32,
    /// The launch measurement in the reports, 96 hexadecimal digits. Default: zeros.
    #[arg(long, value_name = "HEX")]
    measurement: Option<LaunchMeasurement>,
    /// How many requests are refused with "busy" at first.
    #[arg(long, value_name = "N", default_value = "0")]
    busy: u32,
    /// After how many reports every request is refused. Default: never.
    #[arg(long, value_name = "N")]
    reports: Option<u32>,
    /// The certificates that the host provides with a report.
    #[arg(long, value_enum, default_value = "all")]
    certificates: CertificateName,
}

#[derive(Args)]
struct ReportArguments {
    /// The directory of the processor.
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// The report data: 64 bytes, hexadecimal.
    #[arg(long, value_name = "HEX")]
    report_data: String,
    /// The launch measurement, instead of the processor's.
    #[arg(long, value_name = "HEX")]
    measurement: Option<LaunchMeasurement>,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args)]
struct Hcl {
    /// The directory of the processor.
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// The modulus of the TPM's attestation key, RSA of 2048 bits: 512 hexadecimal digits.
    #[arg(long, value_name = "HEX")]
    modulus: String,
    /// SHA-384 of the key that signed the paravisor: 96 hexadecimal digits.
    #[arg(long, value_name = "HEX")]
    id_key: String,
    /// The version of the paravisor.
    #[arg(long, value_name = "N")]
    svn: u32,
    /// The file that the report is written to.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// The policy with which Azure launches paravisors.
const PARAVISOR_POLICY: u64 = 0x3_001f;

#[derive(Args)]
struct BundleArguments {
    /// The directory with the files of the bundle. Its name becomes that of the top directory.
    #[arg(long = "folder", value_name = "DIR")]
    directory: PathBuf,
    /// The time of every file, in seconds: the statement's `sourceDateEpoch`.
    #[arg(long, value_name = "SECONDS", default_value = "0")]
    time: u64,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args)]
struct Segment {
    /// The directory of the processor.
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// The image's own `/init`, which stays PID 1.
    #[arg(long, value_name = "FILE")]
    init: PathBuf,
    /// A kernel module that the machine needs for CUSE, decompressed. Repeatable, in the order of
    /// loading. Not needed if the kernel has CUSE built in.
    #[arg(long, value_name = "FILE")]
    module: Vec<PathBuf>,
    /// The file to write: an uncompressed cpio archive.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args)]
struct Cuse {
    /// The directory of the processor.
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// The kernel's device.
    #[arg(long, value_name = "FILE", default_value = "/dev/cuse")]
    device: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum ProductName {
    Milan,
    Genoa,
    Turin,
}

#[derive(Clone, Copy, ValueEnum)]
enum KeyName {
    Vcek,
    Vlek,
}

#[derive(Clone, Copy, ValueEnum)]
enum CertificateName {
    All,
    Nothing,
    Broken,
    Large,
}

fn main() -> ExitCode {
    if std::process::id() == 1 {
        guest::become_init()
    }
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kettle-simulator: {}", Chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Keys(arguments) => keys(&arguments),
        Command::Report(arguments) => report(&arguments),
        Command::Hcl(arguments) => hcl(&arguments),
        Command::Bundle(BundleArguments {
            directory,
            time,
            out,
        }) => Ok(bundle::pack(&directory, time, &out)?),
        Command::Segment(arguments) => append(&arguments),
        Command::Cuse(Cuse { keys, device }) => Ok(cuse::serve(
            &device,
            &GuestDevice::new(Processor::open(&keys)?),
        )?),
    }
}

fn keys(arguments: &Keys) -> Result<(), Box<dyn Error>> {
    let product = match arguments.product {
        ProductName::Milan => Product::Milan,
        ProductName::Genoa => Product::Genoa,
        ProductName::Turin => Product::Turin,
    };
    let key = match arguments.key {
        KeyName::Vcek => Key::Vcek,
        KeyName::Vlek => Key::Vlek,
    };
    let handed_over = match arguments.certificates {
        CertificateName::All => HandedOver::All,
        CertificateName::Nothing => HandedOver::Nothing,
        CertificateName::Broken => HandedOver::Broken,
        CertificateName::Large => HandedOver::Large,
    };
    let faults = Faults {
        busy: arguments.busy,
        reports: arguments.reports,
        handed_over,
    };
    let identity = Identity::draw(product, key)?;
    let mut processor = Processor::generate(identity, RSA_BITS)?.with_faults(faults);
    processor.report_version = arguments.report_version;
    processor.measurement = arguments.measurement.unwrap_or(processor.measurement);
    Ok(processor.save(&arguments.out)?)
}

fn report(arguments: &ReportArguments) -> Result<(), Box<dyn Error>> {
    let mut processor = Processor::open(&arguments.keys)?;
    processor.measurement = arguments.measurement.unwrap_or(processor.measurement);
    let mut report_data: ReportData = [0; 64];
    hex::decode_to_slice(&arguments.report_data, &mut report_data)?;
    let report = processor.report(&report_data, 0);
    Ok(fs::write(&arguments.out, report.as_bytes())?)
}

fn hcl(arguments: &Hcl) -> Result<(), Box<dyn Error>> {
    let processor = Processor::open(&arguments.keys)?;
    let mut id_key_digest = [0; 48];
    hex::decode_to_slice(&arguments.id_key, &mut id_key_digest)?;
    let launch = SignedLaunch {
        guest_svn: arguments.svn,
        guest_policy: PARAVISOR_POLICY,
        id_key_digest,
    };
    let modulus = hex::decode(&arguments.modulus)?;
    let index = hcl_report(&processor, &launch, &modulus);
    Ok(fs::write(&arguments.out, index)?)
}

fn append(arguments: &Segment) -> Result<(), Box<dyn Error>> {
    let directory = guest::DIRECTORY.trim_start_matches('/');
    let mut entries = vec![
        Entry::file("init", fs::read(std::env::current_exe()?)?),
        Entry::directory(directory),
        Entry::directory(&format!("{directory}/dev")),
        Entry::directory(&format!("{directory}/keys")),
        Entry::file(&format!("{directory}/init"), fs::read(&arguments.init)?),
    ];
    for (number, module) in arguments.module.iter().enumerate() {
        entries.push(Entry::file(
            &format!("{directory}/{number}.ko"),
            fs::read(module)?,
        ));
    }
    for entry in fs::read_dir(&arguments.keys)? {
        let entry = entry?;
        let name = format!("{directory}/keys/{}", entry.file_name().to_string_lossy());
        entries.push(Entry::file(&name, fs::read(entry.path())?));
    }
    // A segment after an initrd begins at a multiple of four bytes, so that `cat` can append it.
    Ok(fs::write(&arguments.out, segment::write(&entries))?)
}
