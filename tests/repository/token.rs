//! Where does a token for a private repository go, and where does it never?

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kettle::source::repository::redirect::RedirectError;
use kettle::source::repository::{RepositoryError, resolve};
use kettle::source::{GitRef, RepositoryToken, RepositoryUrl};

use super::{Kind, Moved, Service, Site, Unsandboxed, commit, fs, git};

const TOKEN: &str = "ghp_0123456789abcdefghijklmnopqrstuvwxyz";

fn login() -> String {
    let login = STANDARD.encode(format!("x-access-token:{TOKEN}"));
    format!("Basic {login}")
}

/// Returns what a server says that repeats what it was sent, as it came and decoded.
pub fn repeated(authorization: &str) -> String {
    let encoded = authorization.trim_start_matches("Basic ");
    let login = STANDARD.decode(encoded).unwrap_or_default();
    let login = String::from_utf8_lossy(&login);
    format!("you are {login}\nby {authorization}\n")
}

/// Returns an error with its causes, as messages and as a developer sees it.
fn all_of(error: &RepositoryError) -> String {
    let mut text = format!("{error:?}\n{error}");
    let mut cause = error.source();
    while let Some(next) = cause {
        text += &format!("\n{next:?}\n{next}");
        cause = next.source();
    }
    text
}

#[track_caller]
fn assert_absent(text: &str) {
    let encoded = login();
    let encoded = encoded.trim_start_matches("Basic ").trim_end_matches('=');
    assert!(!text.contains(TOKEN) && !text.contains(encoded), "{text}");
}

/// A private server of a site, and one on another port that takes anybody.
struct Private {
    site: Site,
    address: String,
    service: Arc<Service>,
    other_address: String,
    other: Arc<Service>,
}

impl Private {
    fn new(kind: Kind, moved: impl FnOnce(&str) -> Moved) -> Self {
        let site = Site::new();
        site.repository("hello", &[("Cargo.lock", "1")]);
        let root = site.directory.path().join("site");
        let (other_address, other) = Service::start(&root, kind, Box::new(|_, _| None));
        let moved = moved(&other_address);
        let (address, service) = Service::start_private(&root, kind, moved, Some(login()));
        Self {
            site,
            address,
            service,
            other_address,
            other,
        }
    }

    fn still(kind: Kind) -> Self {
        Self::new(kind, |_| Box::new(|_, _| None))
    }

    fn url(&self, path: &str) -> RepositoryUrl {
        RepositoryUrl::parse(&format!("{}{path}", self.address)).unwrap()
    }

    fn token(&self) -> RepositoryToken {
        RepositoryToken::new(TOKEN, &self.url("/")).unwrap()
    }

    /// Fetches with the token; nothing that is left has it.
    fn fetch(&self, path: &str) -> (Result<kettle::source::SourceTree, RepositoryError>, String) {
        let token = self.token();
        let (result, log) = self
            .site
            .fetch_as(|_| {}, &self.url(path), None, Some(&token));
        assert_absent(&log);
        match &result {
            Ok(tree) => assert_absent(&format!("{tree:?}")),
            Err(error) => assert_absent(&all_of(error)),
        }
        (result, log)
    }

    fn resolve(
        &self,
        reference: &str,
        token: Option<&RepositoryToken>,
    ) -> Result<(), RepositoryError> {
        let reference = GitRef::parse(reference).unwrap();
        let directory = self.site.directory.path().join("resolution");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(resolve(
            &Unsandboxed(|_| {}),
            &self.url("/hello/.git"),
            Some(&reference),
            token,
            &directory,
        ))
    }

    /// Asserts that only the private server has seen the token.
    fn assert_others_saw_nothing(&self) {
        let seen = self.other.seen.lock().unwrap();
        assert!(seen.iter().all(|(_, login)| login.is_empty()), "{seen:?}");
    }
}

/// Everything below a directory, as one text.
fn everything_below(directory: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        text += &format!("{}\n", path.display());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => text += &everything_below(&path),
            kind if kind.is_file() => text += &String::from_utf8_lossy(&fs::read(&path).unwrap()),
            _ => {}
        }
    }
    text
}

