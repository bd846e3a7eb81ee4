//! One job, told by its client. In: the planned fault. Out: how the job ended. Never: a wait
//! without a limit, or an ending that the module does not allow:
//!
//! - the service ends by itself, with the status of a failure;
//! - a problem document, and another attempt gets the response that the first should have got;
//! - a job that failed, and nothing of a bundle for any client;
//! - a connection that is visibly cut off, and another that works as ever;
//! - everything as if nothing had failed: the same subjects, and the same statement except for
//!   times.
//!
//! Anything left of a run after the service has ended is also a failure.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::client::{Lost, PATIENCE, Request, Response};
use crate::clock::{Answers, Jump, Moment};
use crate::harness::{StaticServer, git, git_repository, package};
use crate::product::{Product, assert_events_end, assert_times, take_apart};
use crate::remains::{left_behind, take_orphans};
use crate::site::Fault;
use crate::stack::Image;
use crate::tracer::{Plan, Trace, Traced};

const SERVICE: &str = env!("CARGO_BIN_EXE_kettle-host");
/// The message of the service's log about a failed job.
const JOB_FAILED: &str = "the job failed";
/// The line that a build prints when it begins.
const COMPILING: &str = "Compiling package";
/// The attempts of a client. One call fails: the next attempt should not, and the one after that
/// has to succeed.
const ATTEMPTS: usize = 3;
/// The time that an ending process may take to free its memory.
const MOMENT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);
const MANIFEST: &str = "[package]\nname = \"package\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[profile.release]\nopt-level = 0\n";
const LOCKFILE: &str = "version = 4\n\n[[package]]\nname = \"package\"\nversion = \"0.1.0\"\n";
const MAIN: &str = "fn main() {}\n";

/// How a job is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Story {
    /// An archive in a form, whose response is the bundle.
    Form,
    /// A packed archive in JSON; the events are followed from another connection.
    Json,
    /// A repository that is fetched.
    Repository,
    /// The same as [`Story::Form`], with evidence.
    #[cfg(feature = "simulator")]
    Attested,
}

impl Story {
    pub const ALL: &[Self] = &[
        Self::Form,
        Self::Json,
        Self::Repository,
        #[cfg(feature = "simulator")]
        Self::Attested,
    ];
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    Halt,
    Problem,
    FailedJob,
    Cut,
    Tolerated,
    /// The call that was to fail was never made: the threads' work differs from run to run.
    NotReached,
}

impl Ending {
    pub const ALL: [Self; 6] = [
        Self::Halt,
        Self::Problem,
        Self::FailedJob,
        Self::Cut,
        Self::Tolerated,
        Self::NotReached,
    ];
}

/// The parts that all runs share.
pub struct Stage {
    pub image: Arc<Image>,
    /// A copy of the program: it must not change while the tests run.
    service: PathBuf,
    archive: Vec<u8>,
    packed: Vec<u8>,
    repository: String,
    commit_time: u64,
    #[cfg(feature = "simulator")]
    processor: TempDir,
    _directory: TempDir,
}

