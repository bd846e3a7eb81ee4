//! Every product, kind of key and version of the report, verified by another implementation and by
//! ours.

use kettle::simulator::{Identity, Key, Processor, RSA_BITS};
use kettle::snp::report::Report;
use kettle::snp::tcb::Product;
use kettle::verifier::{
    Evidence, Expectations, Outcome, ReferenceValues, TrustRoots, verify_evidence_alone,
};
use sev::certs::snp::{Certificate, Chain, Verifiable, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;

use super::processors::{MEASUREMENT, all};

/// The moment of interest: 2026-06-01T00:00:00Z.
const NOW: u64 = 1_780_272_000;
const DATA: [u8; 64] = [0x42; 64];

/// Returns the report that firmware of each version would make, by the same key.
fn reports(processor: &Processor) -> impl Iterator<Item = (u32, Report)> {
    (2..=5).map(|version| {
        let directory = tempfile::tempdir().unwrap();
        processor.save(directory.path()).unwrap();
        let mut same = Processor::open(directory.path()).unwrap();
        (same.report_version, same.measurement) = (version, MEASUREMENT);
        (version, same.report(&DATA, 0))
    })
}

fn theirs(processor: &Processor, report: &Report) -> std::io::Result<()> {
    let hierarchy = processor.hierarchy();
    let read = |der: &[u8]| Certificate::from_der(der).unwrap();
    let chain = Chain {
        ca: ca::Chain {
            ark: read(&hierarchy.ark),
            ask: read(&hierarchy.ask),
        },
        vek: read(&hierarchy.vek),
    };
    (&chain, &AttestationReport::from_bytes(report.as_bytes())?).verify()
}

/// Returns whether the crate cannot tell the product: without CPUID it uses the chip id, which a
/// VLEK's report does not have.
fn is_unknown_to_them(processor: &Processor, version: u32) -> bool {
    version == 2 && processor.identity().key == Key::Vlek
}

fn ours(processor: &Processor, report: &Report) -> Vec<String> {
    let hierarchy = processor.hierarchy();
    let roots = TrustRoots::test_only(hierarchy.trust_root().unwrap().as_bytes()).unwrap();
    let mut references = ReferenceValues::default();
    references.add(MEASUREMENT);
    let evidence = Evidence::new(report.clone(), Some(hierarchy.vek.clone()));
    let result = verify_evidence_alone(&evidence, &Expectations::new(roots, NOW, references));
    let is_fine = |outcome: &Outcome| matches!(outcome, Outcome::Pass | Outcome::NotChecked);
    let not_fine = result.outcomes().filter(|(_, outcome)| !is_fine(outcome));
    not_fine
        .map(|(check, outcome)| format!("{check:?}: {outcome:?}"))
        .collect()
}

#[test]
fn an_independent_verifier_accepts_every_shape_and_so_do_we() {
    for processor in all() {
        for (version, report) in reports(processor) {
            let what = format!("{:?}, version {version}", processor.identity());
            let verdict = theirs(processor, &report);
            assert_eq!(
                verdict.is_ok(),
                !is_unknown_to_them(processor, version),
                "{what}: {verdict:?}"
            );
            assert_eq!(ours(processor, &report), [""; 0], "{what}");
        }
    }
}

#[test]
fn neither_accepts_a_report_of_another_processor_or_with_another_byte() {
    let [one, other, ..] = all() else { panic!() };
    let (_, report) = reports(one).next().unwrap();
    assert!(theirs(other, &report).is_err() && !ours(other, &report).is_empty());
    let mut bytes = *report.as_bytes();
    bytes[0x50] ^= 1;
    assert!(
        theirs(one, &Report::from(bytes)).is_err() && !ours(one, &Report::from(bytes)).is_empty()
    );
}

#[test]
fn keys_have_amds_length_unless_a_test_is_in_a_hurry() {
    let processor =
        Processor::generate(Identity::draw(Product::Milan, Key::Vcek).unwrap(), RSA_BITS).unwrap();
    let modulus = Certificate::from_der(&processor.hierarchy().ark).unwrap();
    assert_eq!(
        (RSA_BITS, modulus.to_der().unwrap().len() > 1300),
        (4096, true)
    );
    theirs(&processor, &processor.report(&DATA, 0)).unwrap();
}
