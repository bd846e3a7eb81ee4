//! Does the schema of CycloneDX 1.6 allow our bills of materials: those of builds, which the
//! appliance writes, and those of published images? The schema is in `tests/data/cyclonedx`.
#![cfg(feature = "appliance")]
#![allow(clippy::unwrap_used)] // A test of files: one that cannot be read fails it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use kettle::digest::Sha256Digest;
use kettle::provenance::{
    BUILD_TYPE_CARGO, BuildDefinition, Commands, ExternalParameters, InternalParameters,
    LibraryRecord, NamedDigest, Nonce, NonceSource, OptionsRecord, RUST_STD, ResourceDescriptor,
    SignerRecord, SourceParameter, Subject, ToolRecord, sha256_set,
};
use kettle::sbom;
use serde_json::{Value, json};

/// The schema (JSON Schema, draft 7), of which only the keywords that our bills need are known. An
/// unknown keyword or pattern fails, so that nothing passes unseen.
struct Schema(Value);

/// Keywords that allow or refuse nothing.
const REMARKS: [&str; 10] = [
    "$schema",
    "$id",
    "$comment",
    "title",
    "description",
    "examples",
    "default",
    "definitions",
    "deprecated",
    "meta:enum",
];

/// The pattern of the content of hashes.
const HASH: &str =
    "^([a-fA-F0-9]{32}|[a-fA-F0-9]{40}|[a-fA-F0-9]{64}|[a-fA-F0-9]{96}|[a-fA-F0-9]{128})$";

/// The beginning of links to other bills, which ours do not have: two patterns start with it.
const BILL_LINK: &str = "urn:cdx:";

impl Schema {
    fn read() -> Self {
        Self(read("tests/data/cyclonedx/bom-1.6.schema.json"))
    }

    /// Returns the errors of a document, each with its location.
    fn errors(&self, document: &Value) -> Vec<String> {
        self.of(&self.0, document, "")
    }

    fn of(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let Some(rules) = schema.as_object() else {
            return match schema {
                Value::Bool(false) => vec![format!("{at}: is not allowed")],
                _ => Vec::new(),
            };
        };
        // Members beside a reference are ignored (draft 7, section 8.3).
        if let Some(target) = rules.get("$ref") {
            return self.of(self.target(target.as_str().unwrap()), value, at);
        }
        let rules = rules
            .iter()
            .filter(|(keyword, _)| !REMARKS.contains(&keyword.as_str()));
        let errors = rules.flat_map(|(keyword, rule)| self.rule(schema, keyword, rule, value, at));
        errors.collect()
    }

    fn target(&self, reference: &str) -> &Value {
        let pointer = reference.strip_prefix('#');
        let pointer = pointer.unwrap_or_else(|| panic!("{reference} is another schema"));
        self.0.pointer(pointer).unwrap()
    }

    fn rule(
        &self,
        schema: &Value,
        keyword: &str,
        rule: &Value,
        value: &Value,
        at: &str,
    ) -> Vec<String> {
        let holds = match keyword {
            "type" => is_of_type(rule, value),
            "enum" => rule.as_array().unwrap().contains(value),
            "const" => rule == value,
            "required" => value
                .as_object()
                .is_none_or(|members| strings(rule).all(|name| members.contains_key(name))),
            "minimum" => value.as_f64().is_none_or(|it| it >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|it| it <= rule.as_f64().unwrap()),
            "minLength" => value
                .as_str()
                .is_none_or(|it| it.chars().count() as u64 >= rule.as_u64().unwrap()),
            "maxLength" => value
                .as_str()
                .is_none_or(|it| it.chars().count() as u64 <= rule.as_u64().unwrap()),
            "uniqueItems" => value.as_array().is_none_or(|items| {
                items
                    .iter()
                    .map(Value::to_string)
                    .collect::<BTreeSet<_>>()
                    .len()
                    == items.len()
            }),
            "pattern" => value
                .as_str()
                .is_none_or(|text| fits(rule.as_str().unwrap(), text)),
            "format" => value
                .as_str()
                .is_none_or(|text| is_of_format(rule.as_str().unwrap(), text)),
            "anyOf" => rule
                .as_array()
                .unwrap()
                .iter()
                .any(|one| self.of(one, value, at).is_empty()),
            "oneOf" => {
                let fitting = rule
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|one| self.of(one, value, at).is_empty());
                fitting.count() == 1
            }
            "properties" | "additionalProperties" | "items" => {
                return self.parts(schema, keyword, rule, value, at);
            }
            other => panic!("{at}: the keyword {other} is not known here"),
        };
        if holds {
            Vec::new()
        } else {
            vec![format!("{at}: {keyword} is {rule}, not so {value}")]
        }
    }

    /// Returns the errors in the members of an object, or in the items of a list.
    fn parts(
        &self,
        schema: &Value,
        keyword: &str,
        rule: &Value,
        value: &Value,
        at: &str,
    ) -> Vec<String> {
        let members = value.as_object().into_iter().flatten();
        let of_members = |is_known: bool| {
            members.filter(move |(name, _)| {
                schema["properties"].get(name.as_str()).is_some() == is_known
            })
        };
        match keyword {
            "properties" => of_members(true)
                .flat_map(|(name, member)| self.of(&rule[name], member, &format!("{at}/{name}")))
                .collect(),
            "additionalProperties" => of_members(false)
                .flat_map(|(name, member)| self.of(rule, member, &format!("{at}/{name}")))
                .collect(),
            _ => {
                let items = value.as_array().into_iter().flatten().enumerate();
                items
                    .flat_map(|(index, item)| self.of(rule, item, &format!("{at}/{index}")))
                    .collect()
            }
        }
    }
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|it| it.as_str().unwrap())
}

