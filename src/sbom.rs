//! Writes the bill of materials of a build, in CycloneDX 1.6 (ECMA-424), for tools that read no
//! provenance.
//!
//! * In: the subjects and the build definition of the statement.
//! * Out: `sbom.cdx.json`: the same bytes for the same build, with no time and no serial number.
//! * Never: anything that the statement does not say.
//!
//! | in the bill | from the statement |
//! |---|---|
//! | `metadata.component` | the source, the first of the resolved dependencies |
//! | `metadata.tools` | the toolchain, without the standard library |
//! | `components` | the subjects; the standard library; the other resolved dependencies; the shared libraries that subjects need |
//! | `dependencies` | each subject depends on the source, the source on all that is not a subject |

use serde_json::{Map, Value, json};

use crate::provenance::{
    BuildDefinition, DigestSet, LibraryRecord, RUST_STD, ResourceDescriptor, Subject, ToolRecord,
};

/// The address of the format's schema.
const SCHEMA: &str = "http://cyclonedx.org/schema/bom-1.6.schema.json";

/// The version of the format.
const SPEC_VERSION: &str = "1.6";

/// The name of the source within the bill.
const SOURCE: &str = "source";

/// The prefix of the names of our properties.
const PROPERTY: &str = "kettle:";

/// Returns `sbom.cdx.json`, as compact JSON with a final newline. `project` names the source.
pub fn of(project: &str, subjects: &[Subject], definition: &BuildDefinition) -> Vec<u8> {
    let (libraries, tools): (Vec<_>, Vec<_>) = definition
        .internal_parameters
        .toolchain
        .iter()
        .partition(|tool| tool.name == RUST_STD);
    let mut artifacts: Vec<_> = subjects.iter().map(artifact).collect();
    artifacts.sort_by_key(bom_ref);
    let resolved = &definition.resolved_dependencies;
    let used: Vec<_> = libraries
        .into_iter()
        .map(library)
        .chain(resolved.iter().skip(1).map(dependency))
        .chain(
            definition
                .internal_parameters
                .libraries
                .iter()
                .map(shared_library),
        )
        .collect();
    let tools: Vec<_> = tools.into_iter().map(tool).collect();
    let dependencies = edges(&artifacts, &used);
    let components = [artifacts, used].concat();
    let document = json!({
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "tools": {"components": tools},
            "component": resolved.first().map(|descriptor| source(project, descriptor)),
        },
        "components": components,
        "dependencies": dependencies,
    });
    format!("{document}\n").into_bytes()
}

/// Returns a component's name within the bill.
fn bom_ref(component: &Value) -> String {
    component["bom-ref"].as_str().unwrap_or_default().to_owned()
}

fn edges(artifacts: &[Value], used: &[Value]) -> Vec<Value> {
    let used: Vec<_> = used.iter().map(bom_ref).collect();
    let of_source = json!({"ref": SOURCE, "dependsOn": used});
    let of_artifact = |artifact| json!({"ref": bom_ref(artifact), "dependsOn": [SOURCE]});
    let of_artifacts = artifacts.iter().map(of_artifact);
    std::iter::once(of_source).chain(of_artifacts).collect()
}

fn source(project: &str, descriptor: &ResourceDescriptor) -> Value {
    let mut source = described(descriptor);
    source["type"] = "application".into();
    source["bom-ref"] = SOURCE.into();
    source["name"] = project.into();
    source
}

fn artifact(subject: &Subject) -> Value {
    let is_executable = subject.annotations.is_some_and(|it| it.executable);
    let name = &subject.file.name;
    json!({
        "type": if is_executable { "application" } else { "file" },
        "bom-ref": format!("artifact:{name}"),
        "name": name,
        "hashes": hashes(&subject.file.digest),
    })
}

fn tool(tool: &ToolRecord) -> Value {
    json!({
        "type": "application",
        "name": tool.name,
        "version": tool.version,
        "hashes": hashes(&tool.digest),
    })
}

fn library(record: &ToolRecord) -> Value {
    let mut library = tool(record);
    library["type"] = "library".into();
    library["bom-ref"] = record.name.as_str().into();
    library
}

/// Returns the component of a library that an artifact loads when it starts.
fn shared_library(record: &LibraryRecord) -> Value {
    let mut library = json!({
        "type": "library",
        "bom-ref": format!("library:{}", record.name),
        "name": record.name,
    });
    if let (Some(package), Some(version)) = (&record.package, &record.version) {
        let (name, value) = (percent_encoded(package), percent_encoded(version));
        library["version"] = version.as_str().into();
        library["purl"] = format!("pkg:deb/debian/{name}@{value}?arch=amd64").into();
    }
    library
}

/// Returns text with every byte encoded that has, or may have, a meaning in a package URL.
fn percent_encoded(text: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encoded).collect()
}

/// Returns the component of a package; or of a path of nix's store or an input of a flake, which
/// have no URI.
fn dependency(descriptor: &ResourceDescriptor) -> Value {
    let mut dependency = described(descriptor);
    let name = descriptor.name.as_deref().unwrap_or_default();
    let Some(uri) = &descriptor.uri else {
        let took_part = descriptor.annotations.contains_key("realised");
        dependency["type"] = if took_part { "library" } else { "data" }.into();
        dependency["bom-ref"] = name.into();
        dependency["name"] = name.into();
        return dependency;
    };
    let (package, version) = name.rsplit_once('@').unwrap_or((name, ""));
    dependency["type"] = "library".into();
    dependency["name"] = package.into();
    dependency["version"] = version.into();
    if uri.starts_with("pkg:") {
        dependency["purl"] = uri.as_str().into();
        dependency["bom-ref"] = uri.as_str().into();
    } else {
        // One repository can have several packages.
        dependency["bom-ref"] = format!("{name} {uri}").into();
    }
    dependency
}

/// Returns the members of a component beside its name: digests, location and annotations.
fn described(descriptor: &ResourceDescriptor) -> Value {
    let mut members = Map::new();
    if descriptor.digest.contains_key("sha256") {
        members.insert("hashes".to_owned(), hashes(&descriptor.digest));
    }
    let uri = descriptor.uri.as_deref();
    if let Some(uri) = uri.filter(|uri| uri.starts_with("git+")) {
        let repository = json!([{"type": "vcs", "url": uri}]);
        members.insert("externalReferences".to_owned(), repository);
    }
    let digests = descriptor.digest.iter();
    let others = digests.filter(|(algorithm, _)| *algorithm != "sha256");
    let others = others.map(|(algorithm, digest)| property(algorithm, digest.clone()));
    let annotations = descriptor.annotations.iter().map(|(name, value)| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        property(name, text)
    });
    let properties: Vec<_> = others.chain(annotations).collect();
    if !properties.is_empty() {
        members.insert("properties".to_owned(), properties.into());
    }
    members.into()
}

fn property(name: &str, value: String) -> Value {
    json!({"name": format!("{PROPERTY}{name}"), "value": value})
}

fn hashes(digest: &DigestSet) -> Value {
    let sha256 = digest.get("sha256").into_iter();
    sha256
        .map(|digest| json!({"alg": "SHA-256", "content": digest}))
        .collect()
}
