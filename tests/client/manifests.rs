//! Compares the YAML files of `image/pool` and `image/ci` with the program.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use kettle::toolchain::{BUILD_TIME, FETCH_TIME};
use serde_json::{Value, json};

/// Debian's Python, which has the packages that scripts/setup installs; another one may be first.
const PYTHON: &str = "/usr/bin/python3";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("image")
        .join(name)
}

/// Returns the documents of a file, as Python reads them.
fn documents(name: &str) -> Vec<Value> {
    let program = "import json, sys, yaml\n\
                   json.dump(list(yaml.safe_load_all(open(sys.argv[1]))), sys.stdout)";
    let mut python = Command::new(PYTHON);
    let output = python.args(["-c", program]).arg(file(name)).output();
    let output = output.unwrap();
    assert!(
        output.status.success(),
        "{} (scripts/setup --tests installs python3-yaml)",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns everything below a value that has this name.
fn named<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                if key == name {
                    found.push(member);
                }
                named(member, name, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| named(item, name, found)),
        _ => {}
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[test]
fn waits_for_a_build_are_longer_than_any_build() {
    let longest = FETCH_TIME + BUILD_TIME;
    let text = fs::read_to_string(file("pool/haproxy.cfg")).unwrap();
    for setting in ["timeout tunnel ", "hard-stop-after "] {
        let hours = text.split(setting).nth(1).unwrap().split('h').next();
        let hours: u64 = hours.unwrap().parse().unwrap();
        assert!(Duration::from_secs(hours * 3600) > longest, "{setting}");
    }
    let [_, pool] = &documents("pool/kubernetes.yaml")[..] else {
        panic!("two documents")
    };
    let machine = &pool["spec"]["virtualMachineTemplate"]["spec"]["template"]["spec"];
    let probe = &machine["livenessProbe"];
    let number = |name: &str| probe[name].as_u64().unwrap();
    let seconds = number("periodSeconds") * number("failureThreshold");
    assert!(Duration::from_secs(seconds) > longest);
}

#[test]
fn the_cluster_asks_whether_a_machine_is_free() {
    let [service, pool] = &documents("pool/kubernetes.yaml")[..] else {
        panic!("two documents")
    };
    let template = &pool["spec"]["virtualMachineTemplate"];
    let labels = &template["metadata"]["labels"];
    let machine = &template["spec"]["template"];
    for selecting in [
        &service["spec"]["selector"],
        &pool["spec"]["selector"]["matchLabels"],
        &machine["metadata"]["labels"],
    ] {
        assert_eq!(selecting, labels);
    }
    for probe in ["readinessProbe", "livenessProbe"] {
        let asked = &machine["spec"][probe]["httpGet"];
        assert_eq!(*asked, json!({"path": "/ready", "port": 80}), "{probe}");
    }
    assert_eq!(template["spec"]["runStrategy"], "Always");
    assert_eq!(service["spec"]["clusterIP"], "None");
    let mut images = Vec::new();
    named(pool, "image", &mut images);
    assert_eq!(images.len(), 2);
    for image in images {
        let (_, digest) = image.as_str().unwrap().split_once("@sha256:").unwrap();
        assert!(is_hex(digest, 64), "{image}");
    }
}

/// The annotation with the hooks of a machine.
fn hooks(machine: &Value) -> Value {
    let hooks = &machine["metadata"]["annotations"]["hooks.kubevirt.io/hookSidecars"];
    serde_json::from_str(hooks.as_str().unwrap()).unwrap()
}

/// The complaints of KubeVirt's published schema about a document. A member that the schema does not
/// have is one of them, because a cluster drops it without a word.
fn complaints(schema: &str, document: &Value) -> Vec<String> {
    let program = r#"
import json, jsonschema, sys

def strict(schema):
    properties = schema.get("properties")
    if properties is not None:
        for inner in properties.values():
            strict(inner)
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    for name in "items", "additionalProperties":
        if isinstance(schema.get(name), dict):
            strict(schema[name])
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)

schema = json.load(open(sys.argv[1]))
strict(schema)
found = jsonschema.Draft4Validator(schema).iter_errors(json.load(sys.stdin))
json.dump(["/".join(map(str, e.absolute_path)) + ": " + e.message[:200] for e in found], sys.stdout)
"#;
    let mut python = Command::new(PYTHON)
        .args(["-c", program])
        .arg(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/data/kubevirt")
                .join(schema),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = python.stdin.take().unwrap();
    input.write_all(document.to_string().as_bytes()).unwrap();
    drop(input);
    let output = python.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "scripts/setup --tests installs python3-jsonschema"
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_manifests_are_what_kubevirt_publishes() {
    let [_, mut pool] = <[Value; 2]>::try_from(documents("pool/kubernetes.yaml")).unwrap();
    let [script, mut machine] = <[Value; 2]>::try_from(documents("kubevirt.yaml")).unwrap();
    let of_pool = "virtualmachinepool.json";
    let of_machine = "virtualmachineinstance.json";
    assert_eq!(complaints(of_pool, &pool), [""; 0]);
    assert_eq!(complaints(of_machine, &machine), [""; 0]);
    // The same hook for both, and it is the one that is there.
    let template = &pool["spec"]["virtualMachineTemplate"]["spec"]["template"];
    assert_eq!(hooks(template), hooks(&machine));
    let named = &hooks(&machine)[0]["configMap"];
    assert_eq!(named["name"], script["metadata"]["name"]);
    assert!(script["data"][named["key"].as_str().unwrap()].is_string());
    // A member that nobody knows, and a value of another type, are found.
    machine["spec"]["domain"]["kernelHashes"] = json!(true);
    machine["spec"]["domain"]["cpu"]["cores"] = json!("four");
    assert_eq!(complaints(of_machine, &machine).len(), 2);
    pool["spec"]["replicas"] = json!("six");
    assert_eq!(complaints(of_pool, &pool).len(), 1);
}

/// Runs the hook as KubeVirt's shim does, on a definition with these elements.
fn hooked(elements: &str) -> Output {
    let script = &documents("kubevirt.yaml")[0]["data"]["onDefineDomain.sh"];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("onDefineDomain");
    fs::write(&path, script.as_str().unwrap()).unwrap();
    Command::new("sh")
        .arg(&path)
        .args(["--vmi", "{}", "--domain"])
        .arg(format!("<domain type=\"kvm\">{elements}</domain>"))
        .output()
        .unwrap()
}

#[test]
fn the_hook_sets_kernel_hashes_and_the_firmware_or_fails() {
    let loader =
        "<loader readonly=\"yes\" secure=\"no\" type=\"rom\">/usr/share/OVMF/OVMF.fd</loader>";
    let security = "<launchSecurity type=\"sev-snp\"><policy>0x30000</policy></launchSecurity>";
    let output = hooked(&format!("<os>{loader}</os>{security}"));
    assert!(output.status.success());
    let changed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        changed.trim_end(),
        "<domain type=\"kvm\"><os><loader type=\"rom\" stateless=\"yes\">\
         /var/run/kettle/firmware.fd</loader></os><launchSecurity type=\"sev-snp\" \
         kernelHashes=\"yes\"><policy>0x30000</policy></launchSecurity></domain>"
    );
    for incomplete in [loader, security, ""] {
        let output = hooked(incomplete);
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{incomplete}"
        );
    }
}

#[test]
fn the_templates_of_ci_run_the_script_pin_what_they_use_and_cache_nothing() {
    let [action] = &documents("ci/action.yml")[..] else {
        panic!("one document")
    };
    let [attest, upload] = &action["runs"]["steps"].as_array().unwrap()[..] else {
        panic!("two steps")
    };
    assert_eq!(attest["run"], "sh \"$GITHUB_ACTION_PATH/attest.sh\"");
    let (name, commit) = upload["uses"].as_str().unwrap().split_once('@').unwrap();
    assert_eq!(name, "actions/upload-artifact");
    assert!(is_hex(commit, 40), "{commit}");
    assert!(upload["if"].as_str().unwrap().starts_with("always() "));

    let [header, job] = &documents("ci/gitlab.yml")[..] else {
        panic!("two documents")
    };
    let (_, job) = job.as_object().unwrap().iter().next().unwrap();
    assert_eq!(
        (&job["cache"], &job["dependencies"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(job["artifacts"]["when"], "always");
    let inputs = &header["spec"]["inputs"];
    for pinned in ["image", "kettle-sha256", "attest-sha256"] {
        let regex = inputs[pinned]["regex"].as_str().unwrap();
        assert!(regex.ends_with("[0-9a-f]{64}$"), "{pinned}");
        assert!(inputs[pinned].get("default").is_none(), "{pinned}");
    }
    // Both pass exactly the variables that the script documents.
    let script = fs::read_to_string(file("ci/attest.sh")).unwrap();
    let documented = |name: &String| script.contains(&format!("#   {name} "));
    let own = ["GIT_STRATEGY", "KETTLE_ATTEST", "KETTLE_ATTEST_SHA256"];
    for variables in [&attest["env"], &job["variables"]] {
        let names = variables.as_object().unwrap().keys();
        let names: Vec<_> = names.filter(|name| !own.contains(&name.as_str())).collect();
        assert_eq!(names.len(), 7, "{names:?}");
        assert!(names.into_iter().all(documented));
    }
}
