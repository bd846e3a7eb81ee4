//! Keeps a token for a private repository to the server that it is for.
//!
//! * In: the token and the URL of the repository, as the client gave them.
//! * Out: a file of settings for git, which only the commands that talk to that server see; text
//!   without the token.
//! * Never: the token in an argument, a variable, a file of the machine, a log or a message, or at
//!   another host, port or scheme.
//!
//! Git gets the token as a header that it sends to URLs of that server (`http.URL.extraHeader`), in
//! a file that the sandbox has in memory. A credential helper would be a program of its own,
//! started by a shell, that git asks after a first request without the token; the header needs
//! neither.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use memchr::memmem;
use zeroize::{Zeroize as _, Zeroizing};

use super::{FetchLog, RepositoryUrl};
use crate::sandbox::paths::GIT_TOKEN_FILE;
use crate::sandbox::{CommandSpec, OutputSink, SecretFile, Stream};
use crate::source::redirect::{Endpoint, split};

/// The fewest bytes of a token: a shorter one could not be told from other text in a log.
pub const MIN_TOKEN_BYTES: usize = 8;

/// The most bytes of a token, with its user.
pub const MAX_TOKEN_BYTES: usize = 2048;

/// The user of a token that comes without one. GitHub requires this name for tokens of its
/// applications; GitHub, GitLab and Gitea take any name for a person's token.
const USER: &str = "x-access-token";

/// The text that stands for the token in a log.
const HIDDEN: &[u8] = b"[repo_token]";

/// The variable by which git reads the file of settings in place of the user's.
const SETTINGS_VARIABLE: &str = "GIT_CONFIG_GLOBAL";

/// Why text is not a token, or not one for this repository. No message contains any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum TokenError {
    #[error(
        "the token has {bytes} bytes, allowed are {} to {}",
        MIN_TOKEN_BYTES,
        MAX_TOKEN_BYTES
    )]
    Length { bytes: usize },
    #[error("the token has a character other than the visible ones of ASCII")]
    Character,
    /// The token would travel in plaintext. An address of the loopback does not leave the machine.
    #[error("a token is sent over https only, and repo_url is http")]
    Plaintext,
}

/// A token for one server, cleared when its last clone is dropped.
#[derive(Clone)]
pub struct RepositoryToken(Arc<Inner>);

struct Inner {
    server: Endpoint,
    /// Git's settings with the token.
    settings: Arc<Zeroizing<Vec<u8>>>,
    /// The forms in which the token could be in a text.
    forms: Vec<Zeroizing<Vec<u8>>>,
}

impl RepositoryToken {
    /// Binds a token, `TOKEN` or `USER:TOKEN`, to the server of `url`.
    ///
    /// # Errors
    /// The text is not a token, or would be sent in plaintext.
    pub fn new(text: &str, url: &RepositoryUrl) -> Result<Self, TokenError> {
        let (user, token) = text.split_once(':').unwrap_or((USER, text));
        if token.len() < MIN_TOKEN_BYTES || text.len() > MAX_TOKEN_BYTES {
            let bytes = token.len();
            return Err(TokenError::Length { bytes });
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Character);
        }
        let server = Endpoint::of(url.as_str()).ok_or(TokenError::Plaintext)?;
        if !server.is_https() && !is_loopback(server.host()) {
            return Err(TokenError::Plaintext);
        }
        let login = Zeroizing::new(format!("{user}:{token}"));
        let encoded = Zeroizing::new(STANDARD.encode(login.as_bytes()));
        // Without the padding, so that it is found in a longer text too.
        let stem = encoded.trim_end_matches('=').as_bytes();
        let alone = Zeroizing::new(STANDARD_NO_PAD.encode(token));
        let forms = [token.as_bytes(), stem, alone.as_bytes()];
        Ok(Self(Arc::new(Inner {
            settings: Arc::new(settings(url, &encoded)),
            forms: forms.map(|form| Zeroizing::new(form.to_vec())).into(),
            server,
        })))
    }

    /// Returns whether the token is for the server of `url`.
    pub(super) fn is_for(&self, url: &RepositoryUrl) -> bool {
        Endpoint::of(url.as_str()).as_ref() == Some(&self.0.server)
    }

    /// Has a command of git send the token, if `url` is of the server that the token is for.
    pub(super) fn add_to(&self, spec: &mut CommandSpec, url: &RepositoryUrl) {
        if !self.is_for(url) {
            return;
        }
        let variable = SETTINGS_VARIABLE.to_owned();
        spec.environment.insert(variable, GIT_TOKEN_FILE.to_owned());
        spec.secret = Some(SecretFile {
            target: GIT_TOKEN_FILE.into(),
            content: Arc::clone(&self.0.settings),
        });
    }

    /// Returns whether a text contains the token, as it is or in base64.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        let mut forms = self.0.forms.iter();
        forms.any(|form| memmem::find(text, form).is_some())
    }

    /// Returns a text in which `[repo_token]` stands for the token.
    pub(super) fn hide<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let mut hidden = Cow::Borrowed(text);
        for form in &self.0.forms {
            if let Some(without) = replaced(&hidden, form) {
                hidden = Cow::Owned(without);
            }
        }
        hidden
    }

    /// Returns git's reason for a failure with `[repo_token]` in place of the token.
    pub(super) fn hide_in_reason(&self, reason: &str) -> String {
        String::from_utf8_lossy(&self.hide(reason.as_bytes())).into_owned()
    }

    /// Returns how many bytes the longest form has.
    fn longest(&self) -> usize {
        let lengths = self.0.forms.iter().map(|form| form.len());
        lengths.max().unwrap_or_default()
    }
}

