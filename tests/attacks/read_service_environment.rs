//! Tries: to read the service's environment, its own and that of all it sees
//! Aims at: host
//! Stopped by: a cleared environment and the PID namespace
//! Expect: contained
//! Shows: environments without the secret

mod attack;

use attack::*;

fn main() {
    let mut environments = vec![std::env::vars().map(|(name, value)| format!("{name}={value}")).collect::<String>()];
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let bytes = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        environments.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    if environments.iter().any(|environment| environment.contains("KETTLE_TEST_SECRET")) {
        succeeded("the secret is in an environment");
    } else {
        contained(format_args!("{} environments without the secret", environments.len()));
    }
}
