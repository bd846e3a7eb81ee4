//! Any bytes as the response of AMD's key service, the status first.

use kettle::kds::{Response, Service, Transport, TransportError};
use kettle::snp::report::{Report, SigningKey};
use kettle::snp::tcb::Product;

const REPORT: &[u8] = include_bytes!("../../data/snp/reports/genoa-v5-vcek-8fd94192/report.bin");

struct Always<'a>(&'a [u8]);

impl Transport for Always<'_> {
    fn get(&self, url: &str, _limit: usize) -> Result<Response, TransportError> {
        assert!(url.starts_with("https://kdsintf.amd.com/"));
        let (status, body) = self.0.split_at(self.0.len().min(2));
        let status = status.try_into().map_or(200, u16::from_be_bytes);
        Ok(Response {
            status,
            body: body.to_vec(),
        })
    }
}

/// The returned bytes are all of the body, one DER structure, after a success.
pub fn target(data: &[u8]) {
    let report = Report::try_from(REPORT).expect("a report");
    let service = Service::new(Always(data), None);
    let certificate = service
        .certificate(&report, |_| false)
        .map(|found| found.expect("a chip id"));
    let list = service.revocation_list(Product::Genoa, SigningKey::Vcek, |_| false);
    assert_eq!(certificate.is_ok(), list.is_ok());
    for bytes in [certificate, list].into_iter().flatten() {
        assert_eq!((&data[..2], bytes[0]), (&200_u16.to_be_bytes()[..], 0x30));
        assert_eq!(bytes, data[2..]);
    }
}