impl Stage {
    pub fn build() -> Self {
        take_orphans();
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("src")).unwrap();
        for (name, content) in [
            ("Cargo.toml", MANIFEST),
            ("Cargo.lock", LOCKFILE),
            ("src/main.rs", MAIN),
        ] {
            fs::write(directory.path().join(name), content).unwrap();
        }
        git_repository(directory.path());
        let service = directory.path().join("kettle-host");
        fs::copy(SERVICE, &service).unwrap();
        let archive = package(&[("Cargo.toml", MANIFEST), ("src/main.rs", MAIN)]);
        let files = StaticServer::start(directory.path().join(".git"));
        Self {
            image: Arc::new(Image::read(fs::read(&service).unwrap())),
            service,
            packed: gzip(&archive),
            archive,
            repository: format!("http://127.0.0.1:{}/", files.port),
            #[cfg(feature = "simulator")]
            processor: processor(),
            commit_time: git(directory.path(), &["log", "-1", "--format=%ct"])
                .parse()
                .unwrap(),
            _directory: directory,
        }
    }

    fn request(&self, story: Story) -> Request {
        match story {
            Story::Form => Request::form(&self.archive),
            Story::Json => Request::json(&self.packed),
            Story::Repository => Request::repository(&self.repository),
            #[cfg(feature = "simulator")]
            Story::Attested => Request::form(&self.archive),
        }
    }

    /// Returns the time of every file in a bundle.
    fn epoch(&self, story: Story) -> u64 {
        if story == Story::Repository {
            self.commit_time
        } else {
            0
        }
    }

    fn options(&self, story: Story) -> Vec<PathBuf> {
        match story {
            #[cfg(feature = "simulator")]
            Story::Attested => vec!["--simulator".into(), self.processor.path().into()],
            _ => Vec::new(),
        }
    }

    /// Runs a job in which nothing fails; returns its product, and every place from which a call
    /// was made.
    pub fn rehearse(&self, story: Story) -> (Product, Trace) {
        let run = self.run(story, Plan::Record, None, None);
        assert_eq!(
            (run.problems, run.cuts),
            (Vec::new(), Vec::new()),
            "without a fault"
        );
        (
            run.product
                .unwrap_or_else(|| panic!("no product without a fault: {}", run.said)),
            run.trace,
        )
    }

    /// Runs a job with a fault.
    ///
    /// # Panics
    /// Panics if it ended in a way that is not allowed.
    pub fn perform(
        &self,
        story: Story,
        plan: Plan,
        fault: Fault,
        clean: &Product,
    ) -> (Ending, String) {
        let run = self.run(story, plan, Some(fault), None);
        let mut remarks = [run.problems.clone(), run.cuts.clone()].concat();
        remarks.extend(run.failure.clone());
        remarks.extend(
            run.said
                .lines()
                .last()
                .filter(|_| run.halted)
                .map(str::to_owned),
        );
        let remarks = remarks.join("; ");
        if let Some(product) = &run.product {
            product.assert_same_as(clean);
        }
        let ending = match () {
            () if !run.trace.injected => Ending::NotReached,
            () if run.halted => Ending::Halt,
            () if run.failure.is_some() => Ending::FailedJob,
            () if !run.problems.is_empty() => Ending::Problem,
            () if !run.cuts.is_empty() => Ending::Cut,
            () => Ending::Tolerated,
        };
        let unharmed = [Ending::Tolerated, Ending::NotReached].contains(&ending);
        assert!(
            unharmed || !fault.must_be_survived(),
            "an interruption ended as {ending:?}: {remarks}"
        );
        assert!(
            unharmed || run.trace.injected,
            "{ending:?} without a fault: {remarks}"
        );
        (ending, remarks)
    }

    /// Runs a job in which a clock jumps; returns why the job failed, if it did.
    ///
    /// # Panics
    /// Panics if the service did not go on as ever, or had another product.
    pub fn jump(&self, story: Story, jump: &Jump, clean: &Product) -> Option<String> {
        let run = self.run(story, Plan::Lie(Arc::clone(&jump.liar)), None, Some(jump));
        assert!(
            !run.halted && !run.said.contains("panicked"),
            "{}",
            run.said
        );
        assert_eq!(run.problems, Vec::<String>::new());
        assert!(
            run.cuts.is_empty() || jump.answers == Answers::SomeFromNowOn,
            "{:?}",
            run.cuts
        );
        assert!(jump.liar.told() > 0, "the clock was never read");
        if let Some(product) = &run.product {
            product.assert_same_as(clean);
        }
        run.failure
    }

    /// Asserts that the next service ends a waiting child. A service that dies while bubblewrap
    /// makes a sandbox leaves bubblewrap's child, which waits for a parent that is gone, and runs
    /// nothing. Only the next service can end it.
    fn assert_the_next_one_tidies_up(&self, left: &[String]) {
        let directory = tempfile::tempdir().unwrap();
        let mut next = Command::new(&self.service)
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--tls-listen",
                "127.0.0.1:0",
                "--work",
            ])
            .arg(directory.path().join("work"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let listening = BufReader::new(next.stdout.take().unwrap()).lines().next();
        next.kill().and_then(|()| next.wait()).unwrap();
        assert!(listening.is_some(), "the next service does not start");
        assert!(
            left_behind().is_empty(),
            "left behind, also by the next service: {left:?}"
        );
    }

    fn run(&self, story: Story, plan: Plan, fault: Option<Fault>, jump: Option<&Jump>) -> Run {
        let directory = tempfile::tempdir().unwrap();
        let work = directory.path().join("work");
        let log = directory.path().join("service.log");
        let mut command = Command::new(&self.service);
        command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--tls-listen",
                "127.0.0.1:0",
                "--work",
            ])
            .arg(&work)
            // The repository is on this machine's loopback.
            .args(["--allow-network", "127.0.0.0/8"])
            .args(self.options(story))
            .stdin(Stdio::null())
            .stdout(File::create(directory.path().join("output")).unwrap())
            .stderr(File::create(&log).unwrap());
        let service = Traced::start(command, Arc::clone(&self.image), plan);
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut scene = Scene {
                service: &service,
                work: &work,
                log: &log,
                fault,
                jump,
                told: Told::default(),
            };
            scene.reach(Moment::Start);
            if let Some(ports) = scene.ports() {
                scene.tell(ports, &self.request(story), self.epoch(story));
            }
            scene.told
        }));
        let told = told.unwrap_or_else(|panic| {
            let stacks = stacks(service.id);
            service.kill();
            let said = fs::read_to_string(&log).unwrap_or_default();
            let what = panic.downcast_ref::<String>().cloned();
            let what = what
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default();
            panic!("{what}\nthe service's threads:\n{stacks}the service's log:\n{said}");
        });
        let service_id = service.id;
        let trace = service.trace();
        let status = trace.status.expect("a status");
        let said = fs::read_to_string(&log).unwrap_or_default();
        let halted = !status.success();
        assert!(
            halted || told.asked_to_end,
            "it ended by itself, and calls that success: {said}"
        );
        let left = left_behind();
        if !left.is_empty() {
            assert!(halted, "left behind by {service_id}: {left:?}");
            self.assert_the_next_one_tidies_up(&left);
        }
        if said.contains(JOB_FAILED) && !halted {
            assert_nothing_to_take(&work, &said);
        }
        Run {
            halted,
            said,
            trace,
            product: told.product,
            failure: told.failure,
            problems: told.problems,
            cuts: told.cuts,
        }
    }
}

