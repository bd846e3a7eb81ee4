//! What git is told whoever runs it: us for a source, cargo for a dependency, nix for an input.
//!
//! - Comes in: nothing.
//! - Goes out: settings and variables.
//! - Never: a configuration of the machine, a credential, somebody who is asked, a redirect that
//!   git follows by itself.

/// Settings of git that every fetch has. No protocol but those of the web is left.
pub const SETTINGS: [(&str, &str); 10] = [
    ("core.hooksPath", "/dev/null"),
    ("credential.helper", ""),
    ("gc.auto", "0"),
    // Where a server sends us, `repository::redirect` finds out and decides.
    ("http.followRedirects", "false"),
    ("http.lowSpeedLimit", "100"),
    ("http.lowSpeedTime", "60"),
    ("maintenance.auto", "false"),
    ("protocol.allow", "never"),
    ("protocol.http.allow", "always"),
    ("protocol.https.allow", "always"),
];

/// Variables of git that every fetch has.
pub const ENVIRONMENT: [(&str, &str); 5] = [
    ("GIT_ASKPASS", "/bin/false"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_SSL_CAINFO", "/etc/ssl/certs/ca-certificates.crt"),
    ("GIT_TERMINAL_PROMPT", "0"),
];

/// Returns settings as variables of git's environment (`git-config(1)`, `GIT_CONFIG_COUNT`).
pub fn variables<'a, I>(settings: I) -> Vec<(String, String)>
where
    I: IntoIterator<Item = (&'a str, &'a str)>,
{
    let settings: Vec<_> = settings.into_iter().collect();
    let count = ("GIT_CONFIG_COUNT".to_owned(), settings.len().to_string());
    let variables = settings
        .into_iter()
        .enumerate()
        .flat_map(|(index, (key, value))| {
            let key = (format!("GIT_CONFIG_KEY_{index}"), key.to_owned());
            [key, (format!("GIT_CONFIG_VALUE_{index}"), value.to_owned())]
        });
    [count].into_iter().chain(variables).collect()
}
