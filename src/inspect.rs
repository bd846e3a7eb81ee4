//! Shows people what a bundle or a report says.
//!
//! * In: a bundle, a report or evidence that was read.
//! * Out: text, or JSON.
//! * Never: a judgement. The digests of the files are computed; everything else is quoted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::bundle::read::{Bundle, HashedFile};
use crate::digest::Sha256Digest;
use crate::provenance::is_built_here;
use crate::provenance::link::{can_displace_linker, is_linker_variable};
use crate::snp::report::Report;
use crate::snp::tcb::{Product, TcbVersion};
use crate::text;
pub use crate::text::json_line as escaped;
use crate::verifier::Evidence;
use crate::verifier::azure::{
    HclReport, Quote, Registers, RuntimeClaims, TpmEvidence, rewritten_digest,
};

/// The words with which every text begins and ends.
const NOTHING_VERIFIED: &str = "nothing of this was verified";

/// Returns one JSON document: `verified` is false, the digests of the files, and the provenance as
/// it is (null if it is not JSON).
pub fn json(bundle: &Bundle) -> Value {
    let files = |files: &[HashedFile]| files.iter().map(file_json).collect::<Vec<_>>();
    let evidence = bundle.evidence.as_deref();
    let report = evidence.and_then(report_in);
    let tpm = evidence.and_then(tpm_in);
    json!({
        "verified": false,
        "provenance_sha256": Sha256Digest::of(&bundle.provenance).to_string(),
        "tar_sha256": bundle.tar_sha256.map(|sha256| sha256.to_string()),
        "artifacts": files(&bundle.artifacts),
        "build_config": files(&bundle.build_config),
        "build_log": bundle.log.as_ref().map(|log| log.sha256.to_string()),
        "report": report.as_ref().map(report_json),
        "tpm": tpm.as_ref().map(tpm_json),
        "evidence": evidence.map(json_or_null),
        "provenance": json_or_null(&bundle.provenance),
    })
}

fn file_json(file: &HashedFile) -> Value {
    json!({
        "name": file.name,
        "sha256": file.sha256.to_string(),
        "size": file.size,
        "executable": file.executable,
    })
}

fn json_or_null(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}

/// Returns lines with `name: value` about a bundle.
pub fn text(bundle: &Bundle) -> String {
    let provenance = json_or_null(&bundle.provenance);
    let definition = &provenance["predicate"]["buildDefinition"];
    let details = &provenance["predicate"]["runDetails"];
    let internal = &definition["internalParameters"];
    let mut lines = Lines(format!("what this bundle says ({NOTHING_VERIFIED})\n"));
    lines.builder(&details["builder"]);
    lines.request(definition);
    lines.run(internal);
    lines.dependencies(items(&definition["resolvedDependencies"]));
    lines.outputs(items(&internal["outputs"]));
    lines.same_paths(definition, items(&internal["outputs"]));
    lines.subjects(&provenance["subject"], &bundle.artifacts);
    lines.value("started", &details["metadata"]["startedOn"]);
    lines.value("finished", &details["metadata"]["finishedOn"]);
    lines.evidence(bundle);
    lines.digests(bundle);
    lines.0.push_str(NOTHING_VERIFIED);
    lines.0.push('\n');
    lines.0
}

/// Returns text from outside in a form for terminals: printable ASCII stays, every other character
/// is escaped as `\u{HEX}`. So nothing moves the cursor, nothing turns or hides the text beside it,
/// and no letter passes for another one.
pub fn shown(text: &str) -> String {
    text::ascii(text)
}

/// Returns a report that is not in a bundle, as JSON or as lines.
pub fn bare_report(report: &Report, is_json: bool) -> String {
    if is_json {
        return escaped(&json!({"verified": false, "report": report_json(report)}));
    }
    let mut lines = Lines(format!("what this report says ({NOTHING_VERIFIED})\n"));
    lines.report(report);
    lines.0 + NOTHING_VERIFIED + "\n"
}