struct Run {
    /// The service ended by itself, or not as it should when it was told to.
    halted: bool,
    /// The service's log.
    said: String,
    trace: Trace,
    product: Option<Product>,
    failure: Option<String>,
    problems: Vec<String>,
    cuts: Vec<String>,
}

#[derive(Default)]
struct Told {
    product: Option<Product>,
    /// Why the job failed, if it did.
    failure: Option<String>,
    problems: Vec<String>,
    cuts: Vec<String>,
    asked_to_end: bool,
}

/// The client, and what it has seen so far. Every step is `None` once the service has ended.
struct Scene<'a> {
    service: &'a Traced,
    work: &'a Path,
    log: &'a Path,
    fault: Option<Fault>,
    jump: Option<&'a Jump>,
    told: Told,
}

impl Scene<'_> {
    fn reach(&self, moment: Moment) {
        if let Some(jump) = self.jump.filter(|jump| jump.moment == moment) {
            jump.liar.begin();
        }
    }

    /// Returns the ports for plaintext and TLS. The line that the service prints about them is
    /// among the calls that can fail.
    fn ports(&mut self) -> Option<(u16, u16)> {
        let deadline = Instant::now() + PATIENCE;
        while !self.service.ended() {
            if let [clear, tls] = listening(self.service.id)[..] {
                return Some((clear, tls));
            }
            assert!(Instant::now() < deadline, "it does not start");
            thread::sleep(PAUSE);
        }
        None
    }

    /// Runs the whole story.
    fn tell(&mut self, (port, tls_port): (u16, u16), request: &Request, epoch: u64) -> Option<()> {
        let health = self.ask(|| Request::get("/health").run_with_tls(tls_port))?;
        assert_eq!((health.status, health.text().as_str()), (200, "ok"));
        let passes = |jump: &&Jump| jump.moment == Moment::Served && jump.liar.passes_every_limit();
        let begun = self
            .jump
            .filter(passes)
            .map(|_| request.begin(port).expect("the beginning of an upload"));
        if begun.is_some() {
            // The earlier clients are waiting by now.
            self.get(port, "/health")?;
        }
        self.reach(Moment::Served);
        if let Some(begun) = begun {
            self.get(port, "/health")?;
            let answer = begun
                .answer()
                .expect("a response to an upload that has only begun");
            assert!(
                answer.is_problem() && answer.status == 408,
                "{}: {}",
                answer.status,
                answer.text()
            );
        }
        let (job, given) = self.submit(port, request)?;
        self.follow_into_build((port, tls_port), &job);
        let events = self.get(port, &format!("/build/{job}/events"))?;
        let document = self.get(port, &format!("/build/{job}"))?;
        let document = document.json();
        assert_times(&document["accepted_at"], &document["finished_at"]);
        let succeeded = document["state"] == "succeeded";
        assert!(succeeded || document["state"] == "failed", "{document}");
        if !succeeded {
            assert_nothing_to_take(self.work, &document.to_string());
        }
        let result = self.get(port, &format!("/build/{job}/result"))?;
        let provenance = self.get(port, &format!("/build/{job}/provenance.json"))?;
        let evidence = self.get(port, &format!("/build/{job}/evidence.json"))?;
        let artifact = self.get(port, &format!("/builds/{job}/artifacts/package"))?;
        assert_events_end(&events, if succeeded { "ok" } else { "failed" });
        if succeeded {
            let bundle = take_apart(&result.body, epoch);
            assert!(
                given.is_none_or(|it| it.status != 200 || it.body == result.body),
                "two bundles of one job"
            );
            assert_eq!(
                (provenance.status, &provenance.body),
                (200, &bundle.files["provenance.json"])
            );
            assert_eq!(
                (artifact.status, &artifact.body),
                (200, &bundle.files["artifacts/package"])
            );
            match bundle.files.get("evidence.json") {
                Some(bytes) => assert_eq!((evidence.status, &evidence.body), (200, bytes)),
                None => assert!(evidence.is_problem()),
            }
            self.told.product = Some(Product::of(bundle));
        } else {
            for answer in [&result, &provenance, &evidence, &artifact] {
                assert_eq!(answer.status, 404, "something of a job that failed");
            }
            assert!(
                given.is_none_or(|answer| answer.status != 200),
                "a bundle, and a job that failed"
            );
            self.told.failure = Some(document["result"]["error_type"].to_string());
        }
        let health = self.ask(|| Request::get("/health").run_with_tls(tls_port))?;
        assert_eq!((health.status, health.text().as_str()), (200, "ok"));
        self.told.asked_to_end = true;
        self.service.terminate();
        assert!(self.ends_within(PATIENCE), "it was told to end and goes on");
        Some(())
    }

    /// Follows a job whose clock jumps in the build until the build runs, or until its end where no
    /// client gets a response before.
    fn follow_into_build(&self, ports: (u16, u16), job: &str) {
        let Some(jump) = self.jump.filter(|jump| jump.moment == Moment::Build) else {
            return;
        };
        let directory = self.work.join(format!("job-{job}"));
        let events = Request::get(&format!("/build/{job}/events"));
        events
            .run_until(ports.0, COMPILING)
            .expect("a build that begins");
        self.reach(Moment::Build);
        if jump.answers != Answers::Everybody {
            wait_until("the job does not end", || {
                let health = Request::get("/health");
                for answer in [health.run(ports.0), health.run_with_tls(ports.1)] {
                    match answer {
                        Ok(_) => assert_ne!(jump.answers, Answers::NobodyForNow, "it responds"),
                        Err(Lost::Gone(_)) => {}
                        Err(Lost::Silent) => panic!("no response, and no end of the connection"),
                    }
                }
                directory.join("bundle.tar.gz").exists()
                    || fs::read_to_string(self.log).unwrap().contains(JOB_FAILED)
            });
            jump.liar.end();
        }
    }

    /// Submits; returns the accepted job, and the response where there was one.
    fn submit(&mut self, port: u16, request: &Request) -> Option<(String, Option<Response>)> {
        for _ in 0..ATTEMPTS {
            let answer = match request.run(port) {
                Ok(answer) => answer,
                Err(lost) => {
                    self.lost(lost)?;
                    if let Some(job) = self.accepted(port)? {
                        return Some((job, None));
                    }
                    continue;
                }
            };
            if answer.is_problem() {
                self.told.problems.push(format!(
                    "{}: {}",
                    answer.status,
                    answer.json()["error_type"]
                ));
            }
            if let Some(job) = answer.header("kettle-job-id") {
                return Some((job.to_owned(), Some(answer)));
            }
            if answer.status == 409 {
                return Some((
                    self.accepted(port)?.expect("the job that has the slot"),
                    None,
                ));
            }
        }
        self.refuses()
    }

    /// Returns the job that the service knows, by the names in its directory.
    fn accepted(&mut self, port: u16) -> Option<Option<String>> {
        let names = fs::read_dir(self.work)
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name().into_string().unwrap());
        let jobs: Vec<_> = names
            .filter_map(|name| name.strip_prefix("job-").map(str::to_owned))
            .collect();
        for job in jobs {
            if self.get(port, &format!("/build/{job}"))?.status == 200 {
                return Some(Some(job));
            }
        }
        Some(None)
    }

    fn get(&mut self, port: u16, path: &str) -> Option<Response> {
        self.ask(|| Request::get(path).run(port))
    }

    /// Returns the first response that is not an internal error.
    fn ask(&mut self, request: impl Fn() -> Result<Response, Lost>) -> Option<Response> {
        for _ in 0..ATTEMPTS {
            match request() {
                Ok(answer) if answer.is_problem() && answer.status >= 500 => {
                    self.told.problems.push(format!(
                        "{}: {}",
                        answer.status,
                        answer.json()["error_type"]
                    ));
                }
                Ok(answer) => return Some(answer),
                Err(lost) => self.lost(lost)?,
            }
        }
        self.refuses()
    }

    /// Ends the service after a client got no response in any attempt, which is right only where a
    /// fault lasts.
    fn refuses<T>(&mut self) -> Option<T> {
        let of_clock = self
            .jump
            .is_some_and(|jump| jump.answers == Answers::SomeFromNowOn);
        let lasts = of_clock || self.fault.is_some_and(Fault::lasts);
        assert!(
            lasts,
            "no response in {ATTEMPTS} attempts: {:?} {:?}",
            self.told.problems, self.told.cuts
        );
        self.told.asked_to_end = true;
        self.service.terminate();
        assert!(self.ends_within(PATIENCE), "it was told to end and goes on");
        None
    }

    fn lost(&mut self, lost: Lost) -> Option<()> {
        match lost {
            Lost::Silent => panic!("no response, or no end of one, within {PATIENCE:?}"),
            Lost::Gone(error) => self.told.cuts.push(error.to_string()),
        }
        // A service that is ending closes its connections first.
        let dying = self.told.cuts.len() > 1 || self.service.ended();
        if dying && self.ends() { None } else { Some(()) }
    }

    fn ends(&self) -> bool {
        self.ends_within(MOMENT)
    }

    fn ends_within(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while !self.service.ended() && Instant::now() < deadline {
            thread::sleep(PAUSE);
        }
        self.service.ended()
    }
}

