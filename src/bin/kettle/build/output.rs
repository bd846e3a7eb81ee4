//! Prints the progress and the result of `kettle build`.
//!
//! * In: what happens.
//! * Out: on a terminal one line that moves; elsewhere one line for each event; with `--json` one
//!   document for each on standard output. The verdict is always on standard output.
//! * Never: a character from another machine that moves a cursor.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use kettle::causes::Chain;
use kettle::client::{Accepted, Address, ClientError, Event, Observer};
use kettle::inspect::{escaped, shown};
use kettle::provenance::Nonce;
use kettle::verifier::{AttestationResult, Expectations, Rejection, verdict};
use serde_json::{Value, json};

use super::out_directory::PlacedFiles;
use super::source::bytes;
use super::verify;

/// Shortest time between two changes of the moving line.
const MOVE_INTERVAL: Duration = Duration::from_millis(80);

/// The width of a terminal that does not report its own, in characters.
const USUAL_WIDTH: usize = 80;

/// How many lines of a failed build's output are shown.
const LAST_LINES: usize = 20;

/// The warning about a machine that was not verified.
const UNVERIFIED_MACHINE: &str = "NOTHING ABOUT THIS MACHINE IS VERIFIED (--insecure-no-evidence): \
    ITS OPERATOR AND THE NETWORK CAN READ AND CHANGE EVERYTHING";

/// The warning about a bundle that nobody signed.
const UNVERIFIED_BUNDLE: &str =
    "NOT VERIFIED: NOBODY SIGNED THIS BUNDLE (--insecure-no-evidence), ANYBODY CAN HAVE MADE IT";

/// The output of one build.
pub struct Output {
    is_json: bool,
    is_terminal: bool,
    is_lost: bool,
    phase: String,
    since: Instant,
    moved: Option<Instant>,
    last_lines: VecDeque<String>,
}

impl Output {
    /// Creates the output of a build, as documents if `is_json`.
    pub fn new(is_json: bool) -> Self {
        Self {
            is_json,
            is_terminal: !is_json && io::stderr().is_terminal(),
            is_lost: false,
            phase: String::new(),
            since: Instant::now(),
            moved: None,
            last_lines: VecDeque::new(),
        }
    }

    /// Returns whether part of the output could not be printed.
    pub const fn is_lost(&self) -> bool {
        self.is_lost
    }