impl PartialEq for RepositoryToken {
    fn eq(&self, other: &Self) -> bool {
        self.0.settings == other.0.settings
    }
}

impl Eq for RepositoryToken {}

impl fmt::Debug for RepositoryToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RepositoryToken")
    }
}

/// Returns a text in which `[repo_token]` stands for each `form`, if it has any.
fn replaced(text: &[u8], form: &[u8]) -> Option<Vec<u8>> {
    let mut without = Vec::new();
    let mut rest = text;
    while let Some(start) = memmem::find(rest, form) {
        without.extend_from_slice(&rest[..start]);
        without.extend_from_slice(HIDDEN);
        rest = &rest[start + form.len()..];
    }
    if rest.len() == text.len() {
        return None;
    }
    without.extend_from_slice(rest);
    Some(without)
}

/// Returns whether a host is this machine itself.
fn is_loopback(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Writes git's settings (`git-config(1)`): the header, for URLs of the repository's server. A URL
/// has no quote and no backslash.
fn settings(url: &RepositoryUrl, encoded: &str) -> Zeroizing<Vec<u8>> {
    let (scheme, authority, _) = split(url.as_str()).unwrap_or_default();
    let header = format!("Authorization: Basic {encoded}");
    let header = Zeroizing::new(header);
    let text = format!(
        "[http \"{scheme}://{authority}/\"]\n\textraHeader = \"{}\"\n",
        header.as_str()
    );
    Zeroizing::new(text.into_bytes())
}

/// The log of a fetch with a token. A server that repeats the token does not get it into the log.
pub(super) struct Discreet<'a> {
    log: &'a mut dyn FetchLog,
    token: Option<RepositoryToken>,
    /// What may be the beginning of the token, of each stream.
    held: [Vec<u8>; 2],
}

impl<'a> Discreet<'a> {
    pub(super) fn new(log: &'a mut dyn FetchLog, token: Option<&RepositoryToken>) -> Self {
        Self {
            log,
            token: token.cloned(),
            held: Default::default(),
        }
    }

    /// Passes on what is held. Call this when a command has ended.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        for (stream, index) in [(Stream::Stdout, 0), (Stream::Stderr, 1)] {
            let held = std::mem::take(&mut self.held[index]);
            if !held.is_empty() {
                self.log.chunk(stream, &held)?;
            }
        }
        Ok(())
    }
}

impl OutputSink for Discreet<'_> {
    fn chunk(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let Some(token) = &self.token else {
            return self.log.chunk(stream, bytes);
        };
        let held = &mut self.held[usize::from(stream == Stream::Stderr)];
        held.extend_from_slice(bytes);
        let mut text = token.hide(held).into_owned();
        held.zeroize();
        // The token has no line break, so a whole line is passed on.
        let lines = memchr::memrchr(b'\n', &text).map_or(0, |end| end + 1);
        let sure = lines.max(text.len().saturating_sub(token.longest() - 1));
        held.extend(text.drain(sure..));
        self.log.chunk(stream, &text)
    }
}

