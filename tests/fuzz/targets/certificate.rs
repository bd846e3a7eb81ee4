//! Any bytes as the certificate of a real report.

use kettle::snp::report::Report;
use kettle::verifier::{
    Evidence, Expectations, ReferenceValues, TrustRoots, verify_evidence_alone,
};

const REPORT: &[u8] = include_bytes!("../../data/snp/reports/genoa-v5-vcek-8fd94192/report.bin");
const VCEK: &[u8] = include_bytes!("../../data/snp/reports/genoa-v5-vcek-8fd94192/vek.der");
/// The moment of interest: 2026-06-01T00:00:00Z.
const MOMENT: u64 = 1_780_272_000;

/// An accepted certificate is one that AMD signed. The same bytes are also tried as a revocation
/// list, and never accepted.
pub fn target(data: &[u8]) {
    let report = Report::try_from(REPORT).expect("a report");
    let mut references = ReferenceValues::default();
    references.add(report.measurement());
    let mut expectations =
        Expectations::new(TrustRoots::amd().expect("AMD's roots"), MOMENT, references);
    let mut evidence = Evidence::new(report, Some(data.to_vec()));
    if verify_evidence_alone(&evidence, &expectations).is_accepted() {
        assert_eq!(data, VCEK);
    }
    evidence.certificate = Some(VCEK.to_vec());
    expectations.crl = Some(data.to_vec());
    assert!(!verify_evidence_alone(&evidence, &expectations).is_accepted());
}