fn wait_until(otherwise: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < deadline, "{otherwise}");
        thread::sleep(PAUSE);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[cfg(feature = "simulator")]
fn processor() -> TempDir {
    use kettle::simulator::{Identity, Key, Processor};
    const SMALL_RSA_BITS: usize = 2048;
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::draw(kettle::snp::tcb::Product::Genoa, Key::Vcek).unwrap();
    Processor::generate(identity, SMALL_RSA_BITS)
        .unwrap()
        .save(directory.path())
        .unwrap();
    directory
}

/// Asserts that a failed job leaves no bundle and no artifact in its directory either.
fn assert_nothing_to_take(work: &Path, said: &str) {
    for job in fs::read_dir(work)
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("job-"))
    {
        for name in ["bundle.tar.gz", "artifacts"] {
            assert!(
                !job.path().join(name).exists(),
                "a job that failed left {name}: {said}"
            );
        }
    }
}

/// Returns where each thread of a service waits, as far as the kernel reports it.
fn stacks(service: i32) -> String {
    let threads = fs::read_dir(format!("/proc/{service}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let line = |thread: fs::DirEntry| {
        let read = |name: &str| {
            fs::read_to_string(thread.path().join(name))
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        format!(
            "  {} in {}: call {}\n",
            read("comm"),
            read("wchan"),
            read("syscall")
        )
    };
    threads.map(line).collect()
}

/// Returns the ports on which a process listens, in the order in which it opened them.
fn listening(process: i32) -> Vec<u16> {
    const LISTEN: &str = "0A";
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    // proc(5): number, local and remote address, state, …; the inode is the tenth.
    let sockets = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let sockets: Vec<_> = sockets
        .filter(|fields| fields.get(3) == Some(&LISTEN))
        .collect();
    let descriptors = fs::read_dir(format!("/proc/{process}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    let mut descriptors: Vec<_> = descriptors
        .filter_map(|it| Some((it.file_name().to_str()?.parse::<u32>().ok()?, it.path())))
        .collect();
    descriptors.sort();
    let port = |(_, path): &(u32, PathBuf)| {
        let link = fs::read_link(path).ok()?;
        let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        let fields = sockets.iter().find(|fields| fields[9] == inode)?;
        u16::from_str_radix(fields[1].rsplit_once(':')?.1, 16).ok()
    };
    descriptors.iter().filter_map(port).collect()
}
