//! Any bytes as a file of reference values.

use kettle::verifier::ReferenceValues;

/// An accepted file is JSON of a known format with a measurement, and each of its measurements is
/// believed or revoked.
pub fn target(data: &[u8]) {
    let mut values = ReferenceValues::default();
    if values.add_file(data).is_err() {
        assert!(values.is_empty());
        return;
    }
    let document: serde_json::Value =
        serde_json::from_slice(data).expect("accepted, and serde_json does not read it");
    let format = document.get("format").and_then(serde_json::Value::as_u64);
    assert!(matches!(format, None | Some(2)), "{format:?}");
    let mut shapes = values.shapes();
    let first = shapes.next().expect("a measurement");
    let mut count = 1;
    let last = shapes.inspect(|_| count += 1).last().unwrap_or(first);
    for shape in [first, last] {
        let appraised = values.appraise(shape.measurement, None);
        assert!(
            appraised.is_ok()
                || appraised.is_err_and(|rejection| rejection.code() == "measurement-revoked")
        );
        assert!(values.anchor(shape.measurement).is_some());
    }
    match document["measurements"].as_array() {
        Some(measurements) => assert_eq!(measurements.len(), count),
        None => assert_eq!(
            count as u64 % document["max_vcpus"].as_u64().expect("a number"),
            0
        ),
    }
}
