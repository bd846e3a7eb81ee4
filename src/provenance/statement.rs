//! Writes `provenance.json`.
//!
//! * In: subjects and a predicate.
//! * Out: bytes, serialised once.
//! * Never: a second serialisation, or a statement that another part than the pipeline makes.

use serde::Serialize;

use super::{
    Nonce, PREDICATE_TYPE, Predicate, REPORT_DATA_BYTES, STATEMENT_TYPE, Subject, report_data,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    #[serde(rename = "_type")]
    statement_type: &'static str,
    subject: &'a [Subject],
    predicate_type: &'static str,
    predicate: &'a Predicate,
}

/// Why no statement can be written.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// The build has no artifact that the statement could be about.
    #[error("a statement needs a subject")]
    NoSubject,
    /// A value cannot be represented in JSON, which is an internal error.
    #[error("the statement cannot be serialised")]
    Serialise(#[from] serde_json::Error),
}

/// The exact bytes of `provenance.json`, without anything that could be serialised again. Only a
/// finished build gets a statement.
///
/// ```compile_fail,E0451
/// use kettle::provenance::Statement;
///
/// let statement = Statement { bytes: b"{}".to_vec(), nonce: todo!() };
/// ```
///
/// ```compile_fail,E0624
/// use kettle::provenance::{Predicate, Statement, Subject};
///
/// fn state(subjects: Vec<Subject>, predicate: &Predicate) {
///     let statement = Statement::new(subjects, predicate);
/// }
/// ```
#[derive(Debug)]
pub struct Statement {
    bytes: Vec<u8>,
    nonce: Nonce,
}

impl Statement {
    /// Serialises the statement: compact JSON with a final newline, subjects sorted by name.
    ///
    /// # Errors
    /// There is no subject, or serialisation fails.
    pub(crate) fn new(
        mut subject: Vec<Subject>,
        predicate: &Predicate,
    ) -> Result<Self, StatementError> {
        if subject.is_empty() {
            return Err(StatementError::NoSubject);
        }
        subject.sort_by(|a, b| a.file.name.cmp(&b.file.name));
        let document = Document {
            statement_type: STATEMENT_TYPE,
            subject: &subject,
            predicate_type: PREDICATE_TYPE,
            predicate,
        };
        let mut bytes = serde_json::to_vec(&document)?;
        bytes.push(b'\n');
        let nonce = predicate.build_definition.external_parameters.nonce.clone();
        Ok(Self { bytes, nonce })
    }

    /// Returns the bytes that are stored, served, hashed and verified.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the same bytes, owned.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Returns the report data of a report about this statement: the digest of its bytes, and the
    /// nonce that it names.
    pub fn report_data(&self) -> [u8; REPORT_DATA_BYTES] {
        report_data(&self.bytes, &self.nonce)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::super::*;
    use super::*;

    fn digest(name: &str) -> NamedDigest {
        NamedDigest {
            name: name.to_owned(),
            digest: sha256_set(&Sha256Digest::of(name.as_bytes())),
        }
    }

    fn predicate() -> Predicate {
        Predicate {
            build_definition: BuildDefinition {
                build_type: BUILD_TYPE_CARGO,
                external_parameters: ExternalParameters {
                    source: SourceParameter::Repository {
                        repository: "https://h/r".to_owned(),
                        reference: None,
                    },
                    nonce: Nonce::parse("0A0b").unwrap(),
                    nonce_source: NonceSource::Client,
                    options: OptionsRecord::default(),
                },
                internal_parameters: InternalParameters {
                    signer: SignerRecord::new(b"a key"),
                    command: Commands {
                        build: vec!["cargo".to_owned()],
                        ..Commands::default()
                    },
                    environment: BTreeMap::new(),
                    lockfile: digest("Cargo.lock"),
                    libraries: Vec::new(),
                    link_arguments: Vec::new(),
                    import_from_derivation: Vec::new(),
                    outputs: Vec::new(),
                    toolchain: Vec::new(),
                    image: None,
                    network: vec!["fetch"],
                    sandbox: Value::Null,
                    source_date_epoch: 7,
                },
                resolved_dependencies: Vec::new(),
            },
            run_details: RunDetails {
                builder: BuilderRecord {
                    id: BUILDER_HOST,
                    version: BTreeMap::new(),
                },
                metadata: BuildMetadata {
                    invocation_id: "00".to_owned(),
                    started_on: "2026-01-01T00:00:00Z".to_owned(),
                    finished_on: "2026-01-01T00:00:01Z".to_owned(),
                },
                byproducts: Vec::new(),
            },
        }
    }

    #[test]
    fn a_statement_is_compact_json_with_sorted_subjects_and_a_newline() {
        let subject = vec![
            Subject::new(digest("b"), true),
            Subject::new(digest("a"), false),
        ];
        let statement = Statement::new(subject, &predicate()).unwrap();
        let text = std::str::from_utf8(statement.as_bytes()).unwrap();
        assert!(text.starts_with(
            r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a","digest":"#
        ));
        assert!(text.ends_with("}\n") && text.matches('\n').count() == 1);
        let read: Value = serde_json::from_str(text).unwrap();
        assert!(read["subject"][0].get("annotations").is_none(), "{text}");
        assert_eq!(
            read["subject"][1]["annotations"],
            serde_json::json!({"executable": true})
        );
        let external = &read["predicate"]["buildDefinition"]["externalParameters"];
        let expected = serde_json::json!({
            "source": {"repository": "https://h/r"}, "nonce": "0a0b", "nonceSource": "client"
        });
        assert_eq!(*external, expected);
        let command = &read["predicate"]["buildDefinition"]["internalParameters"]["command"];
        assert_eq!(
            *command,
            serde_json::json!({"fetch": [], "build": ["cargo"]})
        );
    }

    #[test]
    fn a_statement_is_attested_with_the_nonce_that_it_names() {
        let subject = vec![Subject::new(digest("a"), false)];
        let statement = Statement::new(subject, &predicate()).unwrap();
        let nonce = Nonce::parse("0a0b").unwrap();
        let expected = report_data(statement.as_bytes(), &nonce);
        assert_eq!(statement.report_data(), expected);
    }

    #[test]
    fn a_statement_without_subject_is_refused() {
        assert!(matches!(
            Statement::new(Vec::new(), &predicate()),
            Err(StatementError::NoSubject)
        ));
    }
}