impl FetchLog for Discreet<'_> {
    fn note(&mut self, line: &str) -> io::Result<()> {
        self.flush()?;
        match &self.token {
            Some(token) => self.log.note(&token.hide_in_reason(line)),
            None => self.log.note(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::plan;
    use super::*;

    const TOKEN: &str = "ghp_0123456789abcdef";

    fn url(text: &str) -> RepositoryUrl {
        RepositoryUrl::parse(text).unwrap()
    }

    fn token() -> RepositoryToken {
        RepositoryToken::new(TOKEN, &url("https://Example.org/x")).unwrap()
    }

    fn spec() -> CommandSpec {
        let url = url("https://example.org/x");
        plan::list_refs("/usr/bin/git", (&url, None), "HEAD", Duration::ZERO)
    }

    #[test]
    fn goes_to_its_own_server_in_a_file_and_to_no_other() {
        for own in ["https://example.org/y", "https://EXAMPLE.org:443/x/z"] {
            let mut spec = spec();
            token().add_to(&mut spec, &url(own));
            assert_eq!(spec.environment[SETTINGS_VARIABLE], GIT_TOKEN_FILE);
            let secret = spec.secret.clone().unwrap();
            assert_eq!(secret.target.to_str(), Some(GIT_TOKEN_FILE));
            let encoded = STANDARD.encode(format!("{USER}:{TOKEN}"));
            let expected = format!(
                "[http \"https://Example.org/\"]\n\textraHeader = \"Authorization: Basic {encoded}\"\n"
            );
            assert_eq!(secret.content.as_slice(), expected.as_bytes());
            assert!(!token().is_in(format!("{spec:?}").as_bytes()), "{spec:?}");
        }
        for other in [
            "http://example.org/x",
            "https://example.org:8443/x",
            "https://example.org.evil.example/x",
            "https://sub.example.org/x",
        ] {
            let mut with = spec();
            token().add_to(&mut with, &url(other));
            assert_eq!(with, spec(), "{other}");
        }
    }

    #[test]
    fn a_user_can_come_with_it() {
        let token =
            RepositoryToken::new("oauth2:secret:word", &url("https://example.org")).unwrap();
        let mut spec = spec();
        token.add_to(&mut spec, &url("https://example.org/x"));
        let secret = spec.secret.unwrap();
        let content = std::str::from_utf8(&secret.content).unwrap();
        assert!(content.contains(&STANDARD.encode("oauth2:secret:word")));
    }

    #[test]
    fn refuses_what_no_token_is_and_says_nothing_of_it() {
        let refused = |text: &str, of: &str| RepositoryToken::new(text, &url(of)).unwrap_err();
        let https = "https://example.org/x";
        let length = |bytes| TokenError::Length { bytes };
        assert_eq!(refused("short", https), length(5));
        assert_eq!(refused("a-long-user:short", https), length(5));
        let long = "x".repeat(MAX_TOKEN_BYTES + 1);
        assert_eq!(refused(&long, https), length(long.len()));
        for character in [' ', '\n', '\r', '\0', 'é', '\u{7f}'] {
            let text = format!("{TOKEN}{character}{TOKEN}");
            assert_eq!(refused(&text, https), TokenError::Character);
        }
        for plain in [
            "http://example.org/x",
            "http://10.0.0.1/",
            "http://127.0.0.1.example/",
        ] {
            assert_eq!(refused(TOKEN, plain), TokenError::Plaintext, "{plain}");
        }
        for here in [
            "http://127.0.0.1:8080/x",
            "http://[::1]/x",
            "http://localhost/x",
        ] {
            assert!(RepositoryToken::new(TOKEN, &url(here)).is_ok(), "{here}");
        }
    }

    #[derive(Default)]
    struct Kept(Vec<u8>);

    impl OutputSink for Kept {
        fn chunk(&mut self, _: Stream, bytes: &[u8]) -> io::Result<()> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
    }

    impl FetchLog for Kept {
        fn note(&mut self, line: &str) -> io::Result<()> {
            self.0.extend_from_slice(line.as_bytes());
            Ok(())
        }
    }

    #[test]
    fn is_hidden_in_every_form_wherever_the_output_is_cut() {
        let login = STANDARD.encode(format!("{USER}:{TOKEN}"));
        let alone = STANDARD.encode(TOKEN);
        let text =
            format!("remote: {TOKEN}{TOKEN} {login}\n{alone} and {TOKEN}, then ghp_0123 end");
        for cut in 0..text.len() {
            let mut kept = Kept::default();
            let mut log = Discreet::new(&mut kept, Some(&token()));
            let (first, second) = text.as_bytes().split_at(cut);
            for piece in [first, second] {
                log.chunk(Stream::Stderr, piece).unwrap();
            }
            log.note(&format!("moved to /{TOKEN}/")).unwrap();
            let shown = String::from_utf8(kept.0).unwrap();
            assert!(
                !shown.contains(TOKEN) && !token().is_in(shown.as_bytes()),
                "{shown}"
            );
            assert!(shown.contains(", then ghp_0123 end"), "{shown}");
            assert!(shown.ends_with("moved to /[repo_token]/"), "{shown}");
        }
    }

    #[test]
    fn a_token_that_is_a_word_of_ours_ends_no_service() {
        let token = RepositoryToken::new("repo_token", &url("https://example.org")).unwrap();
        assert_eq!(*token.hide(b"a repo_token b"), *b"a [repo_token] b");
    }

    #[test]
    fn a_log_without_a_token_passes_everything_on_at_once() {
        let mut kept = Kept::default();
        Discreet::new(&mut kept, None)
            .chunk(Stream::Stdout, b"no line end")
            .unwrap();
        assert_eq!(kept.0, b"no line end");
    }
}
