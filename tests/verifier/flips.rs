//! Does the verifier reject every single flipped bit of a good bundle?

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kettle::bundle::read::{Bundle, stream};
use kettle::bundle::{Entry, write};
use kettle::provenance::{Nonce, report_data};
use kettle::verifier::{Check, verify};

use super::scene::{ARTIFACT, LOCKFILE, LOG, NONCE, Scene, evidence};

#[test]
fn no_flipped_bit_of_the_report_is_accepted() {
    let scene = Scene::good();
    let (leaf, bundle, expectations) = (scene.leaf_der(), scene.bundle(), scene.expectations());
    let good = scene.report(report_data(
        &bundle.provenance,
        &Nonce::parse(NONCE).unwrap(),
    ));
    for bit in 0..good.len() * 8 {
        let mut report = good;
        report[bit / 8] ^= 1 << (bit % 8);
        let changed = Bundle {
            evidence: Some(evidence(&report, &leaf).to_string().into_bytes()),
            ..bundle.clone()
        };
        assert!(
            !verify(Ok(changed), &expectations).is_accepted(),
            "bit {bit}"
        );
    }
}

#[test]
fn no_flipped_bit_of_the_documents_is_accepted() {
    let scene = Scene::good();
    let (bundle, expectations) = (scene.bundle(), scene.expectations());
    for bit in 0..bundle.provenance.len() * 8 {
        let mut changed = bundle.clone();
        changed.provenance[bit / 8] ^= 1 << (bit % 8);
        assert!(
            !verify(Ok(changed), &expectations).is_accepted(),
            "bit {bit} of provenance.json"
        );
    }
    let good = bundle.evidence.clone().unwrap();
    for bit in 0..good.len() * 8 {
        let mut evidence = good.clone();
        evidence[bit / 8] ^= 1 << (bit % 8);
        let changed = Bundle {
            evidence: Some(evidence),
            ..bundle.clone()
        };
        assert!(
            !verify(Ok(changed), &expectations).is_accepted(),
            "bit {bit} of evidence.json"
        );
    }
    assert!(verify(Ok(bundle), &expectations).is_accepted());
}

#[test]
fn no_flipped_bit_of_the_certificate_is_accepted() {
    let scene = Scene::good();
    let (bundle, leaf) = (scene.bundle(), scene.leaf_der());
    let mut expectations = scene.expectations();
    for bit in 0..leaf.len() * 8 {
        let mut changed = leaf.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        expectations.certificate = Some(changed);
        let accepted = verify(Ok(bundle.clone()), &expectations).is_accepted();
        assert!(!accepted, "bit {bit} of {}", STANDARD.encode(&leaf));
    }
}

#[test]
fn no_flipped_bit_of_a_file_is_accepted() {
    let scene = Scene::good();
    let (bundle, expectations) = (scene.bundle(), scene.expectations());
    let files = [
        ("artifacts/program", ARTIFACT),
        ("build-config/Cargo.lock", LOCKFILE),
        ("build.log", LOG),
    ];
    let packed = |changed: usize, bit: usize| {
        let mut files = files.map(|(path, bytes)| (path, bytes.to_vec()));
        files[changed].1[bit / 8] ^= 1 << (bit % 8);
        let entries = files
            .iter()
            .map(|(path, bytes)| Entry::of_bytes(*path, bytes));
        let documents = [
            ("provenance.json", &bundle.provenance),
            ("evidence.json", bundle.evidence.as_ref().unwrap()),
        ];
        let entries = entries.chain(documents.map(|(path, bytes)| Entry::of_bytes(path, bytes)));
        // The name of the repository in the statement.
        write(Vec::new(), "project", entries.collect(), 0).unwrap()
    };
    for (changed, (path, bytes)) in files.iter().enumerate() {
        for bit in 0..bytes.len() * 8 {
            let result = verify(stream(&packed(changed, bit)[..]), &expectations);
            assert!(!result.is_accepted(), "bit {bit} of {path}");
            assert_eq!(
                result.outcome(Check::Subjects).name(),
                "reject",
                "bit {bit} of {path}"
            );
        }
    }
}
