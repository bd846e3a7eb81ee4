//! Any bytes as a file of reference values.

use kettle::verifier::ReferenceValues;

/// What is accepted is JSON, with a measurement.
pub fn target(data: &[u8]) {
    let mut values = ReferenceValues::default();
    if values.add_file(data).is_err() {
        assert!(values.is_empty());
        return;
    }
    let document: serde_json::Value = serde_json::from_slice(data).expect("accepted, and serde_json does not read it");
    let measurements = document["measurements"].as_array().expect("a list");
    for entry in measurements {
        let measurement = entry["measurement"].as_str().expect("text").parse().expect("a measurement");
        assert!(values.appraise(measurement, None).is_ok());
    }
    assert!(!measurements.is_empty());
}
