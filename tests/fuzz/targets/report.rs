//! Any bytes as an attestation report, beside the certificate of a real one.

use kettle::snp::report::Report;
use kettle::verifier::{
    Evidence, Expectations, ReferenceValues, TrustRoots, verify_evidence_alone,
};

const REPORT: &[u8] = include_bytes!("../../data/snp/reports/genoa-v5-vcek-8fd94192/report.bin");
const VCEK: &[u8] = include_bytes!("../../data/snp/reports/genoa-v5-vcek-8fd94192/vek.der");
/// The moment of interest: 2026-06-01T00:00:00Z.
const MOMENT: u64 = 1_780_272_000;

/// An accepted report is one that the processor signed.
pub fn target(data: &[u8]) {
    let Ok(report) = Report::try_from(data) else {
        return;
    };
    let mut references = ReferenceValues::default();
    references.add(report.measurement());
    let expectations =
        Expectations::new(TrustRoots::amd().expect("AMD's roots"), MOMENT, references);
    let signed = report.signed_bytes().to_vec();
    let evidence = Evidence::new(report, Some(VCEK.to_vec()));
    if verify_evidence_alone(&evidence, &expectations).is_accepted() {
        assert_eq!(signed, REPORT[..signed.len()]);
    }
}