    fn print(&mut self, text: &str) {
        let mut stdout = io::stdout();
        let printed = stdout.write_all(text.as_bytes());
        match printed.and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => self.is_lost = true,
            _ => {}
        }
    }

    fn document(&mut self, document: &Value) {
        self.print(&escaped(document));
    }

    /// Prints a line that stays.
    fn line(&mut self, text: &str) {
        if self.is_json {
            return;
        }
        self.clear();
        eprintln!("{}", shown(text));
    }

    /// Prints a line that the next one replaces, if standard error is a terminal.
    fn moving(&mut self, detail: &str) {
        let is_soon = self
            .moved
            .is_some_and(|moved| moved.elapsed() < MOVE_INTERVAL);
        if !self.is_terminal || is_soon {
            return;
        }
        let seconds = self.since.elapsed().as_secs();
        let text = shown(&format!("{seconds:>4} s  {}  {detail}", self.phase));
        let fitting: String = text.chars().take(width().saturating_sub(1)).collect();
        eprint!("\r\x1b[2K{fitting}");
        self.moved = Some(Instant::now());
    }

    fn clear(&mut self) {
        if self.moved.take().is_some() {
            eprint!("\r\x1b[2K");
        }
    }

    /// Reports that another phase begins.
    pub fn phase(&mut self, phase: &str) {
        phase.clone_into(&mut self.phase);
        if self.is_json {
            self.document(&json!({"type": "phase", "msg": phase}));
        } else {
            self.line(phase);
        }
    }

    /// Reports a failure after which another machine is tried.
    pub fn waiting(&mut self, error: &(dyn std::error::Error + 'static), pause: Duration) {
        let (reason, seconds) = (Chain(error).to_string(), pause.as_secs_f64());
        if self.is_json {
            self.document(&json!({"type": "waiting", "msg": reason, "seconds": seconds}));
        } else {
            self.line(&format!("{reason}; trying again in {seconds:.1} s"));
        }
    }

    /// Prints the verdict on the machine.
    pub fn machine(&mut self, result: &AttestationResult, expectations: &Expectations) {
        if self.is_json {
            let mut document = verdict::value(result);
            document["type"] = json!("machine");
            self.document(&document);
        } else if result.is_accepted() {
            if !expectations.roots.is_amd() {
                self.line("trusting a test hierarchy (--trust-root) instead of AMD");
            }
            for waived in &expectations.waived {
                self.line(&format!("{}: waived", waived.check().name()));
            }
            let pin = result.claims()["pinned_public_key"]
                .as_str()
                .unwrap_or_default();
            self.line(&format!("accepted; its TLS key is pinned: {pin}"));
        } else {
            self.clear();
            self.print(&verify::text(result, expectations));
            self.line("nothing of the source was sent to this machine");
        }
    }

    /// Warns that no evidence is requested from the machine.
    pub fn unverified_machine(&mut self, address: &Address) {
        if self.is_json {
            let document = json!({"type": "machine", "verdict": "not-verified",
                "address": address.to_string(), "msg": UNVERIFIED_MACHINE});
            self.document(&document);
        } else {
            self.line(UNVERIFIED_MACHINE);
        }
    }

    /// Reports the job that the machine accepted.
    pub fn accepted(&mut self, job: &Accepted, nonce: &Nonce) {
        let nonce = nonce.to_string();
        if self.is_json {
            self.document(&json!({"type": "accepted", "job_id": job.id, "nonce": nonce}));
        } else {
            self.line(&format!("accepted as job {}, nonce {nonce}", job.id));
        }
        "building".clone_into(&mut self.phase);
    }

    /// Prints why the build failed.
    pub fn failed(&mut self, last: &Event) {
        let result = &last.data["result"];
        let text = |name: &str| result[name].as_str().unwrap_or("unknown").to_owned();
        if self.is_json {
            let document = json!({"type": "verdict", "verdict": "failed",
                "error": text("error"), "error_type": text("error_type"), "checks": []});
            return self.document(&document);
        }
        if self.is_terminal {
            for line in std::mem::take(&mut self.last_lines) {
                self.line(&format!("  {line}"));
            }
        }
        self.line(&format!(
            "the build failed ({}): {}",
            text("error_type"),
            text("error")
        ));
    }

    /// Prints the verdict on the bundle; `more` are further members of its document.
    pub fn verdict(
        &mut self,
        result: &AttestationResult,
        expectations: &Expectations,
        more: Value,
    ) {
        if !self.is_json {
            self.clear();
            return self.print(&verify::text(result, expectations));
        }
        let mut document = verdict::value(result);
        document["type"] = json!("verdict");
        if let (Some(members), Value::Object(more)) = (document.as_object_mut(), more) {
            members.extend(more);
        }
        self.document(&document);
    }

    /// Prints where the bundle and its files are.
    pub fn files(&mut self, placed: &PlacedFiles) {
        if self.is_json {
            return;
        }
        let directory = placed.directory.display().to_string();
        let mut text = format!(
            "the bundle and its files are in {}.tar.gz and {0}\n",
            shown(&directory)
        );
        for path in &placed.artifacts {
            text.push_str(&format!("{}\n", shown(&path.display().to_string())));
        }
        self.print(&text);
    }

    /// Prints where a bundle without evidence is, with a warning.
    pub fn unverified_bundle(&mut self, placed: &PlacedFiles, last: &Event) {
        if self.is_json {
            let document = json!({"type": "verdict", "verdict": "not-verified", "checks": [],
                "msg": UNVERIFIED_BUNDLE, "files": placed.shown(),
                "build_id": last.data["result"]["build_id"]});
            return self.document(&document);
        }
        self.clear();
        self.print(&format!("{UNVERIFIED_BUNDLE}\n"));
        self.files(placed);
    }

    /// Prints why a bundle without evidence was rejected.
    pub fn rejected_without_evidence(&mut self, rejection: &Rejection, kept: &Path) {
        let (code, kept) = (rejection.code(), kept.display().to_string());
        if self.is_json {
            let document = json!({"type": "verdict", "verdict": "rejected", "checks": [],
                "code": code, "detail": rejection.to_string(), "rejected_bundle": kept});
            return self.document(&document);
        }
        self.clear();
        self.print(&format!(
            "REJECTED: {code}: {}\n",
            shown(&rejection.to_string())
        ));
    }

    /// Prints why nothing was built or verified.
    pub fn error(&mut self, error: &(dyn std::error::Error + 'static)) {
        let text = Chain(error).to_string();
        if self.is_json {
            let document =
                json!({"type": "verdict", "verdict": "error", "error": text, "checks": []});
            return self.document(&document);
        }
        self.clear();
        eprintln!("kettle: {}", shown(&text));
    }
}

impl Observer for Output {
    fn retrying(&mut self, error: &ClientError) {
        let text = Chain(error).to_string();
        if self.is_json {
            self.document(&json!({"type": "retrying", "msg": text}));
        } else {
            self.line(&format!("{text}; trying again"));
        }
    }

    fn sent(&mut self, sent: u64, of: u64) {
        self.moving(&format!("{} of {}", bytes(sent), bytes(of)));
    }

    fn event(&mut self, event: &Event) {
        if self.is_json {
            // The machine's event is a member, so that it cannot look like this program's output.
            return self.document(&json!({"type": "event", "id": event.id, "event": event.data}));
        }
        let message = event.message();
        match event.kind() {
            "build" => {
                if self.last_lines.len() == LAST_LINES {
                    self.last_lines.pop_front();
                }
                self.last_lines.push_back(message.to_owned());
                if self.is_terminal {
                    self.moving(message);
                } else {
                    self.line(&format!("  {message}"));
                }
            }
            "queued" | "complete" => {}
            kind => {
                kind.clone_into(&mut self.phase);
                self.line(&format!("{kind}: {message}"));
            }
        }
    }

    fn received(&mut self, received: u64, of: u64) {
        self.moving(&format!("{} of {}", bytes(received), bytes(of)));
    }
}

fn width() -> usize {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => USUAL_WIDTH,
    }
}