fn is_of_type(rule: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("the type {other} is not known here"),
    };
    match rule {
        Value::Array(_) => strings(rule).any(is),
        rule => is(rule.as_str().unwrap()),
    }
}

fn fits(pattern: &str, text: &str) -> bool {
    match pattern {
        HASH => {
            [32, 40, 64, 96, 128].contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        }
        other => {
            let is_link = other
                .strip_prefix('^')
                .is_some_and(|it| it.starts_with(BILL_LINK));
            assert!(is_link, "the pattern {other} is not known here");
            assert!(
                !text.starts_with(BILL_LINK),
                "{text}: links are not known here"
            );
            false
        }
    }
}

fn is_of_format(format: &str, text: &str) -> bool {
    match format {
        // RFC 3987: characters that are allowed in neither a URI nor an IRI.
        "iri-reference" => {
            !text.contains(|it: char| it.is_control() || " <>\"{}|\\^`".contains(it))
        }
        other => panic!("the format {other} is not known here"),
    }
}

fn read(path: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn named(name: &str) -> NamedDigest {
    NamedDigest {
        name: name.to_owned(),
        digest: sha256_set(&Sha256Digest::of(name.as_bytes())),
    }
}

fn tool(name: &str) -> ToolRecord {
    let NamedDigest { name, digest } = named(name);
    ToolRecord {
        name,
        version: "1.95.0".to_owned(),
        digest,
    }
}

fn descriptor(value: Value) -> ResourceDescriptor {
    serde_json::from_value(value).unwrap()
}

/// Returns the build definition of a build that used `dependencies`.
fn definition(source: Value, dependencies: Vec<Value>) -> BuildDefinition {
    BuildDefinition {
        build_type: BUILD_TYPE_CARGO,
        external_parameters: ExternalParameters {
            source: SourceParameter::Repository {
                repository: "https://h/r".to_owned(),
                reference: None,
            },
            nonce: Nonce::parse("00").unwrap(),
            nonce_source: NonceSource::Client,
            options: OptionsRecord::default(),
        },
        internal_parameters: InternalParameters {
            signer: SignerRecord::new(b"key"),
            command: Commands::default(),
            environment: BTreeMap::new(),
            lockfile: named("Cargo.lock"),
            libraries: vec![
                LibraryRecord {
                    name: "libstdc++.so.6".to_owned(),
                    package: Some("libstdc++6".to_owned()),
                    version: Some("1:14.2.0-19".to_owned()),
                },
                LibraryRecord {
                    name: "libown.so".to_owned(),
                    package: None,
                    version: None,
                },
            ],
            link_arguments: Vec::new(),
            import_from_derivation: Vec::new(),
            outputs: Vec::new(),
            toolchain: ["rustc", RUST_STD].map(tool).into(),
            image: None,
            network: Vec::new(),
            sandbox: Value::Null,
            source_date_epoch: 0,
        },
        resolved_dependencies: [source]
            .into_iter()
            .chain(dependencies)
            .map(descriptor)
            .collect(),
    }
}

/// Returns definitions with a source and dependencies of each kind that statements have
/// (`src/toolchain/README.md`).
fn of_all_kinds() -> [BuildDefinition; 2] {
    let (sha256, git) = ("ab".repeat(32), "cd".repeat(20));
    let git_digest = json!({"gitCommit": git, "gitTree": git});
    let repository = json!({
        "uri": format!("git+https://h/r#{git}"),
        "digest": git_digest,
        "annotations": {"fetchedFrom": "https://h/moved"},
    });
    let archive = json!({"name": "r.tar", "digest": {"sha256": sha256, "gitTree": git}});
    let package =
        |name: &str, uri: &str, digest: Value| json!({"name": name, "uri": uri, "digest": digest});
    let of_git = format!("git+https://h/many#{git}");
    let cargo = vec![
        package("a@1.0.0", "pkg:cargo/a@1.0.0", json!({"sha256": sha256})),
        package(
            "a@1.0.0",
            "pkg:cargo/a@1.0.0?repository_url=https://h/index",
            json!({"sha256": sha256}),
        ),
        package("a@1.0.0", &of_git, git_digest.clone()),
        package("b@2.0.0-rc.1+x", &of_git, git_digest),
        package("c@0.1.0", "path:vendor/c d", json!({"gitTree": git})),
    ];
    let store = |name: &str, annotations: Value| {
        json!({
            "name": format!("/nix/store/{}-{name}", "0".repeat(32)),
            "digest": {"sha256": sha256},
            "annotations": annotations,
        })
    };
    let locked = json!({"type": "github", "rev": git});
    let nix = vec![
        json!({
            "name": "nixpkgs",
            "digest": {"sha256": sha256},
            "annotations": {"locked": locked},
        }),
        json!({"name": "part", "annotations": {"partOf": "nixpkgs", "folder": "lib"}}),
        store(
            "built",
            json!({"realised": "built", "narSize": 7, "deriver": "x.drv"}),
        ),
        store(
            "taken",
            json!({"realised": "substituted", "cache": "https://c", "key": "c-1"}),
        ),
        store("source", json!({"added": "source", "narSize": 1})),
        json!({
            "name": "recipes that were only evaluated",
            "digest": {"sha256": sha256},
            "annotations": {"count": 9},
        }),
    ];
    [definition(repository, cargo), definition(archive, nix)]
}

fn subjects() -> Vec<Subject> {
    vec![
        Subject::new(named("hello"), true),
        Subject::new(named("data/words"), false),
    ]
}

fn bill(definition: &BuildDefinition) -> Value {
    let bytes = sbom::of("project", &subjects(), definition);
    assert!(bytes.ends_with(b"}\n"));
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn bills_of_builds_and_of_published_images_are_what_the_schema_allows() {
    let schema = Schema::read();
    for definition in &of_all_kinds() {
        assert_eq!(schema.errors(&bill(definition)), Vec::<String>::new());
    }
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0"] {
        let published = read(&format!("measurements/{version}.cdx.json"));
        // Their licences are SPDX expressions, whose schema is not here.
        let errors = schema.errors(&without_licences(published));
        assert_eq!(errors, Vec::<String>::new(), "{version}");
    }
}

fn without_licences(mut bill: Value) -> Value {
    for component in bill["components"].as_array_mut().unwrap() {
        component.as_object_mut().unwrap().remove("licenses");
    }
    bill
}

#[test]
fn a_bill_that_the_schema_refuses_is_found() {
    let schema = Schema::read();
    let good = bill(&of_all_kinds()[0]);
    for (pointer, value) in [
        ("/bomFormat", json!("SPDX")),
        ("/version", json!(0)),
        ("/serialNumbers", json!("")),
        ("/components/0/type", json!("program")),
        ("/components/0/name", json!(1)),
        ("/components/0/hashes/0/content", json!("ab")),
        ("/components/0/hashes/0/alg", json!("sha256")),
        ("/dependencies/0/dependsOn", json!(["a", "a"])),
        ("/metadata/component/externalReferences/0/url", json!("a b")),
        ("/metadata/lifecycles/0/phase", json!("run")),
        ("/metadata/tools/components/0/versions", json!("1")),
    ] {
        let mut bad = good.clone();
        let (object, member) = pointer.rsplit_once('/').unwrap();
        bad.pointer_mut(object).unwrap()[member] = value;
        assert!(!schema.errors(&bad).is_empty(), "{pointer}");
    }
    let mut nameless = good;
    nameless["components"][0]
        .as_object_mut()
        .unwrap()
        .remove("name");
    assert!(!schema.errors(&nameless).is_empty());
}

#[test]
fn everything_that_the_statement_names_is_in_the_bill_once() {
    for definition in &of_all_kinds() {
        let bill = bill(definition);
        let components = bill["components"].as_array().unwrap();
        let refs: Vec<_> = components
            .iter()
            .map(|it| it["bom-ref"].as_str().unwrap())
            .collect();
        let distinct: BTreeSet<_> = refs.iter().copied().chain(["source"]).collect();
        assert_eq!(distinct.len(), refs.len() + 1, "{refs:?}");
        // Two artifacts, the standard library, all dependencies but the source, and libraries.
        let libraries = definition.internal_parameters.libraries.len();
        assert_eq!(
            refs.len(),
            2 + 1 + definition.resolved_dependencies.len() - 1 + libraries
        );
        let edges = bill["dependencies"].as_array().unwrap();
        let named: BTreeSet<_> = edges.iter().map(|it| it["ref"].as_str().unwrap()).collect();
        let used: BTreeSet<_> = strings(&edges[0]["dependsOn"]).collect();
        assert_eq!(edges[0]["ref"], "source");
        assert_eq!(&named | &used, distinct);
    }
}

#[test]
fn a_component_says_what_the_statement_says_of_it() {
    let [cargo, nix] = of_all_kinds().map(|definition| bill(&definition));
    let (sha256, git) = ("ab".repeat(32), "cd".repeat(20));
    let git_property = |name: &str| json!({"name": format!("kettle:{name}"), "value": git});
    let hash = |content: &str| json!([{"alg": "SHA-256", "content": content}]);
    assert_eq!(
        cargo["metadata"]["component"],
        json!({"type": "application", "bom-ref": "source", "name": "project",
            "externalReferences": [{"type": "vcs", "url": format!("git+https://h/r#{git}")}],
            "properties": [git_property("gitCommit"), git_property("gitTree"),
                {"name": "kettle:fetchedFrom", "value": "https://h/moved"}]})
    );
    assert_eq!(
        cargo["metadata"]["tools"]["components"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let of_hello = Sha256Digest::of(b"hello").to_string();
    let components = cargo["components"].as_array().unwrap();
    assert_eq!(components[0]["name"], "data/words");
    assert_eq!(
        components[1],
        json!({"type": "application", "bom-ref": "artifact:hello", "name": "hello",
            "hashes": hash(&of_hello)})
    );
    assert_eq!(
        (&components[2]["name"], &components[2]["type"]),
        (&json!(RUST_STD), &json!("library"))
    );
    assert_eq!(
        components[3],
        json!({"type": "library", "bom-ref": "pkg:cargo/a@1.0.0", "name": "a", "version": "1.0.0",
            "purl": "pkg:cargo/a@1.0.0", "hashes": hash(&sha256)})
    );
    assert_eq!(
        components[7],
        json!({"type": "library", "bom-ref": "c@0.1.0 path:vendor/c d", "name": "c",
            "version": "0.1.0", "properties": [git_property("gitTree")]})
    );
    assert_eq!(
        components[8],
        json!({"type": "library", "bom-ref": "library:libstdc++.so.6", "name": "libstdc++.so.6",
            "version": "1:14.2.0-19",
            "purl": "pkg:deb/debian/libstdc%2B%2B6@1%3A14.2.0-19?arch=amd64"})
    );
    assert_eq!(
        components[9],
        json!({"type": "library", "bom-ref": "library:libown.so", "name": "libown.so"})
    );
    let kinds: Vec<_> = nix["components"].as_array().unwrap()[3..]
        .iter()
        .map(|it| it["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "data", "data", "library", "library", "data", "data", "library", "library"
        ]
    );
    assert_eq!(nix["metadata"]["component"]["hashes"], hash(&sha256));
}

#[test]
fn the_bill_of_one_build_is_always_the_same_bytes() {
    for definition in &of_all_kinds() {
        let mut reversed = subjects();
        reversed.reverse();
        let made =
            [subjects(), reversed].map(|subjects| sbom::of("project", &subjects, definition));
        assert_eq!(made[0], made[1]);
    }
}