/// Returns evidence that is not in a bundle, in our form or in another attested builder's, as JSON
/// or as lines; `None` for bytes that are not evidence.
pub fn bare_evidence(bytes: &[u8], is_json: bool) -> Option<String> {
    let report = report_in(bytes)?;
    let tpm = tpm_in(bytes);
    if is_json {
        let (report, tpm) = (report_json(&report), tpm.as_ref().map(tpm_json));
        let document = json!({"verified": false, "report": report, "tpm": tpm});
        return Some(escaped(&document));
    }
    let mut lines = Lines(format!("what this evidence says ({NOTHING_VERIFIED})\n"));
    lines.report(&report);
    if let Some(tpm) = &tpm {
        lines.tpm(tpm);
    }
    Some(lines.0 + NOTHING_VERIFIED + "\n")
}

/// Returns the report that a paravisor keeps in its TPM, as JSON or as lines; `None` for bytes that
/// are not one.
pub fn bare_hcl_report(bytes: &[u8], is_json: bool) -> Option<String> {
    let hcl = HclReport::read(bytes).ok()?;
    if is_json {
        let (report, fields) = (report_json(hcl.report()), named(hcl_fields(&hcl)));
        let document = json!({"verified": false, "report": report, "tpm": fields});
        return Some(escaped(&document));
    }
    let mut lines = Lines(format!("what this HCL report says ({NOTHING_VERIFIED})\n"));
    lines.report(hcl.report());
    lines.fields(hcl_fields(&hcl));
    Some(lines.0 + NOTHING_VERIFIED + "\n")
}

/// Returns the evidence of a machine with a paravisor, in our form or in another builder's.
fn tpm_in(evidence: &[u8]) -> Option<TpmEvidence> {
    let read = Evidence::read(evidence)
        .or_else(|_| Evidence::read_foreign(evidence))
        .ok()?;
    read.tpm.map(|tpm| *tpm)
}

fn hcl_fields(hcl: &HclReport) -> Vec<(&'static str, String)> {
    let (version, request) = hcl.versions();
    let said = |value: Option<bool>| match value {
        None => "(not said)".to_owned(),
        Some(value) => value.to_string(),
    };
    let mut fields = vec![
        ("hcl version", format!("{version}, request {request}")),
        ("paravisor svn", hcl.report().guest_svn().to_string()),
    ];
    match RuntimeClaims::read(hcl.claims()) {
        Ok(claims) => {
            let modulus = hex::encode(claims.attestation_key.modulus());
            fields.push(("attestation key", format!("RSA-2048 {modulus}")));
            fields.push(("secure boot", said(claims.secure_boot)));
            fields.push(("tpm persisted", said(claims.tpm_persisted)));
        }
        Err(error) => fields.push(("runtime claims", error.to_string())),
    }
    fields
}

/// Returns the fields of the paravisor and of the quote, by name. The registers are those beside
/// the quote.
fn tpm_fields(tpm: &TpmEvidence) -> Vec<(&'static str, String)> {
    let mut fields = hcl_fields(&tpm.hcl);
    match Quote::read(&tpm.quote.message) {
        Ok(quote) => fields.push(("quote is about", hex::encode(quote.extra_data()))),
        Err(error) => fields.push(("quote", error.to_string())),
    }
    match Registers::of(&tpm.quote.registers) {
        Some(registers) => {
            fields.push(("pcr 4", registers.value(4).to_string()));
            fields.push(("pcr 9", registers.value(9).to_string()));
        }
        None => fields.push(("pcrs", format!("{} of 24", tpm.quote.registers.len()))),
    }
    fields
}

fn tpm_json(tpm: &TpmEvidence) -> Value {
    named(tpm_fields(tpm))
}

