//! The product of a job. In: responses. Out: the parts that have to be the same in every run.
//! Never: a bundle that differs from its own statement.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::client::Response;
use crate::harness::Bundle;

/// The product of a job, without the parts that differ from run to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    /// Every file of the bundle except its log and its statement.
    files: BTreeMap<String, Vec<u8>>,
    /// The log's lines, without durations.
    log: Vec<String>,
    /// The statement, without times, the job's id, the log's digest, and the sandbox.
    statement: Value,
    sandbox: Value,
}

impl Product {
    pub fn of(mut bundle: Bundle) -> Self {
        bundle.files.remove("evidence.json");
        let mut statement = bundle.statement();
        bundle.files.remove("provenance.json");
        bundle.files.remove("provenance.sigstore.json");
        let log = String::from_utf8(bundle.files.remove("build.log").unwrap()).unwrap();
        let mut log: Vec<_> = log.lines().map(without_seconds).collect();
        log.sort();
        let run = statement["predicate"]["runDetails"]
            .as_object_mut()
            .unwrap();
        run.remove("metadata");
        run.remove("byproducts");
        let internal = &mut statement["predicate"]["buildDefinition"]["internalParameters"];
        // Each job has its own key.
        internal["signer"].take();
        let sandbox = internal["sandbox"].take();
        Self {
            files: bundle.files,
            log,
            statement,
            sandbox,
        }
    }

    /// Asserts equality; a weaker sandbox is allowed where the statement says so itself.
    pub fn assert_same_as(&self, clean: &Self) {
        assert!(
            self.files == clean.files,
            "other bytes than without the fault"
        );
        assert_eq!(
            self.statement, clean.statement,
            "another statement than without the fault"
        );
        assert_eq!(self.log, clean.log, "another log than without the fault");
        let degradations = |of: &Self| {
            of.sandbox["degradations"]
                .as_array()
                .cloned()
                .unwrap_or_default()
        };
        let known = degradations(clean);
        let says_so = degradations(self)
            .iter()
            .any(|degradation| !known.contains(degradation));
        assert!(
            self.sandbox == clean.sandbox || says_so,
            "another sandbox, which does not say so: {} instead of {}",
            self.sandbox,
            clean.sandbox
        );
    }
}

/// Reads the bundle, and asserts that everything is as the statement says.
pub fn take_apart(bytes: &[u8], epoch: u64) -> Bundle {
    let mut bundle = Bundle::read(bytes, epoch);
    let evidence = bundle.files.remove("evidence.json");
    bundle.assert_described();
    let metadata = &bundle.statement()["predicate"]["runDetails"]["metadata"];
    assert_times(&metadata["startedOn"], &metadata["finishedOn"]);
    if let Some(evidence) = evidence {
        #[cfg(feature = "simulator")]
        assert_about(&evidence, &bundle.files["provenance.json"]);
        bundle.files.insert("evidence.json".to_owned(), evidence);
    }
    bundle
}

/// Asserts that times are RFC 3339, in UTC and whole seconds, with no end before its beginning.
pub fn assert_times(started: &Value, finished: &Value) {
    let is_time = |text: &str| {
        let shape: String = text
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        shape == "0000-00-00T00:00:00Z"
    };
    let text = |time: &Value| {
        time.as_str()
            .filter(|text| is_time(text))
            .map(str::to_owned)
    };
    let (Some(start), Some(end)) = (text(started), text(finished)) else {
        panic!("no times: {started} and {finished}")
    };
    // Times of this shape are in the order of their texts.
    assert!(
        start <= end,
        "it ended at {end}, before it began at {start}"
    );
}

/// Asserts that the report is about the statement, and about nothing else.
#[cfg(feature = "simulator")]
fn assert_about(evidence: &[u8], statement: &[u8]) {
    use base64::Engine as _;
    let evidence: Value = serde_json::from_slice(evidence).unwrap();
    let report = evidence["evidence"]["attestation_report"].as_str().unwrap();
    let report = base64::engine::general_purpose::STANDARD
        .decode(report)
        .unwrap();
    let report = kettle::snp::report::Report::try_from(&report[..]).unwrap();
    let nonce = kettle::provenance::Nonce::parse(crate::client::NONCE).unwrap();
    assert_eq!(
        report.report_data(),
        kettle::provenance::report_data(statement, &nonce)
    );
}

