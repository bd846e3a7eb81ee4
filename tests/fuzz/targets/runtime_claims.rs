//! Any bytes as a paravisor's runtime claims.

use kettle::verifier::azure::RuntimeClaims;

/// Accepted claims are JSON with one attestation key, whose modulus is that of the document.
pub fn target(data: &[u8]) {
    let Ok(claims) = RuntimeClaims::read(data) else {
        return;
    };
    let document: serde_json::Value =
        serde_json::from_slice(data).expect("accepted, and serde_json does not read it");
    let keys = document["keys"].as_array().expect("a list");
    assert_eq!(
        keys.iter().filter(|key| key["kid"] == "HCLAkPub").count(),
        1
    );
    assert!(claims.attestation_key.modulus()[0] & 0x80 != 0);
    let said = document["vm-configuration"]["secure-boot"].as_bool();
    assert_eq!(claims.secure_boot, said);
}
