//! Finds the endpoint of a request.
//!
//! * In: a method and a path.
//! * Out: an [`Endpoint`], with the values of the path's variables.
//! * Never: a path that is not in the table. Routing, `Allow`, links and the comparison with the
//!   OpenAPI document all use the same table.

use hyper::Method;

/// The prefixes under which every path is served too.
pub const PREFIXES: [&str; 2] = ["/v1", "/api"];

/// The function of the API that a request calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Reports that the service runs.
    Health,
    /// Reports whether a submission would be accepted.
    Ready,
    /// Takes a submission, and with it the slot.
    Submit,
    /// Takes a submission and streams its progress.
    SubmitAndStream,
    /// Returns the document about a job.
    Job,
    /// Streams the typed events of a job.
    Events,
    /// Returns the build's output so far.
    BuildLog,
    /// Returns the bundle of a job.
    Result,
    /// Returns the provenance that is in the bundle.
    Provenance,
    /// Returns the bill of materials that is in the bundle.
    Sbom,
    /// Returns the signed statement that is in the bundle.
    Envelope,
    /// Returns the evidence that is in the bundle.
    Evidence,
    /// Returns one artifact of a job.
    Artifact,
    /// Returns the lockfile that was used.
    BuildConfig,
    /// Returns evidence about this machine before any build.
    Attestation,
    /// Returns the contract as OpenAPI.
    OpenApi,
}

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Route {
    /// The path, in which `{id}` stands for one segment, and `{name}` for one or more until the
    /// end.
    pub path: &'static str,
    /// The methods that are allowed, as `Allow` lists them.
    pub methods: &'static [Method],
    /// The endpoint that the path names.
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

/// The path of the job document.
pub const JOB: &str = "/build/{id}";

/// The path of the typed events.
pub const EVENTS: &str = "/build/{id}/events";

/// The path of the build's output so far.
pub const BUILD_LOG: &str = "/build/{id}/build.log";

/// The path of the statement.
pub const PROVENANCE: &str = "/build/{id}/provenance.json";

/// The path of the bill of materials.
pub const SBOM: &str = "/build/{id}/sbom.cdx.json";

/// The path of the statement that the statement key has signed.
pub const ENVELOPE: &str = "/build/{id}/provenance.sigstore.json";

/// The path of the evidence.
pub const EVIDENCE: &str = "/build/{id}/evidence.json";

/// The path of the bundle.
pub const RESULT: &str = "/build/{id}/result";

/// The path of one artifact.
pub const ARTIFACT: &str = "/builds/{id}/artifacts/{name}";

/// The path of one build configuration file.
pub const BUILD_CONFIG: &str = "/builds/{id}/build-config/{name}";

/// The table of all paths; the first that matches wins.
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

/// The values of the variables of a path, percent-decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    /// The value of `{id}`, empty where the path has none.
    pub id: String,
    /// The value of `{name}`: segments joined by `/`. It is only ever compared with recorded names.
    pub name: String,
}

/// The reason why a request has no endpoint.
#[derive(Debug, PartialEq, Eq)]
pub enum Unroutable {
    /// There is no such path.
    Unknown,
    /// The path exists with other methods.
    Method {
        /// The methods that are allowed.
        allowed: &'static [Method],
        /// The value of `{id}`, empty where the path has none.
        id: String,
    },
}

/// Finds the endpoint of a request.
///
/// # Errors
/// The path is unknown, or does not allow the method.
pub fn find(method: &Method, path: &str) -> Result<(Endpoint, Variables), Unroutable> {
    let segments = segments(path).ok_or(Unroutable::Unknown)?;
    let matching = |route: &'static Route| Some((route, fit(route.path, &segments)?));
    let matched = ROUTES.iter().find_map(matching);
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

/// Splits a path, without its prefix, into decoded segments.
fn segments(path: &str) -> Option<Vec<String>> {
    let without = |prefix: &&str| {
        let rest = path.strip_prefix(*prefix)?;
        rest.starts_with('/').then_some(rest)
    };
    let unprefixed = PREFIXES.iter().find_map(without).unwrap_or(path);
    let segments = unprefixed.strip_prefix('/')?.split('/');
    segments.map(decode).collect()
}

/// Matches a path of the table, and returns the values of its variables.
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

/// Decodes percent-encoding (RFC 3986, section 2.1). Returns `None` where it is malformed or not
/// UTF-8.
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
