//! Builds the result document: the same outcome of a job, once for each kind of reader.
//!
//! * In: how the job ended.
//! * Out: three JSON documents: for the job document, for the typed events, and for
//!   `/build/stream`.
//! * Never: a path of this machine, or a document for the stream that is longer than its line.
//!
//! | document | word for success | provenance and evidence | artifacts |
//! |---|---|---|---|
//! | full | `success` | embedded | all |
//! | typed | `ok` | embedded | all |
//! | stream | `success` | by URL | all, or none where they do not fit |
//!
//! Existing clients test for both words. In the stream, an error that does not fit is cut.

use std::sync::OnceLock;

use serde::Serialize;
use serde_json::Value;

use super::{links, stream_line};
use crate::digest::Sha256Digest;
use crate::error_type::ErrorType;
use crate::job::{Finished, Job, JobId, Outcome};
use crate::provenance::Nonce;
use crate::toolchain::Artifact;

/// The result documents of this machine's one job, written when the first reader needs one.
#[derive(Debug, Default)]
pub struct Results(OnceLock<ResultDocuments>);

/// One outcome as a JSON document for each kind of reader.
#[derive(Debug, Default)]
pub struct ResultDocuments {
    /// The document under `result` in the job document.
    pub full: String,
    /// The document in the `complete` event of the typed events.
    pub typed: String,
    /// The document in the `complete` event of `/build/stream`, which fits into one line.
    pub stream: String,
}

#[derive(Serialize)]
struct Succeeded<'a> {
    build_id: String,
    job_id: String,
    status: &'static str,
    nonce: String,
    toolchain: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifacts: Option<Vec<ArtifactLink<'a>>>,
    build_config: FileLink<'a>,
    #[serde(flatten)]
    proof: Proof,
    result_url: String,
}

/// Provenance and evidence, as they are in the bundle or as the URLs of both.
#[derive(Serialize)]
#[serde(untagged)]
enum Proof {
    Embedded {
        provenance: Value,
        evidence: Option<Value>,
    },
    Linked {
        provenance_url: String,
        evidence_url: Option<String>,
    },
}

#[derive(Serialize)]
struct ArtifactLink<'a> {
    #[serde(flatten)]
    file: FileLink<'a>,
    size: u64,
}

#[derive(Serialize)]
struct FileLink<'a> {
    name: &'a str,
    sha256: String,
    download_url: String,
}

#[derive(Serialize)]
struct Failed<'a> {
    build_id: String,
    job_id: String,
    status: &'static str,
    error: &'a str,
    error_type: &'static str,
}

impl Results {
    /// Returns the documents about `job`, or `None` while it runs.
    pub fn of(&self, job: &Job) -> Option<&ResultDocuments> {
        let ended = job.ended()?;
        let write = || ResultDocuments::new(job.id(), job.nonce(), &ended.outcome);
        Some(self.0.get_or_init(write))
    }
}

impl ResultDocuments {
    fn new(id: JobId, nonce: &Nonce, outcome: &Outcome) -> Self {
        Self::written(id, nonce, outcome).unwrap_or_else(|error| {
            log::error!("the result document cannot be written as JSON: {error}");
            Self::written(id, nonce, &Outcome::internal()).unwrap_or_default()
        })
    }

    /// # Errors
    /// Provenance or evidence is not JSON.
    fn written(id: JobId, nonce: &Nonce, outcome: &Outcome) -> Result<Self, serde_json::Error> {
        match outcome {
            Outcome::Succeeded(finished) => Self::of_success(id, nonce, finished),
            Outcome::Failed {
                error_type,
                message,
            } => Self::of_failure(id, *error_type, message),
        }
    }

    fn of_success(
        id: JobId,
        nonce: &Nonce,
        finished: &Finished,
    ) -> Result<Self, serde_json::Error> {
        let mut document = Succeeded::new(id, nonce, finished)?;
        let full = serde_json::to_string(&document)?;
        document.status = "ok";
        let typed = serde_json::to_string(&document)?;
        document.status = "success";
        document.proof = Proof::linked(id, finished);
        let mut stream = serde_json::to_string(&document)?;
        if stream.len() > stream_line::MAX_RESULT_BYTES {
            document.artifacts = None;
            stream = serde_json::to_string(&document)?;
        }
        Ok(Self {
            full,
            typed,
            stream,
        })
    }

    fn of_failure(
        id: JobId,
        error_type: ErrorType,
        message: &str,
    ) -> Result<Self, serde_json::Error> {
        let mut document = Failed {
            build_id: id.to_string(),
            job_id: id.to_string(),
            status: "failed",
            error: message,
            error_type: error_type.as_str(),
        };
        let full = serde_json::to_string(&document)?;
        let excess = full.len().saturating_sub(stream_line::MAX_RESULT_BYTES);
        document.error = stream_line::shortened_by(message, excess);
        let stream = serde_json::to_string(&document)?;
        Ok(Self {
            typed: full.clone(),
            full,
            stream,
        })
    }
}

impl<'a> Succeeded<'a> {
    /// Returns the full document about a success.
    fn new(id: JobId, nonce: &Nonce, finished: &'a Finished) -> Result<Self, serde_json::Error> {
        let lockfile = &finished.build_config;
        let link = |artifact: &'a Artifact| ArtifactLink::new(id, artifact);
        Ok(Self {
            build_id: id.to_string(),
            job_id: id.to_string(),
            status: "success",
            nonce: nonce.to_string(),
            toolchain: finished.toolchain.to_string(),
            artifacts: Some(finished.artifacts.iter().map(link).collect()),
            build_config: FileLink {
                name: lockfile.name,
                sha256: Sha256Digest::of(&lockfile.bytes).to_string(),
                download_url: links::build_config(id, lockfile.name),
            },
            proof: Proof::embedded(finished)?,
            result_url: links::result(id),
        })
    }
}

