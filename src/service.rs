//! Puts the service together and runs it, both for PID 1 of the image and for a process of a host.
//!
//! * In: addresses, the sandbox, the toolchain, and what statements may tell about the machine.
//! * Out: two listening ports, until the process is told to end.
//! * Never: a listening port before everything that can fail has been set up, or an attester that
//!   was not tried.

use std::fs;
use std::future::poll_fn;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{LocalSet, spawn_local};

use crate::api::submission::Intake;
use crate::api::{self, Listeners, Premises, Service, Session, TlsError, TlsIdentity};
use crate::attester::{AttestError, Attester};
use crate::job::{Pipeline, Slot};
use crate::provenance::{Platform, REPORT_DATA_BYTES};
use crate::sandbox::Runner;
use crate::snp::measurement::LaunchMeasurement;
use crate::toolchain::{Limits, Toolchain};

/// The settings of the service: where it listens, and what it allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The address of the plaintext port.
    pub listen: SocketAddr,
    /// The address of the port with TLS.
    pub tls_listen: SocketAddr,
    /// The place where the service runs, which decides what the plaintext port serves.
    pub premises: Premises,
    /// The limits for the time of a build's phases.
    pub limits: Limits,
}

/// The machine as statements describe it, and the attester that vouches for it.
pub struct Standing {
    platform: Platform,
    attester: Option<Arc<dyn Attester>>,
    measurement: Option<LaunchMeasurement>,
}

impl Standing {
    /// Describes a machine for which nobody vouches.
    pub fn unattested(platform: Platform) -> Self {
        Self {
            platform,
            attester: None,
            measurement: None,
        }
    }

    /// Describes a machine for which `attester` vouches.
    ///
    /// The attester has to work before the first build is accepted, so it is tried here with report
    /// data of zeros.
    ///
    /// # Errors
    /// The attester returns no evidence.
    pub fn attested(
        platform: Platform,
        attester: impl Attester + 'static,
    ) -> Result<Self, AttestError> {
        let evidence = attester.attest(&[0; REPORT_DATA_BYTES])?;
        let measurement = evidence.report().measurement();
        Ok(Self {
            platform,
            attester: Some(Arc::new(attester)),
            measurement: Some(measurement),
        })
    }

    /// Returns one line about the machine, for the log of a job.
    fn about(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let program = match &self.platform.image {
            None => format!("kettle-host {version} on an ordinary host"),
            Some(image) => format!(
                "kettle-init {version} in the image with root hash {}",
                image.root_hash
            ),
        };
        let measurement = match &self.measurement {
            None => "none: no evidence".to_owned(),
            Some(found) => found.to_string(),
        };
        format!("{program}, launch measurement {measurement}")
    }
}

/// The reason why the service did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The system refused a file, a socket, a thread or a signal.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The TLS key could not be generated.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A service that is completely set up, and does not listen yet.
pub struct Prepared {
    runtime: Runtime,
    local: LocalSet,
    service: Service,
    identity: TlsIdentity,
    settings: Settings,
    /// The directory of uploads, which nobody needs once the service has ended.
    uploads: PathBuf,
}

impl Prepared {
    /// Sets everything up that needs no network; uploads, the build and its results go below
    /// `work`.
    ///
    /// # Errors
    /// The system refuses a resource, or the TLS key cannot be generated.
    pub fn new(
        settings: Settings,
        runner: Runner,
        toolchain: Toolchain,
        work: PathBuf,
        standing: Standing,
    ) -> Result<Self, ServiceError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let local = LocalSet::new();
        let uploads = work.join(format!("intake-{}", std::process::id()));
        let intake = Intake::open(uploads.clone())?;
        let about = standing.about();
        let Standing {
            platform, attester, ..
        } = standing;
        let pipeline = Pipeline::new(
            runner,
            toolchain,
            settings.limits,
            uploads.clone(),
            platform,
            attester.clone(),
        );
        // Tasks are spawned into the set, and run once it is polled.
        let entered = local.enter();
        pipeline.warm_up();
        drop(entered);
        let identity = TlsIdentity::generate()?;
        let slot = Arc::new(Slot::new(work, about));
        let premises = settings.premises.clone();
        let mut service = Service::new(slot, Box::new(intake), Box::new(pipeline), premises);
        if let Some(attester) = attester {
            let session = Session::new(attester, identity.public_key().to_vec());
            service = service.with_session(session);
        }
        Ok(Self {
            runtime,
            local,
            service,
            identity,
            settings,
            uploads,
        })
    }

    /// Listens, prints the addresses, and serves until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// An address cannot be listened on, or the uploads cannot be removed at the end.
    pub fn serve(self) -> Result<(), ServiceError> {
        let Self {
            runtime,
            local,
            service,
            identity,
            settings,
            uploads,
        } = self;
        local.block_on(&runtime, serve_until_told(&settings, service, identity))?;
        // Waits for a job that may be removing the same files: the two would get into each other's
        // way.
        drop((local, runtime));
        match fs::remove_dir_all(uploads) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

async fn serve_until_told(
    settings: &Settings,
    service: Service,
    identity: TlsIdentity,
) -> io::Result<()> {
    let listeners = Listeners::bind(settings.listen, settings.tls_listen, identity).await?;
    let addresses = listeners.addresses()?;
    // A reader of the output that has gone away is not an error of the service.
    let _ = writeln!(
        io::stdout(),
        "listening on http://{}\nlistening on https://{}",
        addresses.plaintext,
        addresses.tls
    );
    let serving = spawn_local(api::serve(listeners, Rc::new(service)));
    told_to_end().await?;
    serving.abort();
    Ok(())
}

/// Waits for SIGTERM or SIGINT.
async fn told_to_end() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    poll_fn(
        |cx| match (terminate.poll_recv(cx), interrupt.poll_recv(cx)) {
            (Poll::Pending, Poll::Pending) => Poll::Pending,
            _ => Poll::Ready(()),
        },
    )
    .await;
    Ok(())
}
