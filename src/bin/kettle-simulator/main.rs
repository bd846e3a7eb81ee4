//! A simulated secure processor on the command line, and inside a test machine. See `kettle::simulator`.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use kettle::attester::ReportData;
use kettle::causes::Chain;
use kettle::simulator::segment::{self, Entry};
use kettle::simulator::{
    Faults, GuestDevice, HandedOver, Identity, Key, MARKER, Processor, RSA_BITS, cuse,
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
    /// Makes a processor: a root of its own, certificates in AMD's shape, a key, a description.
    Keys(Keys),
    /// Prints a signed report, 1184 bytes, to a file.
    Report(ReportArguments),
    /// Packs a folder as the appliance packs a bundle.
    Bundle(BundleArguments),
    /// Makes what a test machine's initrd gets appended, so that its `/dev/sev-guest` is the processor.
    Segment(Segment),
    /// Offers a processor as `sev-guest` through the kernel's `cuse` device.
    Cuse(Cuse),
}

#[derive(Args)]
struct Keys {
    /// Folder to make.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Line of processors.
    #[arg(long, value_enum, default_value = "milan")]
    product: ProductName,
    /// Kind of the signing key.
    #[arg(long, value_enum, default_value = "vcek")]
    key: KeyName,
    /// Version of the reports, 2 to 5.
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(2..=5))]
    report_version: u32,
    /// Launch measurement that the reports say, 96 hexadecimal digits; zeros without it.
    #[arg(long, value_name = "HEX")]
    measurement: Option<LaunchMeasurement>,
    /// So many requests are answered with "busy" first.
    #[arg(long, value_name = "N", default_value = "0")]
    busy: u32,
    /// After so many reports, every request is refused.
    #[arg(long, value_name = "N")]
    reports: Option<u32>,
    /// What the host hands over with a report.
    #[arg(long, value_enum, default_value = "all")]
    certificates: CertificateName,
}

#[derive(Args)]
struct ReportArguments {
    /// Folder of the processor.
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// 64 bytes, hexadecimal.
    #[arg(long, value_name = "HEX")]
    report_data: String,
    /// Launch measurement, instead of the processor's.
    #[arg(long, value_name = "HEX")]
    measurement: Option<LaunchMeasurement>,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args)]
struct BundleArguments {
    /// Folder with the files of the bundle; its name is that of the top folder.
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
    /// Time of every file, in seconds: the statement's `sourceDateEpoch`.
    #[arg(long, value_name = "SECONDS", default_value = "0")]
    time: u64,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args)]
struct Segment {
    /// Folder of the processor.
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// The image's own `/init`, which stays PID 1.
    #[arg(long, value_name = "FILE")]
    init: PathBuf,
    /// A kernel module that the machine needs for CUSE, decompressed; repeated in the order in which they are loaded. Not needed
    /// where the kernel has CUSE built in.
    #[arg(long, value_name = "FILE")]
    module: Vec<PathBuf>,
    /// File to write: an uncompressed cpio archive.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args)]
struct Cuse {
    /// Folder of the processor.
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
        Command::Bundle(BundleArguments { folder, time, out }) => {
            Ok(bundle::pack(&folder, time, &out)?)
        }
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
    let mut processor =
        Processor::generate(Identity::draw(product, key)?, RSA_BITS)?.with_faults(faults);
    processor.report_version = arguments.report_version;
    processor.measurement = arguments.measurement.unwrap_or(processor.measurement);
    Ok(processor.save(&arguments.out)?)
}

fn report(arguments: &ReportArguments) -> Result<(), Box<dyn Error>> {
    let mut processor = Processor::open(&arguments.keys)?;
    processor.measurement = arguments.measurement.unwrap_or(processor.measurement);
    let mut report_data: ReportData = [0; 64];
    hex::decode_to_slice(&arguments.report_data, &mut report_data)?;
    Ok(fs::write(
        &arguments.out,
        processor.report(&report_data, 0).as_bytes(),
    )?)
}

fn append(arguments: &Segment) -> Result<(), Box<dyn Error>> {
    let folder = guest::FOLDER.trim_start_matches('/');
    let mut entries = vec![
        Entry::file("init", fs::read(std::env::current_exe()?)?),
        Entry::directory(folder),
        Entry::directory(&format!("{folder}/dev")),
        Entry::directory(&format!("{folder}/keys")),
        Entry::file(&format!("{folder}/init"), fs::read(&arguments.init)?),
    ];
    for (number, module) in arguments.module.iter().enumerate() {
        entries.push(Entry::file(
            &format!("{folder}/{number}.ko"),
            fs::read(module)?,
        ));
    }
    for entry in fs::read_dir(&arguments.keys)? {
        let entry = entry?;
        let name = format!("{folder}/keys/{}", entry.file_name().to_string_lossy());
        entries.push(Entry::file(&name, fs::read(entry.path())?));
    }
    // What follows an initrd begins at a multiple of four bytes: `cat` of the two has to be enough.
    Ok(fs::write(&arguments.out, segment::write(&entries))?)
}
