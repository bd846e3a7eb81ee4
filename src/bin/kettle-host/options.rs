//! Parses the command line of `kettle-host`.
//!
//! * In: its words.
//! * Out: the settings of the service.
//! * Never: a guess at what was meant.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use kettle::api::limits::Limit;
use kettle::api::{self, HostName, Premises};
use kettle::sandbox::Cidr;
use kettle::service::Settings;
use kettle::toolchain::Limits;

const AFTER_HELP: &str = "\
Environment: RUST_LOG sets what is logged to standard error (error, warn, info, debug).
Exit status: 0 ended by SIGTERM or SIGINT, 1 could not start, 2 wrong usage.";

/// The appliance as a process of this host, for development.
#[derive(Parser)]
#[command(name = "kettle-host", version, after_help = after_help())]
pub struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the HTTP API on this host: one build, then downloads.
    ///
    /// On an ordinary host there is no evidence, and provenance says so in its builder id. Prints
    /// `listening on http://ADDR:PORT` and the same for https once it serves.
    #[command(after_help = limits())]
    Serve(Box<Serve>),
}

/// The options of `serve`.
#[derive(Args)]
pub struct Serve {
    /// Address for plaintext HTTP, a loopback address; port 0 takes a free port.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// Allows --listen to have an address that other machines reach. Everybody on the network can
    /// then read and change sources and results.
    #[arg(long)]
    expose_plaintext: bool,
    /// Address for HTTPS, with a key that is made at start; port 0 takes a free port.
    #[arg(long, value_name = "ADDR:PORT")]
    tls_listen: SocketAddr,
    /// A DNS name that clients use, besides addresses and localhost. Repeatable.
    #[arg(long = "host", value_name = "NAME", value_parser = host_name)]
    hosts: Vec<HostName>,
    /// The directory for uploads, the build and its results. Created if it is missing.
    #[arg(long, value_name = "DIR")]
    pub work: PathBuf,
    /// The Rust sysroot to build with. Default: that of the rustc in PATH.
    #[arg(long, value_name = "DIR")]
    pub toolchain: Option<PathBuf>,
    /// The root of a system with nix 2.34.8 or newer, to build flakes. Default: no flakes. Needs
    /// root.
    #[arg(long, value_name = "DIR")]
    pub nix_root: Option<PathBuf>,
    /// The directory with its nix.conf, passwd and group. Default: etc/nix of that system.
    #[arg(long, value_name = "DIR", requires = "nix_root")]
    pub nix_conf: Option<PathBuf>,
    /// A range of addresses that fetch phases may reach although it is not public, for instance
    /// that of a registry on loopback (127.0.0.0/8). Repeatable. Every statement names it.
    #[arg(long = "allow-network", value_name = "CIDR")]
    pub allowed: Vec<Cidr>,
    /// Limit of the build's wall-clock time, in seconds.
    #[arg(long, value_name = "N")]
    build_seconds: Option<NonZeroU64>,
    /// Limit of the wall-clock time for fetching dependencies, in seconds.
    #[arg(long, value_name = "N")]
    fetch_seconds: Option<NonZeroU64>,
    /// Signs with the processor that `kettle-simulator keys --out DIR` created. It is simulated,
    /// and nobody trusts it.
    #[cfg(feature = "simulator")]
    #[arg(long, value_name = "DIR")]
    pub simulator: Option<PathBuf>,
}

impl CommandLine {
    /// Parses the command line of this process. Ends the process after `--help` and `--version`,
    /// and with exit status 2 after wrong usage.
    pub fn read() -> Serve {
        Self::try_parse()
            .and_then(Self::checked)
            .unwrap_or_else(|error| error.exit())
    }

    /// Checks the rules that concern several options.
    fn checked(self) -> Result<Serve, clap::Error> {
        let Command::Serve(serve) = self.command;
        let listen = serve.listen;
        if listen.ip().is_loopback() || serve.expose_plaintext {
            return Ok(*serve);
        }
        let message = format!(
            "--listen {listen} is reached by other machines, in plaintext: use a loopback \
             address, or add --expose-plaintext"
        );
        Err(Self::command().error(ErrorKind::ValueValidation, message))
    }
}

impl Serve {
    /// Returns the settings of the service.
    pub fn settings(&self) -> Settings {
        let defaults = Limits::default();
        Settings {
            listen: self.listen,
            tls_listen: self.tls_listen,
            premises: Premises::Host {
                names: self.hosts.clone(),
            },
            limits: Limits {
                build: self.build_seconds.map_or(defaults.build, seconds),
                fetch: self.fetch_seconds.map_or(defaults.fetch, seconds),
            },
        }
    }
}

fn seconds(number: NonZeroU64) -> Duration {
    Duration::from_secs(number.get())
}

fn host_name(text: &str) -> Result<HostName, &'static str> {
    HostName::parse(text).ok_or("not a DNS name without a port")
}

fn after_help() -> String {
    format!("{}\n{AFTER_HELP}", limits())
}

/// Returns every limit, for the help.
fn limits() -> String {
    let line = |Limit {
                    name,
                    value,
                    meaning,
                }: Limit| format!("  {name:<24} {value:<12} {meaning}\n");
    let lines: String = api::limits::all().into_iter().map(line).collect();
    format!("Limits:\n{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str) -> Result<Serve, clap::Error> {
        let words = ["kettle-host"].into_iter().chain(words.split_whitespace());
        CommandLine::try_parse_from(words)?.checked()
    }

    #[test]
    fn the_options_are_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn serve_takes_values_in_both_forms() {
        let words = "serve --listen=127.0.0.1:0 --tls-listen [::1]:443 --work w --build-seconds 5";
        let serve = read(words).unwrap();
        let settings = serve.settings();
        assert_eq!(
            (settings.listen.port(), settings.tls_listen.port()),
            (0, 443)
        );
        assert!(serve.allowed.is_empty(), "public addresses only");
        assert_eq!(
            settings.limits,
            Limits {
                build: Duration::from_secs(5),
                ..Limits::default()
            }
        );
    }

    #[test]
    fn plaintext_for_other_machines_has_to_be_asked_for() {
        for address in [
            "0.0.0.0:80",
            "[::]:80",
            "192.0.2.1:80",
            "[::ffff:127.0.0.1]:80",
        ] {
            let words = format!("serve --listen {address} --tls-listen 0.0.0.0:443 --work w");
            let refused = read(&words).err().unwrap().to_string();
            assert!(refused.contains("reached by other machines"), "{refused}");
            let told = format!("{words} --expose-plaintext");
            assert!(read(&told).is_ok(), "{told}");
        }
    }

    #[test]
    fn names_of_the_host_are_dns_names_and_can_be_several() {
        let all = "serve --listen 127.0.0.1:0 --tls-listen 127.0.0.1:0 --work w";
        let serve = read(&format!("{all} --host A.example --host=b")).unwrap();
        let names = ["a.example", "b"]
            .map(|name| HostName::parse(name).unwrap())
            .to_vec();
        assert_eq!(serve.settings().premises, Premises::Host { names });
        for value in ["", " a:80", " 127.0.0.1", "=", " http://a"] {
            assert!(read(&format!("{all} --host{value}")).is_err(), "{value}");
        }
    }

    #[test]
    fn networks_are_allowed_one_by_one() {
        let words = "serve --listen=127.0.0.1:0 --tls-listen [::1]:443 --work w --allow-network 127.0.0.0/8 \
            --allow-network=10.1.0.0/16";
        let serve = read(words).unwrap();
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
            assert!(read(&words).is_err(), "{words}");
        }
    }
}
