//! The HCL report that a paravisor of Azure leaves in its machine's TPM.
//!
//! * In: a processor, what signed the paravisor, and the modulus of the TPM's key.
//! * Out: the content of the NV index.
//! * Never: a real paravisor's report: the chip's key is this processor's.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::processor::{Processor, SignedLaunch};
use crate::snp::report::REPORT_BYTES;

/// The size of the NV index: real ones have 2,600 bytes, and swtpm's at most these.
const INDEX_BYTES: usize = 2048;

/// Returns the report for a key of RSA with the exponent 65537.
pub fn hcl_report(processor: &Processor, launch: &SignedLaunch, modulus: &[u8]) -> Vec<u8> {
    let key = json!({
        "kid": "HCLAkPub",
        "key_ops": ["sign"],
        "kty": "RSA",
        "e": "AQAB",
        "n": URL_SAFE_NO_PAD.encode(modulus),
    });
    let claims = json!({
        "keys": [key],
        "vm-configuration": {"secure-boot": false, "tpm-enabled": true, "tpm-persisted": false},
        "user-data": "00",
    });
    let claims = claims.to_string().into_bytes();
    let mut report_data = [0; 64];
    report_data[..32].copy_from_slice(&Sha256::digest(&claims));
    let report = processor.report_of(&report_data, launch);

    let size = claims.len() as u32;
    let data_size = 20 + size;
    let whole = 0x20 + REPORT_BYTES as u32 + data_size;
    let mut index = b"HCLA".to_vec();
    // Version, size, type of the request, status, reserved.
    words(&mut index, &[2, whole, 2, 0, 0, 0, 0]);
    index.extend_from_slice(report.as_bytes());
    // The data's size, the version of the request, SNP, SHA-256, the size of the claims.
    words(&mut index, &[data_size, 1, 2, 1, size]);
    index.extend(claims);
    index.resize(INDEX_BYTES, 0);
    index
}

fn words(bytes: &mut Vec<u8>, words: &[u32]) {
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}