fn named(fields: impl IntoIterator<Item = (&'static str, String)>) -> Value {
    fields
        .into_iter()
        .map(|(name, value)| (name.replace(' ', "_"), Value::from(value)))
        .collect()
}

/// Returns the report in an evidence document, if there is one.
fn report_in(evidence: &[u8]) -> Option<Report> {
    if let Some(tpm) = tpm_in(evidence) {
        return Some(tpm.hcl.report().clone());
    }
    let document: Value = serde_json::from_slice(evidence).ok()?;
    let base64 = document["evidence"]["attestation_report"].as_str()?;
    let bytes = STANDARD.decode(base64).ok()?;
    Report::try_from(&bytes[..]).ok()
}

/// Returns the fields by name. TCB versions are shown as they are packed: only the certificate
/// tells their layout.
fn report_fields(report: &Report) -> [(&'static str, String); 14] {
    let tcb = |version: TcbVersion| hex::encode(version.bytes());
    // Any product will do: only the packed bytes are shown.
    let product = Product::Milan;
    [
        ("report version", report.version().to_string()),
        ("guest policy", report.policy().to_string()),
        ("vmpl", report.vmpl().to_string()),
        ("signing key", report.signing_key().to_string()),
        ("measurement", report.measurement().to_string()),
        ("report data", hex::encode(report.report_data())),
        ("host data", hex::encode(report.host_data())),
        ("id key", hex::encode(report.id_key_digest())),
        ("author key", hex::encode(report.author_key_digest())),
        ("chip id", hex::encode(report.chip_id())),
        ("reported tcb", tcb(report.reported_tcb(product))),
        ("committed tcb", tcb(report.committed_tcb(product))),
        ("launch tcb", tcb(report.launch_tcb(product))),
        ("current tcb", tcb(report.current_tcb(product))),
    ]
}

fn report_json(report: &Report) -> Value {
    named(report_fields(report))
}

struct Lines(String);

impl Lines {
    fn line(&mut self, name: &str, value: &str) {
        let name = if name.is_empty() {
            String::new()
        } else {
            format!("{name}:")
        };
        self.0.push_str(&format!("  {name:<18} {}\n", shown(value)));
    }

    fn report(&mut self, report: &Report) {
        for (name, value) in report_fields(report) {
            self.line(name, &value);
        }
    }

    fn fields(&mut self, fields: Vec<(&'static str, String)>) {
        for (name, value) in fields {
            self.line(name, &value);
        }
    }

    fn tpm(&mut self, tpm: &TpmEvidence) {
        self.fields(tpm_fields(tpm));
    }

    /// Adds the name of another builder's way of signing, in which the quote is about SHA-256 of
    /// the provenance as another program would write it.
    fn foreign_profile(&mut self, tpm: &TpmEvidence, provenance: &[u8]) {
        let (Ok(quote), Some(digest)) = (
            Quote::read(&tpm.quote.message),
            rewritten_digest(provenance),
        ) else {
            return;
        };
        if quote.extra_data() == digest.as_bytes() {
            let profile = "another attested builder on a stock machine: the quote is about the \
                           provenance written again";
            self.line("profile", profile);
        }
    }

    fn value(&mut self, name: &str, value: &Value) {
        self.line(name, &word(value));
    }

    fn list(&mut self, name: &str, value: &Value, shown: impl Fn(&Value) -> String, between: &str) {
        let shown: Vec<_> = items(value).iter().map(shown).collect();
        if shown.is_empty() {
            self.line(name, "none");
        } else {
            self.line(name, &shown.join(between));
        }
    }

    fn builder(&mut self, builder: &Value) {
        self.value("built by", &builder["id"]);
        self.value("version", &builder["version"]["kettle-init"]);
    }

    /// Adds what was requested, and what the source was.
    fn request(&mut self, definition: &Value) {
        self.value("build type", &definition["buildType"]);
        let external = &definition["externalParameters"];
        let source = &definition["resolvedDependencies"][0];
        self.source(&external["source"], &source["digest"]);
        if let Some(url) = source["annotations"]["fetchedFrom"].as_str() {
            self.line("fetched from", url);
        }
        let (nonce, chosen_by) = (word(&external["nonce"]), word(&external["nonceSource"]));
        self.line("nonce", &format!("{nonce} (chosen by the {chosen_by})"));
        for (name, value) in external["options"].as_object().into_iter().flatten() {
            let text = value.as_str().map_or(value.to_string(), str::to_owned);
            self.line("option", &format!("{name}={text}"));
        }
    }

    /// Adds how it was built: commands, tools, network, sandbox, and what build scripts passed to
    /// the linker.
    fn run(&mut self, internal: &Value) {
        self.list("command", &internal["command"]["build"], word, " ");
        self.list("network in", &internal["network"], word, ", ");
        for tool in items(&internal["toolchain"]) {
            let (name, version) = (word(&tool["name"]), word(&tool["version"]));
            let shown = format!("{name}: {version} sha256:{}", sha256(tool));
            self.line("tool", &shown);
        }
        let fetching = &internal["sandbox"]["fetchNetwork"];
        if fetching.is_object() {
            self.line("network reaches", &word(&fetching["reaches"]));
            self.list("and, allowed", &fetching["allowed"], word, ", ");
        }
        for weakness in items(&internal["sandbox"]["degradations"]) {
            let (name, reason) = (word(&weakness["name"]), word(&weakness["reason"]));
            self.line("sandbox is weaker", &format!("{name}: {reason}"));
        }
        for recipe in items(&internal["importFromDerivation"]) {
            self.line("evaluation imports", &word(recipe));
        }
        for library in items(&internal["libraries"]) {
            self.library(library);
        }
        for given in items(&internal["linkArguments"]) {
            self.link_arguments(given);
        }
    }

    /// Adds all resolved dependencies but the first, which is the source.
    fn dependencies(&mut self, resolved: &[Value]) {
        let dependencies = resolved.get(1..).unwrap_or_default();
        self.line("dependencies", &dependencies.len().to_string());
        for dependency in dependencies {
            self.dependency(dependency);
        }
    }

    /// Adds the outputs of a flake, and whether any of them was built.
    fn outputs(&mut self, outputs: &[Value]) {
        for output in outputs {
            let (name, path) = (word(&output["name"]), word(&output["path"]));
            let (sha256, realised) = (sha256(output), word(&output["realised"]));
            let shown = format!("{name}: {path} sha256:{sha256} ({realised})");
            self.line("output", &shown);
            for download in items(&output["copiedFrom"]) {
                self.line("copied from", &word(download));
            }
        }
        let is_built = |output: &Value| {
            let is_copy = !items(&output["copiedFrom"]).is_empty();
            is_built_here(output["realised"].as_str(), is_copy)
        };
        if !outputs.is_empty() && !outputs.iter().any(is_built) {
            let nothing = "nothing: every output was downloaded, or is a copy of a download";
            self.line("built here", nothing);
        }
    }

    /// Adds the command with which anyone compares the paths of a repository's flake: nix makes the
    /// same ones of its commit. A flake below the repository's top has others there.
    fn same_paths(&mut self, definition: &Value, outputs: &[Value]) {
        let external = &definition["externalParameters"];
        let source = &definition["resolvedDependencies"][0];
        let repository = external["source"]["repository"].as_str();
        let commit = source["digest"]["gitCommit"].as_str();
        let attribute = external["options"]["attribute"]
            .as_str()
            .unwrap_or("default");
        let (Some(repository), Some(commit)) = (repository, commit) else {
            return;
        };
        let is_plain = |text: &str| {
            let others = b":/._~%+-";
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
        };
        let is_whole = external["options"]["path"].is_null();
        if !outputs.is_empty()
            && is_whole
            && [repository, commit, attribute].into_iter().all(is_plain)
        {
            let flake = format!("'git+{repository}?rev={commit}#{attribute}^*'");
            self.line(
                "the same paths by",
                &format!("nix build --no-link --print-out-paths {flake}"),
            );
        }
    }

    fn evidence(&mut self, bundle: &Bundle) {
        let Some(evidence) = bundle.evidence.as_deref() else {
            self.line("evidence", "none: nobody signed this");
            return;
        };
        self.line("evidence", "present");
        if let Some(report) = report_in(evidence) {
            self.report(&report);
        }
        if let Some(tpm) = tpm_in(evidence) {
            self.tpm(&tpm);
            self.foreign_profile(&tpm, &bundle.provenance);
        }
    }

    fn digests(&mut self, bundle: &Bundle) {
        let provenance = Sha256Digest::of(&bundle.provenance);
        self.line("provenance", &format!("sha256:{provenance}"));
        if let Some(sha256) = bundle.tar_sha256 {
            let tar = format!("sha256:{sha256} (bundles are compared by this)");
            self.line("tar stream", &tar);
        }
    }

    fn source(&mut self, source: &Value, digest: &Value) {
        match &source["archive"] {
            Value::Null => {
                let reference = source["ref"].as_str();
                self.value("repository", &source["repository"]);
                self.line("ref", reference.unwrap_or("(the default branch)"));
            }
            archive => {
                let name = archive["name"].as_str();
                self.line("archive", name.unwrap_or("(without a name)"));
            }
        }
        self.line("source", &digests(digest));
    }

    /// Adds a dependency with its URI, or else its name; for a path of the store, also how it came
    /// to be.
    fn dependency(&mut self, dependency: &Value) {
        let uri = dependency["uri"].as_str();
        let name = uri.or(dependency["name"].as_str()).unwrap_or("(not said)");
        let mut shown = format!("{name} {}", digests(&dependency["digest"]));
        let annotations = &dependency["annotations"];
        for member in ["realised", "added", "cache", "key"] {
            if let Some(word) = annotations[member].as_str() {
                shown.push_str(&format!(" {word}"));
            }
        }
        if let Some(count) = annotations["count"].as_u64() {
            shown.push_str(&format!(" ({count} paths)"));
        }
        if let Some(url) = annotations["fetchedFrom"].as_str() {
            shown.push_str(&format!(" fetched from {url}"));
        }
        self.line("", &shown);
    }

    /// Adds a library that an artifact needs when it starts.
    fn library(&mut self, library: &Value) {
        let name = word(&library["name"]);
        let shown = match library["package"].as_str() {
            Some(package) => format!("{name} ({package} {})", word(&library["version"])),
            None => format!("{name} (of no package of the image)"),
        };
        self.line("needs library", &shown);
    }

    /// Adds what the build script of one package passed to the linker, and whether it can displace
    /// the linker.
    fn link_arguments(&mut self, given: &Value) {
        let package = word(&given["package"]);
        let mut line = |text: &str, can_displace: bool| {
            let remark = if can_displace {
                " (may put another program in the place of the linker)"
            } else {
                ""
            };
            self.line("link argument", &format!("{package}: {text}{remark}"));
        };
        for argument in items(&given["arguments"]) {
            let argument = word(argument);
            line(&argument, can_displace_linker(&argument));
        }
        for (name, value) in given["environment"].as_object().into_iter().flatten() {
            line(&format!("{name}={}", word(value)), is_linker_variable(name));
        }
    }

    /// Adds what provenance says about the artifacts, next to the files of the bundle.
    fn subjects(&mut self, subjects: &Value, artifacts: &[HashedFile]) {
        let subjects = items(subjects);
        for subject in subjects {
            self.subject(subject, artifacts);
        }
        for artifact in artifacts {
            let HashedFile { name, sha256, .. } = artifact;
            if subjects.iter().any(|subject| subject["name"] == **name) {
                continue;
            }
            let mode = executable(artifact.executable);
            let shown = format!("{name} sha256:{sha256}{mode} (not in the provenance)");
            self.line("artifact", &shown);
        }
    }

    fn subject(&mut self, subject: &Value, artifacts: &[HashedFile]) {
        let (name, sha256) = (word(&subject["name"]), sha256(subject));
        let is_executable = subject["annotations"]["executable"] == true;
        let found = match artifacts.iter().find(|artifact| artifact.name == name) {
            None => "the bundle has no such file".to_owned(),
            Some(found) if found.sha256.to_string() != sha256 => {
                format!("the file hashes to {}", found.sha256)
            }
            Some(found) if found.executable != is_executable => {
                let is = executable(found.executable);
                format!("the file hashes to this, and is{is}")
            }
            Some(_) => "the file hashes to this".to_owned(),
        };
        let mode = if is_executable { executable(true) } else { "" };
        let shown = format!("{name} sha256:{sha256}{mode} ({found})");
        self.line("artifact", &shown);
    }
}

fn executable(is_executable: bool) -> &'static str {
    if is_executable {
        " executable"
    } else {
        " not executable"
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("(not said)").to_owned()
}

fn sha256(value: &Value) -> String {
    word(&value["digest"]["sha256"])
}

fn digests(digest: &Value) -> String {
    let members = digest.as_object().into_iter().flatten();
    let pairs = members.map(|(name, value)| format!("{name}:{}", word(value)));
    pairs.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(provenance: &str) -> Bundle {
        Bundle {
            provenance: provenance.as_bytes().to_vec(),
            ..Bundle::default()
        }
    }

    #[test]
    fn any_provenance_gives_a_text_that_says_nothing_was_verified() {
        for provenance in [
            "",
            "[]",
            "{}",
            "{\"subject\":[1,null],\"predicate\":7}",
            "\u{feff}{}",
        ] {
            let text = text(&bundle(provenance));
            assert!(
                text.ends_with("nothing of this was verified\n"),
                "{provenance}"
            );
            assert_eq!(json(&bundle(provenance))["verified"], false);
        }
    }

    #[test]
    fn a_report_is_shown_field_by_field_and_not_verified() {
        let bytes = vec![5; 1184];
        let report = Report::try_from(&bytes[..]).unwrap();
        let text = bare_report(&report, false);
        assert!(
            text.contains(&"05".repeat(48)) && text.ends_with("nothing of this was verified\n"),
            "{text}"
        );
        let mut bundle = bundle("{}");
        let document = json!({"evidence": {"attestation_report": STANDARD.encode(&bytes)}});
        bundle.evidence = Some(document.to_string().into_bytes());
        assert_eq!(json(&bundle)["report"]["vmpl"], 0x0505_0505.to_string());
        assert!(super::text(&bundle).contains("measurement:"));
        assert!(bare_report(&report, true).contains("\"verified\":false"));
    }

    #[test]
    fn a_file_with_another_digest_is_shown_as_that() {
        let mut bundle = bundle(r#"{"subject":[{"name":"a","digest":{"sha256":"00"}}]}"#);
        assert!(text(&bundle).contains("the bundle has no such file"));
        let sha256 = Sha256Digest::of(b"x");
        bundle.artifacts.push(HashedFile {
            name: "a".to_owned(),
            sha256,
            size: 1,
            executable: false,
        });
        bundle.artifacts.push(HashedFile {
            name: "b".to_owned(),
            sha256,
            size: 1,
            executable: true,
        });
        let text = text(&bundle);
        assert!(
            text.contains(&format!("the file hashes to {sha256}"))
                && text.contains(" executable (not in the provenance)"),
            "{text}"
        );
    }

    #[test]
    fn a_program_is_shown_as_one_and_a_disagreement_too() {
        let sha256 = Sha256Digest::of(b"x");
        for (annotated, executable, expected) in [
            (
                json!({"executable": true}),
                true,
                " executable (the file hashes to this)",
            ),
            (
                json!({"executable": true}),
                false,
                " executable (the file hashes to this, and is not executable)",
            ),
            (
                json!({}),
                true,
                " (the file hashes to this, and is executable)",
            ),
            (json!({}), false, " (the file hashes to this)"),
        ] {
            let digest = json!({"sha256": sha256.to_string()});
            let subject = json!([{"name": "a", "digest": digest, "annotations": annotated}]);
            let mut bundle = bundle(&json!({"subject": subject}).to_string());
            bundle.artifacts.push(HashedFile {
                name: "a".to_owned(),
                sha256,
                size: 1,
                executable,
            });
            let text = text(&bundle);
            assert!(
                text.contains(&format!("a sha256:{sha256}{expected}\n")),
                "{text}"
            );
            assert_eq!(
                super::json(&bundle)["artifacts"][0]["executable"],
                executable
            );
        }
    }

    #[test]
    fn a_flake_that_was_only_downloaded_is_shown_as_that() {
        let with = |realised: &str| {
            let output = json!({"name": "out", "path": "/nix/store/x", "realised": realised});
            let definition = json!({"internalParameters": {"outputs": [output]}});
            text(&bundle(
                &json!({"predicate": {"buildDefinition": definition}}).to_string(),
            ))
        };
        assert!(with("substituted").contains("nothing: every output was downloaded"));
        assert!(with("fetched").contains("nothing: every output was downloaded"));
        assert!(!with("built").contains("nothing: every output was downloaded"));
        let output =
            json!({"name": "out", "realised": "built", "copiedFrom": ["/nix/store/download"]});
        let definition = json!({"internalParameters": {"outputs": [output]}});
        let copied = text(&bundle(
            &json!({"predicate": {"buildDefinition": definition}}).to_string(),
        ));
        assert!(
            copied.contains("is a copy of a download") && copied.contains("/nix/store/download"),
            "{copied}"
        );
    }

    #[test]
    fn the_paths_of_a_repositorys_flake_come_with_the_command_that_compares_them() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let shown = |repository: &str, options: Value| {
            let definition = json!({
                "externalParameters": {"source": {"repository": repository}, "options": options},
                "resolvedDependencies": [{"digest": {"gitCommit": commit}}],
            });
            let mut lines = Lines(String::new());
            lines.same_paths(&definition, &[json!({"path": "/nix/store/x"})]);
            lines.0
        };
        let url = "https://host.example/o/r.git";
        let flake = format!("'git+{url}?rev={commit}#");
        let whole = shown(url, json!({}));
        assert!(whole.contains(&format!("{flake}default^*'\n")), "{whole}");
        let chosen = shown(url, json!({"attribute": "packages.x86_64-linux.tool"}));
        assert!(
            chosen.contains("#packages.x86_64-linux.tool^*'"),
            "{chosen}"
        );
        assert_eq!(shown(url, json!({"path": "below"})), "");
        assert_eq!(shown("https://host.example/'; id", json!({})), "");
    }

    #[test]
    fn a_linker_that_may_have_been_displaced_is_shown_as_that() {
        let given = json!({
            "package": "app@0.1.0",
            "arguments": ["-fuse-ld=x", "-lm"],
            "environment": {"PATH": "/x"},
        });
        let definition = json!({"internalParameters": {"linkArguments": [given]}});
        let text = text(&bundle(
            &json!({"predicate": {"buildDefinition": definition}}).to_string(),
        ));
        assert_eq!(
            text.matches("may put another program in the place of the linker")
                .count(),
            2,
            "{text}"
        );
        assert!(
            text.contains("app@0.1.0: -lm\n") && text.contains("app@0.1.0: PATH=/x (may"),
            "{text}"
        );
    }

    #[test]
    fn terminal_controls_of_a_bundle_do_not_reach_the_terminal() {
        let text = text(&bundle(
            r#"{"predicate":{"runDetails":{"builder":{"id":"\u001b[2J"}}}}"#,
        ));
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn every_character_but_printable_ascii_is_escaped() {
        for character in (0..=0x10_ffff).filter_map(char::from_u32) {
            let shown = shown(&format!("a{character}b"));
            let expected = match character {
                ' '..='~' => format!("a{character}b"),
                _ => format!("a\\u{{{:x}}}b", u32::from(character)),
            };
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn json_means_the_same_without_characters_that_a_terminal_obeys() {
        let document = json!({"\u{9b}31m": ["\u{1b}[2J", "\u{7f}\u{202e}", "\u{e0041}ä\n"]});
        let line = escaped(&document);
        assert!(
            line.trim_end()
                .bytes()
                .all(|byte| matches!(byte, b' '..=b'~')),
            "{line}"
        );
        assert!(line.ends_with("}\n"), "{line}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), document);
    }
}