impl Proof {
    fn embedded(finished: &Finished) -> Result<Self, serde_json::Error> {
        let evidence = finished.evidence.as_deref();
        Ok(Self::Embedded {
            provenance: serde_json::from_slice(&finished.provenance)?,
            evidence: evidence.map(serde_json::from_slice).transpose()?,
        })
    }

    fn linked(id: JobId, finished: &Finished) -> Self {
        Self::Linked {
            provenance_url: links::provenance(id),
            evidence_url: finished.evidence.is_some().then(|| links::evidence(id)),
        }
    }
}

impl<'a> ArtifactLink<'a> {
    fn new(id: JobId, artifact: &'a Artifact) -> Self {
        Self {
            file: FileLink {
                name: &artifact.name,
                sha256: artifact.sha256.to_string(),
                download_url: links::artifact(id, &artifact.name),
            },
            size: artifact.size,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::job::BundleFile;
    use crate::source::ProjectName;
    use crate::toolchain::{Kind, Lockfile};

    fn id() -> JobId {
        JobId::parse("00112233445566778899aabbccddeeff").unwrap()
    }

    fn success(artifacts: usize) -> Finished {
        let sha256 = Sha256Digest::of(b"");
        let artifact = |number| Artifact {
            name: format!("program-{number}"),
            path: "/".into(),
            sha256,
            size: 1,
            executable: true,
        };
        let bundle = BundleFile {
            path: "/".into(),
            size: 1,
            sha256,
        };
        let dependency = |number| {
            json!({"uri": format!("pkg:cargo/dependency-{number}@1.2.3"),
                "digest": {"sha256": sha256.to_string()}})
        };
        let dependencies: Vec<Value> = (0..400).map(dependency).collect();
        let provenance = json!({"resolvedDependencies": dependencies});
        Finished {
            project: ProjectName::of_repository("https://example.org/x"),
            toolchain: Kind::Cargo,
            bundle,
            artifacts: (0..artifacts).map(artifact).collect(),
            build_config: Lockfile {
                name: "Cargo.lock",
                bytes: Vec::new(),
            },
            sbom: Vec::new(),
            provenance: provenance.to_string().into_bytes(),
            envelope: Vec::new(),
            evidence: Some(br#"{"report":"AA=="}"#.to_vec()),
        }
    }

    /// Returns the documents as JSON: the full one, the typed one, the one for the stream.
    fn documents(outcome: &Outcome) -> [Value; 3] {
        let nonce = Nonce::parse("00c0ffee").unwrap();
        let documents = ResultDocuments::new(id(), &nonce, outcome);
        let line = format!(
            "data: {{\"type\":\"complete\",\"result\":{}}}\n",
            documents.stream
        );
        assert!(
            line.len() <= stream_line::MAX_DATA_LINE_BYTES,
            "{}",
            line.len()
        );
        [documents.full, documents.typed, documents.stream]
            .map(|text| serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn a_result_in_the_stream_has_urls_in_place_of_what_is_long() {
        let [mut expected, _, stream] = documents(&Outcome::Succeeded(Box::new(success(2))));
        let members = expected.as_object_mut().unwrap();
        members.remove("provenance").unwrap();
        members.remove("evidence").unwrap();
        let url = |name: &str| format!("/build/{}/{name}", id()).into();
        members.insert("provenance_url".to_owned(), url("provenance.json"));
        members.insert("evidence_url".to_owned(), url("evidence.json"));
        assert_eq!(stream, expected);

        let without_evidence = Finished {
            evidence: None,
            ..success(2)
        };
        let [full, _, stream] = documents(&Outcome::Succeeded(Box::new(without_evidence)));
        assert_eq!(full.get("evidence"), Some(&Value::Null));
        assert_eq!(stream.get("evidence_url"), Some(&Value::Null));

        let [full, _, stream] = documents(&Outcome::Succeeded(Box::new(success(400))));
        assert_eq!(full["artifacts"].as_array().unwrap().len(), 400);
        assert_eq!(stream.get("artifacts"), None);
        assert_eq!(stream["result_url"], links::result(id()));
    }

    #[test]
    fn the_typed_document_has_another_word_for_success_and_no_other_difference() {
        let [mut full, typed, _] = documents(&Outcome::Succeeded(Box::new(success(2))));
        assert_eq!(
            (&full["status"], &typed["status"]),
            (&json!("success"), &json!("ok"))
        );
        full["status"] = "ok".into();
        assert_eq!(full, typed);
    }

    #[test]
    fn a_failure_in_the_stream_keeps_the_beginning_of_its_error() {
        let failure = |message: &str| Outcome::Failed {
            error_type: ErrorType::BuildFailed,
            message: message.to_owned(),
        };
        let [full, typed, stream] = documents(&failure("no"));
        assert_eq!((&full, &full), (&typed, &stream));
        let [full, _, stream] =
            documents(&failure(&"\"é".repeat(stream_line::MAX_DATA_LINE_BYTES)));
        let error = stream["error"].as_str().unwrap();
        assert!(error.len() > stream_line::MAX_DATA_LINE_BYTES / 2);
        assert!(full["error"].as_str().unwrap().starts_with(error));
        assert_eq!(stream["error_type"], "BuildFailed");
    }
}