/// Asserts that events are numbered without a gap, and end once, as the job did.
pub fn assert_events_end(events: &Response, status: &str) {
    assert_eq!(
        (events.status, events.header("content-type")),
        (200, Some("text/event-stream"))
    );
    let text = events.text();
    let field = |name: &'static str| text.lines().filter_map(move |line| line.strip_prefix(name));
    assert!(
        field("id:")
            .map(|id| id.trim().parse::<usize>().unwrap())
            .eq(0..field("id:").count()),
        "a gap: {text}"
    );
    let data: Vec<Value> = field("data:")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let ends: Vec<_> = data
        .iter()
        .filter(|event| event["type"] == "complete")
        .collect();
    assert!(
        ends.len() == 1 && data.last() == ends.last().copied(),
        "no end, or more than one: {text}"
    );
    assert_eq!(
        ends[0]["result"]["status"], status,
        "the events and the job say different things"
    );
}

/// Removes the duration that cargo prints.
fn without_seconds(line: &str) -> String {
    let is_time =
        |word: &&str| word.ends_with('s') && word.starts_with(|c: char| c.is_ascii_digit());
    line.split(' ')
        .filter(|word| !is_time(word))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use serde_json::json;

    use super::*;

    fn product() -> Product {
        Product {
            files: BTreeMap::from([("artifacts/package".to_owned(), vec![1])]),
            log: vec!["Compiling package".to_owned()],
            statement: json!({ "subject": [] }),
            sandbox: json!({ "degradations": [{ "name": "shared-user" }], "uid": 0 }),
        }
    }

    fn is_same(change: impl FnOnce(&mut Product)) -> bool {
        let mut changed = product();
        change(&mut changed);
        catch_unwind(|| changed.assert_same_as(&product())).is_ok()
    }

    #[test]
    fn another_product_is_noticed_and_a_weaker_sandbox_has_to_say_so() {
        assert!(is_same(|_| ()));
        assert!(!is_same(|it| it
            .files
            .values_mut()
            .for_each(|bytes| bytes.push(2))));
        assert!(!is_same(|it| it.log.clear()));
        assert!(!is_same(|it| it.statement["subject"] = json!([1])));
        assert!(!is_same(|it| it.sandbox["uid"] = json!(1)));
        assert!(!is_same(|it| it.sandbox["degradations"] = json!([])));
        assert!(is_same(
            |it| it.sandbox["degradations"] = json!([{ "name": "no-cgroup" }])
        ));
    }

    #[test]
    fn times_have_their_shape_and_their_order() {
        let in_order = |start: &str, end: &str| {
            catch_unwind(|| assert_times(&json!(start), &json!(end))).is_ok()
        };
        let (earlier, later) = ("2026-11-28T10:00:59Z", "2026-11-28T10:01:00Z");
        assert!(in_order(earlier, later) && in_order(later, later));
        for (start, end) in [
            (later, earlier),
            ("", later),
            (earlier, "+10000-01-01T00:00:00Z"),
            (earlier, "2026-11-28"),
        ] {
            assert!(!in_order(start, end), "{start:?} and {end:?}");
        }
    }

    #[test]
    fn events_have_to_end_once_and_as_the_job_did() {
        let answer = |body: &str| Response {
            status: 200,
            headers: BTreeMap::from([("content-type".to_owned(), "text/event-stream".to_owned())]),
            body: body.as_bytes().to_vec(),
        };
        let first = "id: 0\ndata: {\"type\":\"queued\"}\n\n";
        let last = "id: 1\ndata: {\"type\":\"complete\",\"result\":{\"status\":\"ok\"}}\n\n";
        let ends = |text: String| catch_unwind(|| assert_events_end(&answer(&text), "ok")).is_ok();
        assert!(ends(format!("{first}{last}")));
        assert!(!ends(first.to_owned()));
        assert!(!ends(last.to_owned()), "a gap");
        assert!(!ends(format!("{first}{last}{last}")));
        assert!(!ends(format!("{first}{}", last.replace("ok", "failed"))));
    }

    #[test]
    fn how_long_cargo_took_is_left_out() {
        assert_eq!(
            without_seconds("Finished release in 0.23s"),
            "Finished release in"
        );
    }
}
