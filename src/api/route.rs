//! Which request is for whom. Comes in: a method and a path. Goes out: an [`Endpoint`] with the path's variables. The
//! table is the only list of paths: routing, `Allow` and the comparison with the OpenAPI document are made from it.

use hyper::Method;

/// Prefixes under which every path also answers.
pub const PREFIXES: [&str; 2] = ["/v1", "/api"];

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Liveness.
    Health,
    /// Whether a submission would be taken.
    Ready,
    /// Takes the slot.
    Submit,
    /// Takes the slot and streams.
    SubmitAndStream,
    /// The job document.
    Job,
    /// The typed events.
    Events,
    /// The build's output so far.
    BuildLog,
    /// The bundle.
    Result,
    /// The provenance in the bundle.
    Provenance,
    /// The bill of materials in the bundle.
    Sbom,
    /// The signed statement in the bundle.
    Envelope,
    /// The evidence in the bundle.
    Evidence,
    /// One artifact.
    Artifact,
    /// The lockfile.
    BuildConfig,
    /// Evidence about this machine before any build.
    Attestation,
    /// The contract.
    OpenApi,
}

/// One line of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Route {
    /// `{id}` stands for one segment, `{name}` for one or more until the end.
    pub path: &'static str,
    /// Every method, as `Allow` lists them.
    pub methods: &'static [Method],
    /// Who answers.
    pub endpoint: Endpoint,
}

const READ: &[Method] = &[Method::GET, Method::HEAD];
const SUBMIT: &[Method] = &[Method::POST];

const fn route(path: &'static str, methods: &'static [Method], endpoint: Endpoint) -> Route {
    Route {
        path,
        methods,
        endpoint,
    }
}

/// The job document.
pub const JOB: &str = "/build/{id}";

/// The typed events.
pub const EVENTS: &str = "/build/{id}/events";

/// What tools printed so far.
pub const BUILD_LOG: &str = "/build/{id}/build.log";

/// The statement.
pub const PROVENANCE: &str = "/build/{id}/provenance.json";

/// The bill of materials of the build.
pub const SBOM: &str = "/build/{id}/sbom.cdx.json";

/// The statement, signed by the statement key.
pub const ENVELOPE: &str = "/build/{id}/provenance.sigstore.json";

/// What the attester made.
pub const EVIDENCE: &str = "/build/{id}/evidence.json";

/// The bundle.
pub const RESULT: &str = "/build/{id}/result";

/// One artifact.
pub const ARTIFACT: &str = "/builds/{id}/artifacts/{name}";

/// One build configuration file.
pub const BUILD_CONFIG: &str = "/builds/{id}/build-config/{name}";

/// Every path; the first that fits wins.
pub static ROUTES: [Route; 16] = [
    route("/health", READ, Endpoint::Health),
    route("/ready", READ, Endpoint::Ready),
    route("/build", SUBMIT, Endpoint::Submit),
    route("/build/stream", SUBMIT, Endpoint::SubmitAndStream),
    route(JOB, READ, Endpoint::Job),
    route(EVENTS, READ, Endpoint::Events),
    route(BUILD_LOG, READ, Endpoint::BuildLog),
    route(RESULT, READ, Endpoint::Result),
    route(PROVENANCE, READ, Endpoint::Provenance),
    route(SBOM, READ, Endpoint::Sbom),
    route(ENVELOPE, READ, Endpoint::Envelope),
    route(EVIDENCE, READ, Endpoint::Evidence),
    route(ARTIFACT, READ, Endpoint::Artifact),
    route(BUILD_CONFIG, READ, Endpoint::BuildConfig),
    route("/attestation", READ, Endpoint::Attestation),
    route("/openapi.json", READ, Endpoint::OpenApi),
];

/// The parts of a path that stand for something, percent-decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    /// For `{id}`.
    pub id: String,
    /// For `{name}`: segments joined by `/`. Only ever compared with names that we recorded.
    pub name: String,
}

/// Why nobody answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Unroutable {
    /// No such path.
    Unknown,
    /// The path exists with other methods.
    Method {
        /// Those.
        allowed: &'static [Method],
        /// What stands for `{id}` in the path, where it has one.
        id: String,
    },
}