#[test]
fn a_private_repository_is_fetched_with_its_token_and_not_without() {
    for kind in [Kind::Dumb, Kind::Smart] {
        let private = Private::still(kind);
        let (tree, _) = private.fetch("/hello/.git");
        assert_eq!(
            fs::read(tree.unwrap().root().join("Cargo.lock")).unwrap(),
            b"1"
        );
        assert_absent(&everything_below(private.site.directory.path()));
        let seen = private.service.seen.lock().unwrap().clone();
        // The first request has it already: nothing is asked for twice.
        assert!(seen.iter().all(|(_, sent)| *sent == login()), "{seen:?}");

        let error = private
            .site
            .fetch(&private.url("/hello/.git"), None)
            .unwrap_err();
        let message = error.to_string();
        assert!(
            matches!(
                error,
                RepositoryError::Login {
                    has_token: false,
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(
            message.ends_with("A private repository needs repo_token"),
            "{message}"
        );
        let wrong = RepositoryToken::new("not-the-token", &private.url("/")).unwrap();
        let url = private.url("/hello/.git");
        let (result, log) = private.site.fetch_as(|_| {}, &url, None, Some(&wrong));
        let error = result.unwrap_err();
        assert!(
            matches!(
                error,
                RepositoryError::Login {
                    has_token: true,
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(!format!("{log}{}", all_of(&error)).contains("not-the-token"));
    }
}

#[test]
fn a_ref_of_a_private_repository_is_resolved_with_its_token() {
    let private = Private::still(Kind::Smart);
    let commit = git(
        &private.site.directory.path().join("site/hello"),
        &["rev-parse", "HEAD"],
    );
    for reference in ["main", "refs/heads/main", &commit] {
        private.resolve(reference, Some(&private.token())).unwrap();
        let error = private.resolve(reference, None).unwrap_err();
        assert!(
            matches!(
                error,
                RepositoryError::Login {
                    has_token: false,
                    ..
                }
            ),
            "{error:?}"
        );
    }
    let error = private
        .resolve("missing", Some(&private.token()))
        .unwrap_err();
    assert!(
        matches!(error, RepositoryError::NoSuchRef { .. }),
        "{error:?}"
    );
}

#[test]
fn a_redirect_gets_the_token_on_the_same_host_only() {
    let inside = Private::new(Kind::Smart, |_| {
        Box::new(|_, target| {
            let rest = target.strip_prefix("/old/")?;
            Some((301, format!("/hello/.git/{rest}")))
        })
    });
    let (tree, _) = inside.fetch("/old");
    assert!(tree.is_ok(), "{tree:?}");

    for (kind, method, at) in [
        (Kind::Dumb, "GET", "/info/refs"),
        (Kind::Dumb, "GET", "/objects/"),
        (Kind::Smart, "GET", "/info/refs"),
        (Kind::Smart, "POST", "/git-upload-pack"),
    ] {
        let outside = Private::new(kind, |other| {
            let other = other.to_owned();
            Box::new(move |asked, target| {
                let is_it = asked == method && target.contains(at);
                is_it.then(|| (307, format!("{other}{target}")))
            })
        });
        let (result, _) = outside.fetch("/hello/.git");
        assert!(result.is_err(), "{kind:?} {at}");
        assert_eq!(outside.other.requests(), 0, "{kind:?} {at}");
    }
}

#[test]
fn a_redirect_whose_url_has_the_token_is_refused() {
    for moved_to in [
        format!("/{TOKEN}/hello/.git"),
        format!("https://example.org/?t={TOKEN}"),
    ] {
        let private = Private::new(Kind::Smart, |_| {
            let moved_to = moved_to.clone();
            Box::new(move |_, target| {
                let (_, rest) = target.split_once("/info/")?;
                Some((302, format!("{moved_to}/info/{rest}")))
            })
        });
        let (result, _) = private.fetch("/hello/.git");
        let Err(RepositoryError::Redirect(error)) = result else {
            panic!("{result:?}")
        };
        assert!(matches!(error, RedirectError::Token { .. }), "{error}");
    }
}

#[test]
fn a_submodule_gets_the_token_on_the_same_host_only() {
    let private = Private::still(Kind::Smart);
    private.site.repository("inner", &[("lib.rs", "")]);
    let outer = private.site.repository("outer", &[("Cargo.lock", "")]);
    let modules = format!(
        "[submodule \"a\"]\n\tpath = a\n\turl = ../../inner/.git\n\
         [submodule \"b\"]\n\tpath = b\n\turl = {}/inner/.git\n",
        private.other_address
    );
    fs::write(outer.join(".gitmodules"), modules).unwrap();
    for path in ["a", "b"] {
        git(&outer, &["clone", "-q", "../inner", path]);
    }
    git(
        &outer,
        &["-c", "advice.addEmbeddedRepo=false", "add", "--all"],
    );
    commit(&outer);
    let (tree, _) = private.fetch("/outer/.git");
    let root = tree.unwrap().root().to_owned();
    assert!(root.join("a/lib.rs").is_file() && root.join("b/lib.rs").is_file());
    assert!(private.other.requests() > 0);
    private.assert_others_saw_nothing();
}

#[test]
fn a_server_that_repeats_the_token_gets_it_into_no_log_and_no_message() {
    for kind in [Kind::Dumb, Kind::Smart] {
        let private = Private::still(kind);
        let (result, log) = private.fetch("/echo");
        assert!(
            matches!(result, Err(RepositoryError::Git { .. })),
            "{result:?}"
        );
        // Git passes on what the server says.
        assert!(log.contains("you are x-access-token:[repo_token]"), "{log}");
        assert!(log.contains("by Basic [repo_token]"), "{log}");
    }
}

#[test]
fn no_argument_of_git_has_the_token() {
    let private = Private::still(Kind::Smart);
    let token = private.token();
    let url = private.url("/hello/.git");
    let tamper = |argv: &mut Vec<String>| {
        assert_absent(&argv.join(" "));
    };
    private
        .site
        .fetch_as(tamper, &url, None, Some(&token))
        .0
        .unwrap();
    assert_absent(&format!("{token:?}"));
}
