//! A client that uses curl, over either port.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::machine::Machine;
use crate::support::{NONCE, project};

/// The longest time of a build on a busy machine without hardware virtualisation; after it,
/// something hangs.
const BUILD_SECONDS: &str = "400";

/// The port that a client uses.
#[derive(Clone, Copy, Debug)]
pub enum Port {
    Plaintext,
    /// TLS, with a key that is made at boot and that only evidence vouches for: pinned once that
    /// was verified. Where the machine has no secure processor, any key is taken.
    Tls,
}

/// The source that is submitted.
pub enum Source<'a> {
    Archive { bytes: &'a [u8], name: &'a str },
    Repository { url: &'a str },
}

/// A response. Without one the status is 0.
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Response {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The outcome of a build, from its events.
pub struct Outcome {
    pub job: String,
    /// The result in the last event.
    pub result: Value,
    /// The lines of the build's output.
    pub lines: Vec<String>,
}

impl Outcome {
    /// Returns the facts that a build script printed as `cargo::warning=FACT: KEY: VALUE`.
    pub fn facts(&self, key: &str) -> Vec<&str> {
        let prefix = format!("FACT: {key}: ");
        self.lines
            .iter()
            .filter_map(|line| Some(line.split_once(&prefix)?.1))
            .collect()
    }

    pub fn fact(&self, key: &str) -> &str {
        let facts = self.facts(key);
        assert_eq!(
            facts.len(),
            1,
            "{key}: {}\n{}",
            self.result,
            self.lines.join("\n")
        );
        facts[0]
    }

    pub fn assert_succeeded(&self) {
        assert_eq!(
            self.result["status"],
            "ok",
            "{}\n{}",
            self.result,
            self.lines.join("\n")
        );
    }

    pub fn assert_failed(&self, error_type: &str) {
        let found = (&self.result["status"], &self.result["error_type"]);
        assert_eq!(
            found,
            (&"failed".into(), &error_type.into()),
            "{}\n{}",
            self.result,
            self.lines.join("\n")
        );
    }
}

impl Machine {
    pub fn get(&self, port: Port, path: &str) -> Response {
        self.curl(port, path, &[])
    }

    /// Submits a build; a 202 has the job's id.
    pub fn submit(&self, port: Port, source: &Source) -> Response {
        let upload = self.directory.path().join("upload");
        let source = match source {
            Source::Archive { bytes, name } => {
                fs::write(&upload, bytes).unwrap();
                format!("source=@{};filename={name}", upload.display())
            }
            Source::Repository { url } => format!("repo_url={url}"),
        };
        let nonce = format!("nonce={NONCE}");
        self.curl(
            port,
            "/build",
            &["-H", "Prefer: respond-async", "-F", &nonce, "-F", &source],
        )
    }

    /// Returns the events of a job to their end; fewer if the machine ends before.
    pub fn follow(&self, port: Port, job: &str) -> Vec<Value> {
        let stream = self
            .curl(port, &format!("/build/{job}/events"), &["-N"])
            .text();
        let events = stream.lines().filter_map(|line| line.strip_prefix("data:"));
        events
            .map(|data| serde_json::from_str(data).unwrap_or_default())
            .collect()
    }

    /// Builds `tests/projects/hello`.
    pub fn build_hello(&self, port: Port) -> Outcome {
        let source = Source::Archive {
            bytes: &project("hello"),
            name: "hello.tar",
        };
        self.build(port, &source)
    }

    /// Runs a whole build.
    pub fn build(&self, port: Port, source: &Source) -> Outcome {
        let job = self.start_build(port, source);
        let mut events = self.follow(port, &job);
        let lines = events
            .iter()
            .filter(|event| event["type"] == "build" || event["type"] == "note");
        let lines = lines
            .map(|event| event["msg"].as_str().unwrap().to_owned())
            .collect();
        let result = events.pop().unwrap_or_default()["result"].take();
        Outcome { job, result, lines }
    }

    pub fn bundle(&self, port: Port, job: &str) -> Vec<u8> {
        let answer = self.get(port, &format!("/build/{job}/result"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.body
    }

    /// Submits a build, which has to be accepted; returns the job's id.
    pub fn start_build(&self, port: Port, source: &Source) -> String {
        let response = self.submit(port, source);
        assert_eq!(response.status, 202, "{}", response.text());
        response.json()["job_id"].as_str().unwrap().to_owned()
    }

    /// Asserts that the machine still serves.
    pub fn assert_healthy(&self, port: Port) {
        assert_eq!(self.get(port, "/health").body, b"ok", "{}", self.console());
    }

    /// Asserts that a job has no result.
    pub fn assert_no_result(&self, job: &str) {
        let response = self.get(Port::Tls, &format!("/build/{job}/result"));
        assert_eq!(response.status, 404, "{}", response.text());
    }

    fn curl(&self, port: Port, path: &str, more: &[&str]) -> Response {
        let scheme = match port {
            Port::Plaintext => "http",
            Port::Tls => "https",
        };
        let url = format!("{scheme}://127.0.0.1:{}{path}", self.port(port));
        // The status comes after the body, in three digits.
        let fixed = [
            "-sk",
            "--http1.1",
            "-m",
            BUILD_SECONDS,
            "-w",
            "%{http_code}",
        ];
        let pin = self.pin.get().map(|pin| ["--pinnedpubkey", pin]);
        let mut body = Command::new("curl")
            .args(fixed)
            .args(pin.into_iter().flatten())
            .args(more)
            .arg(url)
            .output()
            .unwrap()
            .stdout;
        let status = body.split_off(body.len().checked_sub(3).unwrap());
        Response {
            status: std::str::from_utf8(&status).unwrap().parse().unwrap(),
            body,
        }
    }
}
