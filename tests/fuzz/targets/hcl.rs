//! Any bytes as the report that a paravisor keeps in its TPM.

use kettle::inspect;
use kettle::verifier::azure::{HclReport, MAX_HCL_BYTES};

/// In an accepted report every byte counts once: report and claims are cut from it, and all other
/// bytes have one value.
pub fn target(data: &[u8]) {
    let Ok(hcl) = HclReport::read(data) else {
        return;
    };
    assert!(data.len() <= MAX_HCL_BYTES);
    assert_eq!(hcl.report().as_bytes()[..], data[0x20..0x4c0]);
    let (_, request) = hcl.versions();
    let start = if request == 1 { 0x4d4 } else { 0x4d8 };
    let end = start + hcl.claims().len();
    assert_eq!(hcl.claims(), &data[start..end]);
    assert!(data[end..].iter().all(|byte| *byte == 0));
    let text = inspect::bare_hcl_report(data, false).expect("read, and not shown");
    assert!(
        !text.contains(|character: char| character.is_control() && character != '\n'),
        "{text:?}"
    );
}
