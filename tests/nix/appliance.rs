//! One appliance with nix, and the result of one build for its client.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::flake::Flake;
use crate::harness::{Bundle, Request, Server};
use crate::tool;

/// How long a process may take to start or to be gone.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The outcome of one build.
pub struct Outcome {
    pub result: Value,
    /// Lines of the log.
    pub log: String,
    bundle: Option<Vec<u8>>,
}

impl Outcome {
    /// Builds in a new appliance, with the configuration of the image.
    pub fn of(flake: &Flake) -> Self {
        Self::with(flake, &[])
    }

    /// Builds with more options.
    pub fn with(flake: &Flake, options: &[&str]) -> Self {
        let conf = tool::configuration();
        Self::at(
            flake,
            &[&["--nix-conf", conf.to_str().unwrap()], options].concat(),
        )
    }

    /// Builds with another cache, and the key that is trusted.
    pub fn with_cache(flake: &Flake, url: &str, key: &str) -> Self {
        let directory = TempDir::new().unwrap();
        for name in ["passwd", "group"] {
            fs::copy(
                tool::configuration().join(name),
                directory.path().join(name),
            )
            .unwrap();
        }
        let settings = fs::read_to_string(tool::configuration().join("nix.conf")).unwrap();
        let line = |line: &str| match line.split(" =").next() {
            Some("substituters") => format!("substituters = {url}\n"),
            Some("trusted-public-keys") => format!("trusted-public-keys = {key}\n"),
            _ => format!("{line}\n"),
        };
        fs::write(
            directory.path().join("nix.conf"),
            settings.lines().map(line).collect::<String>(),
        )
        .unwrap();
        Self::at(flake, &["--nix-conf", directory.path().to_str().unwrap()])
    }

    /// Builds in an appliance whose phases that fetch reach public addresses only.
    pub fn of_public_addresses(flake: &Flake) -> Self {
        Self::on(
            &Server::of_public_addresses(&options_of_the_image().each_ref().map(String::as_str)),
            flake,
        )
    }

    /// Builds the flake of a repository, with the configuration of the image.
    pub fn of_repository(url: &str) -> Self {
        Self::requested(
            &Server::with_options(&options_of_the_image().each_ref().map(String::as_str)),
            &Request::repository(url, None),
        )
    }

    fn at(flake: &Flake, options: &[&str]) -> Self {
        let root = tool::root();
        Self::on(
            &Server::with_options(&[&["--nix-root", root.to_str().unwrap()], options].concat()),
            flake,
        )
    }

    fn on(server: &Server, flake: &Flake) -> Self {
        Self::requested(server, &Request::json(&flake.archive(), "flake.tar"))
    }

    fn requested(server: &Server, request: &Request) -> Self {
        let job = server.run(request).job();
        let mut events = server.events(&job);
        let result = events.pop().unwrap()["result"].take();
        let lines = events
            .iter()
            .filter(|event| event["type"] == "build" || event["type"] == "note");
        let log = lines
            .map(|event| format!("{}\n", event["msg"].as_str().unwrap()))
            .collect();
        let answer = server.get(&format!("/build/{job}/result"));
        // A query of the toolchain's version may still run; it ends by itself, a process of the
        // build would not.
        let patience = Instant::now() + PATIENCE;
        while !server.descendants().is_empty() {
            assert!(
                Instant::now() < patience,
                "something is left: {:?}",
                server.descendants()
            );
            sleep(Duration::from_millis(50));
        }
        Self {
            result,
            log,
            bundle: (answer.status == 200).then_some(answer.body),
        }
    }

    /// Asserts that the build succeeded, and returns its bundle.
    pub fn bundle(&self) -> Bundle {
        self.bundle_of(0)
    }

    /// Returns the bundle of a source with this time, in seconds since 1970.
    pub fn bundle_of(&self, epoch: u64) -> Bundle {
        assert_eq!(
            self.result["status"], "ok",
            "{:#}\n{}",
            self.result, self.log
        );
        let bundle = Bundle::read(self.bundle.as_ref().unwrap(), epoch);
        bundle.assert_described();
        bundle
    }

    /// Asserts that the build failed with this error, and with this text in its log.
    pub fn assert_failed(&self, error_type: &str, says: &str) {
        assert_eq!(self.result["status"], "failed", "{}", self.log);
        assert_eq!(
            self.result["error_type"], error_type,
            "{}\n{}",
            self.result, self.log
        );
        let all = format!("{}\n{}", self.result["error"].as_str().unwrap(), self.log);
        assert!(all.contains(says), "{says:?} is not in: {all}");
        assert!(self.bundle.is_none());
    }
}

/// Returns the dependencies of a statement that are paths of the store: name, and the rest.
pub fn store_paths(statement: &Value) -> Vec<(&str, &Value)> {
    let all = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
        .as_array()
        .unwrap();
    let name = |it: &'_ Value| {
        it["name"]
            .as_str()
            .unwrap_or_default()
            .starts_with("/nix/store/")
    };
    all.iter()
        .filter(|it| name(it))
        .map(|it| (it["name"].as_str().unwrap(), it))
        .collect()
}

/// Returns the nix of the image, and its configuration, as options.
fn options_of_the_image() -> [String; 4] {
    let path = |path: std::path::PathBuf| path.into_os_string().into_string().unwrap();
    [
        "--nix-root".to_owned(),
        path(tool::root()),
        "--nix-conf".to_owned(),
        path(tool::configuration()),
    ]
}
