//! Configures git the same way for all that run it: the appliance for a source, cargo for a
//! dependency, nix for an input.
//!
//! * In: nothing.
//! * Out: settings and environment variables.
//! * Never: a configuration of the machine, a credential, a prompt, a redirect that git follows by
//!   itself.

/// Settings of git that every fetch has. They allow no protocols but those of the web.
pub const SETTINGS: [(&str, &str); 10] = [
    ("core.hooksPath", "/dev/null"),
    ("credential.helper", ""),
    ("gc.auto", "0"),
    // `repository::redirect` finds out where a server redirects to, and decides.
    ("http.followRedirects", "false"),
    ("http.lowSpeedLimit", "100"),
    ("http.lowSpeedTime", "60"),
    ("maintenance.auto", "false"),
    ("protocol.allow", "never"),
    ("protocol.http.allow", "always"),
    ("protocol.https.allow", "always"),
];

/// Environment variables of git that every fetch has.
pub const ENVIRONMENT: [(&str, &str); 5] = [
    ("GIT_ASKPASS", "/bin/false"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_SSL_CAINFO", "/etc/ssl/certs/ca-certificates.crt"),
    ("GIT_TERMINAL_PROMPT", "0"),
];

/// Returns the environment variables that pass settings to git (`git-config(1)`,
/// `GIT_CONFIG_COUNT`).
pub fn variables<'a, I>(settings: I) -> Vec<(String, String)>
where
    I: IntoIterator<Item = (&'a str, &'a str)>,
{
    let settings: Vec<_> = settings.into_iter().collect();
    let mut variables = vec![("GIT_CONFIG_COUNT".to_owned(), settings.len().to_string())];
    for (index, (key, value)) in settings.into_iter().enumerate() {
        variables.push((format!("GIT_CONFIG_KEY_{index}"), key.to_owned()));
        variables.push((format!("GIT_CONFIG_VALUE_{index}"), value.to_owned()));
    }
    variables
}
