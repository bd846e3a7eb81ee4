//! Any bytes as a host's certificate table.

use kettle::attester::{Certificates, Evidence, MAX_TABLE_BYTES};
use kettle::snp::report::{REPORT_BYTES, Report};
use kettle::verifier;

const PEM: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// A returned certificate was inside the table, and a verifier reads it from the evidence
/// unchanged.
pub fn target(data: &[u8]) {
    let Ok(certificates) = Certificates::read(data) else {
        return;
    };
    assert!(data.len() <= MAX_TABLE_BYTES);
    for der in [&certificates.vcek, &certificates.ask, &certificates.ark]
        .into_iter()
        .flatten()
    {
        assert!(
            contains(data, der) || contains(data, PEM),
            "not from the table"
        );
    }
    let vcek = certificates.vcek.clone();
    let evidence = Evidence::test_only_unchecked(Report::from([0; REPORT_BYTES]), certificates);
    let read =
        verifier::Evidence::read(&evidence.to_json().expect("evidence")).expect("our own evidence");
    assert_eq!(read.certificate, vcek);
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}
