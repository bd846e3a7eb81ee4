//! A reader of bundles.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// RFC 1952: magic, deflate, no flags, no time, no extra flags, unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Paths below the top directory, with their bytes.
pub struct Bundle {
    pub top: String,
    pub files: BTreeMap<String, Vec<u8>>,
    /// The names of the artifacts that anybody may execute.
    pub executables: BTreeSet<String>,
}

impl Bundle {
    /// Reads a bundle whose times are `epoch`; checks every attribute that could vary.
    pub fn read(bytes: &[u8], epoch: u64) -> Self {
        assert_eq!(bytes[..10], GZIP_HEADER);
        // It has the one encoding that a verifier accepts.
        let read = kettle::bundle::read::stream(bytes).unwrap();
        assert_eq!(read.time, Some(epoch));
        let (mut names, mut files, mut tops) = (Vec::new(), BTreeMap::new(), Vec::new());
        for entry in tar::Archive::new(GzDecoder::new(bytes)).entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header();
            assert!(header.entry_type().is_file());
            assert_eq!(
                (
                    header.uid().unwrap(),
                    header.gid().unwrap(),
                    header.mtime().unwrap()
                ),
                (0, 0, epoch)
            );
            assert_eq!(
                (header.username().unwrap(), header.groupname().unwrap()),
                (Some(""), Some(""))
            );
            let mode = header.mode().unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            assert!(
                mode == 0o644 || mode == 0o755 && path.contains("/artifacts/"),
                "{path}: {mode:o}"
            );
            let (top, path) = path.split_once('/').unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            tops.push(top.to_owned());
            names.push(path.to_owned());
            assert!(
                files.insert(path.to_owned(), content).is_none(),
                "{path} is there twice"
            );
        }
        assert!(names.is_sorted(), "{names:?}");
        tops.dedup();
        assert_eq!(tops.len(), 1, "{tops:?}");
        let executables = read
            .artifacts
            .into_iter()
            .filter(|file| file.executable)
            .map(|file| file.name)
            .collect();
        Self {
            top: tops.remove(0),
            files,
            executables,
        }
    }

    pub fn statement(&self) -> Value {
        serde_json::from_slice(&self.files["provenance.json"]).unwrap()
    }

    /// Returns the artifacts by name.
    pub fn artifacts(&self) -> BTreeMap<&str, &[u8]> {
        let artifact = |(path, bytes): (&'_ String, &'_ Vec<u8>)| {
            path.starts_with("artifacts/").then_some(bytes.len())
        };
        assert!(self.files.iter().any(|it| artifact(it).is_some()));
        self.files
            .iter()
            .filter_map(|(path, bytes)| Some((path.strip_prefix("artifacts/")?, &bytes[..])))
            .collect()
    }

    /// Asserts that subjects, lockfile, log and bill of materials are as in the statement, that the
    /// signed statement is the statement, and that there are no other files.
    pub fn assert_described(&self) {
        let statement = self.statement();
        let subjects: Vec<_> = statement["subject"]
            .as_array()
            .unwrap()
            .iter()
            .map(described)
            .collect();
        let files: Vec<_> = self
            .artifacts()
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), sha256(bytes)))
            .collect();
        assert_eq!(subjects, files);
        let annotated = statement["subject"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|subject| {
                let annotations = subject.get("annotations")?;
                assert_eq!(*annotations, serde_json::json!({"executable": true}));
                Some(described(subject).0)
            });
        assert_eq!(annotated.collect::<BTreeSet<_>>(), self.executables);
        let log = ("build.log".to_owned(), sha256(&self.files["build.log"]));
        let definition = &statement["predicate"]["buildDefinition"];
        let lockfile = described(&definition["internalParameters"]["lockfile"]);
        assert!(
            ["Cargo.lock", "flake.lock"].contains(&&*lockfile.0),
            "{lockfile:?}"
        );
        assert_eq!(
            lockfile.1,
            sha256(&self.files[&format!("build-config/{}", lockfile.0)])
        );
        let byproducts = statement["predicate"]["runDetails"]["byproducts"]
            .as_array()
            .unwrap();
        let mut byproducts: Vec<_> = byproducts.iter().map(described).collect();
        byproducts.sort();
        let sbom = (
            "sbom.cdx.json".to_owned(),
            sha256(&self.files["sbom.cdx.json"]),
        );
        let mut expected = [lockfile, log, sbom];
        expected.sort();
        assert_eq!(byproducts, expected);
        let envelope: Value =
            serde_json::from_slice(&self.files["provenance.sigstore.json"]).unwrap();
        let payload = envelope["dsseEnvelope"]["payload"].as_str().unwrap();
        assert!(STANDARD.decode(payload).unwrap() == self.files["provenance.json"]);
        let signed = usize::from(self.files.contains_key("evidence.json"));
        assert_eq!(
            self.files.len(),
            files.len() + 5 + signed,
            "{:?}",
            self.files.keys()
        );
    }
}

fn described(descriptor: &Value) -> (String, String) {
    let text = |value: &Value| {
        value
            .as_str()
            .unwrap_or_else(|| panic!("{descriptor}"))
            .to_owned()
    };
    (
        text(&descriptor["name"]),
        text(&descriptor["digest"]["sha256"]),
    )
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
