//! The command line of `kettle-host`. Comes in: its words. Goes out: a [`Command`]. Never: a guess at what was meant.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use kettle::api::limits::Limit;
use kettle::api::{self, HostName, Premises};
use kettle::sandbox::{Cidr, ParseCidrError};
use kettle::service::Settings;
use kettle::toolchain::Limits;

const HELP: &str = "\
kettle-host: the appliance as a process of this host, for development

Usage: kettle-host serve --listen ADDR:PORT --tls-listen ADDR:PORT --work DIR [OPTIONS]

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
pub struct Serve {
    /// What the service itself is told.
    pub settings: Settings,
    /// Directory for uploads, the build and its results.
    pub work: PathBuf,
    /// Sysroot to build with, where the one of `PATH` is not meant.
    pub toolchain: Option<PathBuf>,
    /// Root of a system with nix.
    pub nix_root: Option<PathBuf>,
    /// Directory of nix's configuration, where it is not the one of that system.
    pub nix_conf: Option<PathBuf>,
    /// What phases that fetch reach beside public addresses.
    pub allowed: Vec<Cidr>,
    /// Directory of a simulated secure processor.
    #[cfg(feature = "simulator")]
    pub simulator: Option<PathBuf>,
}

/// What is to be done.
pub enum Command {
    /// Print the help.
    Help,
    /// Print the version.
    Version,
    /// Run the service.
    Serve(Box<Serve>),
}

/// What is wrong with a command line.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
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
    Value {
        option: String,
        value: String,
        expected: &'static str,
    },
    #[error("--allow-network {value:?}")]
    Network {
        value: String,
        source: ParseCidrError,
    },
    #[error("{0} needs a value")]
    NoValue(String),
}

/// Returns the help, with every limit.
pub fn help() -> String {
    format!("{HELP}{SIMULATOR_HELP}\nLimits:\n{}", limits())
}

fn limits() -> String {
    let line = |limit: Limit| {
        format!(
            "  {:<24} {:<12} {}\n",
            limit.name, limit.value, limit.meaning
        )
    };
    api::limits::all().into_iter().map(line).collect()
}

/// Reads the words after the program's name.
///
/// # Errors
/// Words that are missing, repeated or unknown, or a value that is none.
pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Command, UsageError> {
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
        let value = inline
            .or_else(|| words.next())
            .ok_or_else(|| UsageError::NoValue(option.clone()))?;
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
        settings: Settings {
            listen,
            tls_listen: address("--tls-listen", tls_listen)?,
            premises: Premises::Host { names },
            limits: Limits {
                build: seconds("--build-seconds", build, defaults.build)?,
                fetch: seconds("--fetch-seconds", fetch, defaults.fetch)?,
            },
        },
        work: work.ok_or(UsageError::Missing("--work"))?.into(),
        toolchain: toolchain.map(PathBuf::from),
        nix_root: nix_root.map(PathBuf::from),
        nix_conf: nix_conf.map(PathBuf::from),
        allowed,
        #[cfg(feature = "simulator")]
        simulator: simulator.map(PathBuf::from),
    })))
}

fn address(option: &'static str, value: Option<String>) -> Result<SocketAddr, UsageError> {
    let value = value.ok_or(UsageError::Missing(option))?;
    value.parse().map_err(|_| UsageError::Value {
        option: option.to_owned(),
        value,
        expected: "an ADDR:PORT",
    })
}

fn host_name(option: String, value: Option<String>) -> Result<HostName, UsageError> {
    let Some(value) = value else {
        return Err(UsageError::NoValue(option));
    };
    HostName::parse(&value).ok_or(UsageError::Value {
        option,
        value,
        expected: "a DNS name without a port",
    })
}

fn network(value: String) -> Result<Cidr, UsageError> {
    value
        .parse()
        .map_err(|source| UsageError::Network { value, source })
}

fn seconds(
    option: &'static str,
    value: Option<String>,
    default: Duration,
) -> Result<Duration, UsageError> {
    let Some(value) = value else {
        return Ok(default);
    };
    match value.parse() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(UsageError::Value {
            option: option.to_owned(),
            value,
            expected: "a number of seconds",
        }),
    }
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
        let Ok(Command::Serve(serve)) = parse_words(words) else {
            panic!("{words}")
        };
        assert_eq!(
            (
                serve.settings.listen.port(),
                serve.settings.tls_listen.port()
            ),
            (0, 443)
        );
        assert!(serve.allowed.is_empty(), "public addresses only");
        assert_eq!(
            serve.settings.limits,
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
            assert!(
                matches!(parse_words(&words), Err(UsageError::ExposedPlaintext(_))),
                "{words}"
            );
            let told = format!("{words} --expose-plaintext");
            assert!(
                matches!(parse_words(&told), Ok(Command::Serve(_))),
                "{told}"
            );
        }
    }

    #[test]
    fn names_of_the_host_are_dns_names_and_can_be_several() {
        let all = "serve --listen 127.0.0.1:0 --tls-listen 127.0.0.1:0 --work w";
        let Ok(Command::Serve(serve)) = parse_words(&format!("{all} --host A.example --host=b"))
        else {
            panic!()
        };
        let names = ["a.example", "b"]
            .map(|name| HostName::parse(name).unwrap())
            .to_vec();
        assert_eq!(serve.settings.premises, Premises::Host { names });
        for value in ["", " a:80", " 127.0.0.1", "=", " http://a"] {
            assert!(
                parse_words(&format!("{all} --host{value}")).is_err(),
                "{value}"
            );
        }
    }

    #[test]
    fn networks_are_allowed_one_by_one() {
        let words = "serve --listen=127.0.0.1:0 --tls-listen [::1]:443 --work w --allow-network 127.0.0.0/8 \
            --allow-network=10.1.0.0/16";
        let Ok(Command::Serve(serve)) = parse_words(words) else {
            panic!("{words}")
        };
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