/// Finds who answers.
///
/// # Errors
/// The path is unknown, or the method is not for it.
pub fn find(method: &Method, path: &str) -> Result<(Endpoint, Variables), Unroutable> {
    let segments = segments(path).ok_or(Unroutable::Unknown)?;
    let matched = ROUTES
        .iter()
        .find_map(|route| Some((route, fit(route.path, &segments)?)));
    let (route, variables) = matched.ok_or(Unroutable::Unknown)?;
    if route.methods.contains(method) {
        Ok((route.endpoint, variables))
    } else {
        Err(Unroutable::Method {
            allowed: route.methods,
            id: variables.id,
        })
    }
}

fn segments(path: &str) -> Option<Vec<String>> {
    let under = |prefix: &&str| {
        path.strip_prefix(*prefix)
            .filter(|rest| rest.starts_with('/'))
    };
    let path = PREFIXES.iter().find_map(under).unwrap_or(path);
    path.strip_prefix('/')?.split('/').map(decode).collect()
}

fn fit(pattern: &str, segments: &[String]) -> Option<Variables> {
    let mut variables = Variables::default();
    let mut rest = segments;
    for wanted in pattern.split('/').skip(1) {
        let (first, others) = rest.split_first()?;
        match wanted {
            "{name}" => {
                variables.name = rest.join("/");
                return Some(variables);
            }
            "{id}" => variables.id.clone_from(first),
            _ if wanted == first => (),
            _ => return None,
        }
        rest = others;
    }
    rest.is_empty().then_some(variables)
}

/// Decodes percent-encoding (RFC 3986, section 2.1). `None` where it is malformed or not UTF-8.
pub fn decode(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        bytes.extend(hex::decode(digits).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Result<(Endpoint, Variables), Unroutable> {
        find(&Method::GET, path)
    }

    #[test]
    fn every_path_answers_with_and_without_prefix() {
        for route in &ROUTES {
            let id = if route.path.contains("{id}") { "x" } else { "" };
            for prefix in ["", "/v1", "/api"] {
                let path = format!(
                    "{prefix}{}",
                    route.path.replace("{id}", "x").replace("{name}", "y")
                );
                for method in [
                    Method::GET,
                    Method::HEAD,
                    Method::POST,
                    Method::PUT,
                    Method::OPTIONS,
                ] {
                    match find(&method, &path) {
                        Ok((endpoint, _)) => {
                            assert_eq!(
                                (endpoint, route.methods.contains(&method)),
                                (route.endpoint, true),
                                "{path}"
                            );
                        }
                        Err(error) => {
                            assert!(!route.methods.contains(&method));
                            assert_eq!(
                                error,
                                Unroutable::Method {
                                    allowed: route.methods,
                                    id: id.to_owned()
                                }
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn refuses_paths_that_only_look_alike() {
        for path in [
            "",
            "*",
            "/",
            "health",
            "/health/",
            "//health",
            "/v1",
            "/v1health",
            "/v1/v1/health",
            "/Health",
            "/build/",
            "/build/x/",
            "/build/x/events/",
            "/build/x/other",
            "/builds/x",
            "/builds/x/artifacts",
            "/builds/x/artifacts%",
            "/build%2Fstream/events",
            "/build/%zz",
            "/build/%e9",
            "/build/%é",
            "/build/%+1",
        ] {
            let found = get(path);
            let fine = path == "/build/" || path == "/build%2Fstream/events";
            assert!(
                found == Err(Unroutable::Unknown) || fine,
                "{path}: {found:?}"
            );
        }
    }

    #[test]
    fn decodes_variables_and_keeps_sub_paths_in_names() {
        let (endpoint, variables) = get("/builds/a%62/artifacts/lib/x%20y/%2e%2e/z%2Fw").unwrap();
        assert_eq!(endpoint, Endpoint::Artifact);
        assert_eq!(
            variables,
            Variables {
                id: "ab".to_owned(),
                name: "lib/x y/../z/w".to_owned()
            }
        );
    }
}
