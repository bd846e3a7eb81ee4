//! Reads `flake.lock`.
//!
//! * In: its bytes, versions 5 to 7.
//! * Out: each input that the flake takes, with its locked reference and the NAR hash of its tree.
//! * Never: an input whose content is not locked, one from the machine where it was locked, or one
//!   whose reference has credentials.
//!
//! A lock is a graph of named nodes (nix manual, `nix flake`, "Lock files"). An edge is a node's
//! name, or the names of inputs to follow from the root. Every node but the root is locked; a
//! relative `path` needs no hash, because its files are part of the tree of the flake that names
//! it, its `parent`.

mod error;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::digest::Sha256Digest;
use crate::json::{self, Limits};
use crate::source::redirect::split;

use super::nar::parse_hash;

pub use error::FlakeLockError;

/// The size of the largest lockfile, in bytes.
pub const MAX_FLAKE_LOCK_BYTES: usize = 4 << 20;

/// The versions that nix 2.26 and 2.34.8 read; they refuse 4 and 8. They write the newest.
const VERSIONS: std::ops::RangeInclusive<u64> = 5..=7;

/// The most inputs that one reference may name on its way.
const MAX_FOLLOWED_INPUTS: usize = 100;

/// The longest chain of references that lead to each other.
const MAX_FOLLOWS: usize = 100;

/// The most edges that are followed to resolve all references: some lead to very many others.
const MAX_STEPS: usize = 1_000_000;

/// The inputs that a lockfile locks.
#[derive(Clone, Debug, PartialEq)]
pub struct FlakeLock {
    inputs: Vec<LockedInput>,
}

/// One input that a lockfile locks.
#[derive(Clone, Debug, PartialEq)]
pub struct LockedInput {
    /// The name of the node in the lockfile.
    pub name: String,
    /// The locked NAR hash of its tree. Only a relative path may have none.
    pub nar_hash: Option<Sha256Digest>,
    /// The locked reference, as the lockfile has it.
    pub locked: Reference,
    /// For a relative path: the directory below the source or below `tree`, without `..`; empty for
    /// the tree itself.
    pub path: Option<String>,
    /// For a relative path in another input's flake: the node whose tree has the directory.
    pub tree: Option<String>,
}

/// A locked reference: the members of `locked`, which are texts, numbers and booleans.
pub type Reference = BTreeMap<String, Value>;

/// A directory in the tree of an input, or in the source.
struct TreeDirectory {
    /// The node that has the tree; `None` for the source.
    tree: Option<String>,
    /// The path in the tree, without `..`; empty for the tree itself.
    path: String,
}

impl FlakeLock {
    /// Reads a lockfile.
    ///
    /// # Errors
    /// The first reason why the lockfile cannot be used.
    pub fn parse(bytes: &[u8]) -> Result<Self, FlakeLockError> {
        if bytes.len() > MAX_FLAKE_LOCK_BYTES {
            return Err(FlakeLockError::TooLong {
                size: bytes.len(),
                limit: MAX_FLAKE_LOCK_BYTES,
            });
        }
        let lock: Value = json::read(bytes, Limits::NONE)
            .map_err(|error| FlakeLockError::Json(error.to_string()))?;
        let version = lock["version"]
            .as_u64()
            .ok_or_else(|| shape("its version"))?;
        if !VERSIONS.contains(&version) {
            return Err(FlakeLockError::Version { actual: version });
        }
        let graph = Graph::of(&lock)?;
        let names = graph.reachable()?;
        let inputs = names
            .into_iter()
            .map(|name| graph.input(name))
            .collect::<Result<_, _>>()?;
        Ok(Self { inputs })
    }

    /// Returns every input that can be reached from the flake, sorted by name.
    pub fn inputs(&self) -> &[LockedInput] {
        &self.inputs
    }
}

/// The nodes of a lockfile.
struct Graph<'a> {
    root: &'a str,
    nodes: &'a Map<String, Value>,
    /// The number of edges that were followed, of [`MAX_STEPS`].
    steps: Cell<usize>,
}

/// The origin of a reference: a node, and the name of one of its inputs.
#[derive(Clone, Copy)]
struct Referrer<'a> {
    node: &'a str,
    input: &'a str,
}

impl Referrer<'_> {
    fn dangling(self) -> FlakeLockError {
        FlakeLockError::Dangling {
            node: self.node.to_owned(),
            input: self.input.to_owned(),
        }
    }

    fn endless(self) -> FlakeLockError {
        FlakeLockError::Endless {
            node: self.node.to_owned(),
        }
    }
}

impl<'a> Graph<'a> {
    fn of(lock: &'a Value) -> Result<Self, FlakeLockError> {
        let root = lock["root"].as_str().ok_or_else(|| shape("its root"))?;
        let nodes = lock["nodes"]
            .as_object()
            .ok_or_else(|| shape("its nodes"))?;
        let graph = Self {
            root,
            nodes,
            steps: Cell::new(0),
        };
        graph.node(root)?;
        Ok(graph)
    }

    fn node(&self, name: &str) -> Result<&'a Map<String, Value>, FlakeLockError> {
        self.nodes
            .get(name)
            .and_then(Value::as_object)
            .ok_or_else(|| shape(format!("node {name:?}")))
    }

    /// Returns the inputs of a node, if it has any.
    fn edges(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, FlakeLockError> {
        let Some(inputs) = self.node(name)?.get("inputs") else {
            return Ok(None);
        };
        let inputs = inputs.as_object();
        inputs
            .map(Some)
            .ok_or_else(|| shape(format!("the inputs of {name:?}")))
    }

    /// Returns every node that can be reached, without the root.
    ///
    /// # Errors
    /// A reference on the way leads to no input.
    fn reachable(&self) -> Result<BTreeSet<&'a str>, FlakeLockError> {
        let (mut found, mut open) = (BTreeSet::new(), vec![self.root]);
        while let Some(node) = open.pop() {
            for (input, edge) in self.edges(node)?.into_iter().flatten() {
                let target = self.target(edge, Referrer { node, input }, 0)?;
                if target != self.root && found.insert(target) {
                    open.push(target);
                }
            }
        }
        Ok(found)
    }

    /// Returns the node that an edge leads to: the one that it names, or the one that is found by
    /// following inputs from the root.
    fn target(
        &self,
        edge: &'a Value,
        by: Referrer<'a>,
        depth: usize,
    ) -> Result<&'a str, FlakeLockError> {
        match edge {
            Value::String(name) if name != self.root && self.nodes.contains_key(name) => Ok(name),
            Value::String(_) => Err(by.dangling()),
            path => self.follow(path, by, depth + 1),
        }
    }

    /// Follows the inputs that `path` lists, from the root.
    fn follow(
        &self,
        path: &'a Value,
        by: Referrer<'a>,
        depth: usize,
    ) -> Result<&'a str, FlakeLockError> {
        let names = input_names(path)
            .ok_or_else(|| shape(format!("input {:?} of {:?}", by.input, by.node)))?;
        let mut at = self.root;
        for name in names {
            self.steps.set(self.steps.get() + 1);
            if depth > MAX_FOLLOWS || self.steps.get() > MAX_STEPS {
                return Err(by.endless());
            }
            let edge = self
                .edges(at)?
                .and_then(|edges| edges.get(name))
                .ok_or_else(|| by.dangling())?;
            at = self.target(edge, by, depth)?;
        }
        Ok(at)
    }

    /// Reads the node of an input, and refuses one that is not locked or not available.
    fn input(&self, name: &'a str) -> Result<LockedInput, FlakeLockError> {
        let node = || name.to_owned();
        if name.contains(|character: char| character == '/' || character.is_control()) {
            return Err(FlakeLockError::Name { node: node() });
        }
        let locked = self.locked(name)?;
        refuse_location(name, &locked)?;
        let directory = match text(&locked, "type") {
            None => return Err(shape(format!("the type of input {name:?}"))),
            Some("indirect") => return Err(FlakeLockError::Indirect { node: node() }),
            Some("path") => Some(self.tree_directory(name, 0)?),
            Some(_) => None,
        };
        let nar_hash = nar_hash(name, &locked)?;
        if nar_hash.is_none() && directory.is_none() {
            return Err(FlakeLockError::Unlocked { node: node() });
        }
        let (path, tree) = match directory {
            Some(TreeDirectory { tree, path }) => (Some(path), tree),
            None => (None, None),
        };
        Ok(LockedInput {
            name: node(),
            nar_hash,
            locked,
            path,
            tree,
        })
    }

    /// Returns the locked reference; version 5 has a part of it under `info`.
    fn locked(&self, name: &str) -> Result<Reference, FlakeLockError> {
        let bad = || shape(format!("the reference of input {name:?}"));
        let node = self.node(name)?;
        let locked = node.get("locked").ok_or_else(|| FlakeLockError::Unlocked {
            node: name.to_owned(),
        })?;
        let mut reference = Reference::new();
        for part in [Some(locked), node.get("info")].into_iter().flatten() {
            reference.extend(part.as_object().ok_or_else(bad)?.clone());
        }
        let plain =
            |value: &Value| matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_));
        if reference.values().all(plain) {
            Ok(reference)
        } else {
            Err(bad())
        }
    }

    /// Returns the directory of an input, from which the relative paths of other inputs start.
    fn tree_directory(&self, name: &'a str, depth: usize) -> Result<TreeDirectory, FlakeLockError> {
        let locked = self.locked(name)?;
        if text(&locked, "type") != Some("path") {
            return Ok(TreeDirectory {
                tree: Some(name.to_owned()),
                path: String::new(),
            });
        }
        let path =
            text(&locked, "path").ok_or_else(|| shape(format!("the path of input {name:?}")))?;
        self.directory_of_parent(name, depth)?.join(path, name)
    }

    /// Returns the directory of the `flake.nix` that names the input.
    fn directory_of_parent(
        &self,
        name: &'a str,
        depth: usize,
    ) -> Result<TreeDirectory, FlakeLockError> {
        let by = Referrer {
            node: name,
            input: "parent",
        };
        let reference = self.node(name)?.get("parent");
        let reference = reference.ok_or_else(|| FlakeLockError::NoParent {
            node: name.to_owned(),
        })?;
        let parent = self.follow(reference, by, depth + 1)?;
        if parent == self.root {
            return Ok(TreeDirectory {
                tree: None,
                path: String::new(),
            });
        }
        let directory = self.tree_directory(parent, depth + 1)?;
        let locked = self.locked(parent)?;
        directory.join(text(&locked, "dir").unwrap_or_default(), parent)
    }
}

impl TreeDirectory {
    /// Returns the directory at `path` from this one; `node` is the input that names it.
    ///
    /// # Errors
    /// The path leaves the tree.
    fn join(self, path: &str, node: &str) -> Result<Self, FlakeLockError> {
        let joined = join(&self.path, path).ok_or_else(|| FlakeLockError::Leaves {
            node: node.to_owned(),
            path: path.to_owned(),
        })?;
        Ok(Self {
            tree: self.tree,
            path: joined,
        })
    }
}

/// Refuses a reference by ssh, one with credentials, and one to a file of the machine where it was
/// locked.
fn refuse_location(name: &str, locked: &Reference) -> Result<(), FlakeLockError> {
    if text(locked, "url").is_some_and(is_ssh) {
        return Err(FlakeLockError::Ssh {
            node: name.to_owned(),
        });
    }
    let mut texts = locked.values().filter_map(Value::as_str);
    if texts.any(has_credentials) {
        return Err(FlakeLockError::Credentials {
            node: name.to_owned(),
        });
    }
    let path = text(locked, "path").filter(|path| path.starts_with('/'));
    let url = text(locked, "url").filter(|url| is_local(url));
    match path.or(url) {
        None => Ok(()),
        Some(location) => Err(FlakeLockError::Local {
            node: name.to_owned(),
            location: location.to_owned(),
        }),
    }
}

/// Returns whether git would run ssh for a URL: by its scheme, or by the short form `USER@HOST:PATH`
/// (git, `git-clone`, "GIT URLS").
fn is_ssh(url: &str) -> bool {
    match url.split_once("://") {
        Some((scheme, _)) => scheme
            .rsplit('+')
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("ssh")),
        None => url
            .split_once('@')
            .is_some_and(|(user, rest)| !user.contains('/') && rest.contains(':')),
    }
}

/// Returns the NAR hash of a reference, if it has one.
fn nar_hash(name: &str, locked: &Reference) -> Result<Option<Sha256Digest>, FlakeLockError> {
    let Some(hash) = locked.get("narHash") else {
        return Ok(None);
    };
    let hash = hash
        .as_str()
        .ok_or_else(|| shape(format!("the narHash of input {name:?}")))?;
    match parse_hash(hash) {
        Ok(digest) => Ok(Some(digest)),
        Err(source) => Err(FlakeLockError::Hash {
            node: name.to_owned(),
            source,
        }),
    }
}

/// Returns the text of a member of a reference.
fn text<'a>(reference: &'a Reference, key: &str) -> Option<&'a str> {
    reference.get(key)?.as_str()
}

fn shape(what: impl Into<String>) -> FlakeLockError {
    FlakeLockError::Shape { what: what.into() }
}

/// Returns the names of inputs that an edge lists, if it is such a list.
fn input_names(edge: &Value) -> Option<Vec<&str>> {
    let names = edge.as_array()?;
    if names.len() > MAX_FOLLOWED_INPUTS {
        return None;
    }
    names.iter().map(Value::as_str).collect()
}

/// Returns the directory at `path` from `base`, unless it is above the beginning of `base`.
fn join(base: &str, path: &str) -> Option<String> {
    let mut names: Vec<&str> = base.split('/').filter(|name| !name.is_empty()).collect();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()?),
            _ => names.push(name),
        }
    }
    Some(names.join("/"))
}

/// Returns whether `text` is a URL with a user or a password.
fn has_credentials(text: &str) -> bool {
    split(text).is_some_and(|(_, authority, _)| authority.contains('@'))
}

/// Returns whether a URL means a file of the machine that reads it.
fn is_local(url: &str) -> bool {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let transport = scheme.rsplit('+').next().unwrap_or_default();
    transport.eq_ignore_ascii_case("file") || url.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::nix::nar::NarHashError;

    /// A lockfile that nix 2.26.3 wrote: a tarball, a relative path, one relative to that, and an
    /// input that follows another.
    const REAL: &[u8] = include_bytes!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/nix/flake.lock"
    ));

    const HASH: &str = "sha256-QUaxcAUxniavyVWS9Vwu60VRMCJQKRiQ8c9aE7HMfSU=";

    fn parse(text: &str) -> Result<FlakeLock, FlakeLockError> {
        FlakeLock::parse(text.as_bytes())
    }

    /// Reads a lockfile whose root has the input `a`, with the nodes `nodes`.
    fn lock(nodes: &str) -> Result<FlakeLock, FlakeLockError> {
        parse(&format!(
            r#"{{"version":7,"root":"root","nodes":{{"root":{{"inputs":{{"a":"a"}}}},{nodes}}}}}"#
        ))
    }

    /// Reads a lockfile that has only the input `a`.
    fn locked(reference: &str) -> Result<FlakeLock, FlakeLockError> {
        lock(&format!(r#""a":{{"locked":{{{reference}}}}}"#))
    }

    fn tarball(url: &str) -> String {
        format!(r#""type":"tarball","url":"{url}","narHash":"{HASH}""#)
    }

    fn relative(path: &str, parent: &str) -> String {
        format!(r#"{{"locked":{{"type":"path","path":"{path}"}},"parent":{parent}}}"#)
    }

    fn place(input: &LockedInput) -> (Option<&str>, Option<&str>) {
        (input.tree.as_deref(), input.path.as_deref())
    }

    #[test]
    fn reads_what_nix_writes() {
        let lock = FlakeLock::parse(REAL).unwrap();
        let [dep, sub, two] = lock.inputs() else {
            panic!("{lock:?}")
        };
        assert_eq!((dep.name.as_str(), place(dep)), ("dep", (None, None)));
        assert_eq!(dep.nar_hash, Some(parse_hash(HASH).unwrap()));
        assert_eq!(dep.locked["type"], "tarball");
        assert_eq!(dep.locked["lastModified"], 1_795_847_698);
        assert_eq!(
            (sub.name.as_str(), sub.nar_hash, place(sub)),
            ("sub", None, (None, Some("sub")))
        );
        assert_eq!(
            (two.name.as_str(), two.nar_hash, place(two)),
            ("two", None, (None, Some("sub2")))
        );
    }

    #[test]
    fn knows_the_versions_that_nix_reads() {
        for (version, fine) in [
            ("4", false),
            ("5", true),
            ("6", true),
            ("7", true),
            ("8", false),
            ("true", false),
        ] {
            let text = format!(r#"{{"version":{version},"root":"r","nodes":{{"r":{{}}}}}}"#);
            assert_eq!(parse(&text).is_ok(), fine, "{version}");
        }
        let old = lock(&format!(
            r#""a":{{"locked":{{"type":"git","url":"https://h/r"}},"info":{{"narHash":"{HASH}"}}}}"#
        ));
        assert_eq!(
            old.unwrap().inputs()[0].nar_hash,
            Some(parse_hash(HASH).unwrap())
        );
    }

    #[test]
    fn only_what_the_flake_reaches_counts() {
        let a = tarball("https://h/a");
        let found = lock(&format!(
            r#""a":{{"locked":{{{a}}}}},"unused":{{"locked":{{"type":"indirect"}}}}"#
        ))
        .unwrap();
        assert_eq!(
            found
                .inputs()
                .iter()
                .map(|input| input.name.as_str())
                .collect::<Vec<_>>(),
            ["a"]
        );
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let a = tarball("https://h/a");
        let inputs = |inputs: &str| {
            lock(&format!(
                r#""a":{{"locked":{{{a}}},"inputs":{{{inputs}}}}}"#
            ))
        };
        assert!(inputs(r#""self":["a"],"none":[],"x":["a","self","self"]"#).is_ok());
        for bad in [
            r#""x":"b""#,
            r#""x":"root""#,
            r#""x":["b"]"#,
            r#""x":["a","b"]"#,
        ] {
            assert!(
                matches!(inputs(bad), Err(FlakeLockError::Dangling { node, .. }) if node == "a"),
                "{bad}"
            );
        }
        let chain: Vec<_> = (0..=MAX_FOLLOWS)
            .map(|n| format!(r#""x{n}":["a","x{}"]"#, n + 1))
            .collect();
        for endless in [
            r#""x":["a","x"]"#,
            r#""x":["a","y"],"y":["a","x"]"#,
            &chain.join(","),
        ] {
            assert_eq!(
                inputs(endless),
                Err(FlakeLockError::Endless {
                    node: "a".to_owned()
                })
            );
        }
        let many = format!(r#""x":[{}"a"]"#, r#""a","#.repeat(MAX_FOLLOWED_INPUTS));
        for bad in [r#""x":7"#, r#""x":[7]"#, r#""x":null"#, many.as_str()] {
            assert!(
                matches!(inputs(bad), Err(FlakeLockError::Shape { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn references_that_multiply_end() {
        // Each follows the next twice.
        let inputs: Vec<_> = (0..60)
            .map(|n| format!(r#""x{n}":["a","x{m}","x{m}"]"#, m = n + 1))
            .collect();
        let inputs = format!(r#"{},"x60":["a"]"#, inputs.join(","));
        let a = format!(
            r#""a":{{"locked":{{{}}},"inputs":{{{inputs}}}}}"#,
            tarball("https://h/a")
        );
        assert_eq!(
            lock(&a),
            Err(FlakeLockError::Endless {
                node: "a".to_owned()
            })
        );
    }

    #[test]
    fn an_input_whose_content_is_not_locked_is_refused() {
        let node = "a".to_owned();
        assert_eq!(
            lock(r#""a":{}"#),
            Err(FlakeLockError::Unlocked { node: node.clone() })
        );
        assert_eq!(
            locked(r#""type":"git","url":"https://h/r""#),
            Err(FlakeLockError::Unlocked { node: node.clone() })
        );
        assert_eq!(
            locked(r#""type":"indirect","id":"nixpkgs""#),
            Err(FlakeLockError::Indirect { node })
        );
        let sha512 = locked(r#""type":"git","narHash":"sha512-AAAA""#);
        assert!(matches!(
            sha512,
            Err(FlakeLockError::Hash {
                source: NarHashError::Algorithm { .. },
                ..
            })
        ));
        assert!(matches!(
            locked(r#""type":"git","narHash":7"#),
            Err(FlakeLockError::Shape { .. })
        ));
        assert!(matches!(
            locked(&format!(r#""narHash":"{HASH}""#)),
            Err(FlakeLockError::Shape { .. })
        ));
        assert!(matches!(
            locked(r#""type":"git","x":{}"#),
            Err(FlakeLockError::Shape { .. })
        ));
    }

    #[test]
    fn a_name_that_reads_as_something_else_is_refused() {
        for (name, fine) in [
            ("--help", true),
            ("nixpkgs_2", true),
            ("/nix/store/x", false),
            ("a/b", false),
            ("a\\n", false),
        ] {
            let text = format!(
                r#"{{"version":7,"root":"root","nodes":{{"root":{{"inputs":{{"a":"{name}"}}}},"{name}":{{"locked":{{{}}}}}}}}}"#,
                tarball("https://h/a")
            );
            let node = name.replace("\\n", "\n");
            assert_eq!(
                parse(&text).map(drop),
                if fine {
                    Ok(())
                } else {
                    Err(FlakeLockError::Name { node })
                }
            );
        }
    }

    #[test]
    fn files_of_another_machine_are_refused() {
        let path = format!(r#""type":"path","path":"/home/me/x","narHash":"{HASH}""#);
        let refusal = Err(FlakeLockError::Local {
            node: "a".to_owned(),
            location: "/home/me/x".to_owned(),
        });
        assert_eq!(locked(&path), refusal);
        for url in [
            "file:///x",
            "file:/x",
            "tarball+file:///x",
            "git+FILE:///x",
            "/x",
        ] {
            assert!(
                matches!(locked(&tarball(url)), Err(FlakeLockError::Local { .. })),
                "{url}"
            );
        }
    }

    #[test]
    fn ssh_is_refused_with_what_to_write_instead() {
        for url in ["git+ssh://git@host/x", "ssh://host/x", "git@host:o/r.git"] {
            let refused = locked(&tarball(url)).unwrap_err();
            assert!(matches!(refused, FlakeLockError::Ssh { .. }), "{url}");
            assert!(refused.to_string().contains("git+https"), "{refused}");
        }
    }

    #[test]
    fn credentials_are_refused() {
        for url in ["https://user:secret@host/x", "https://token@host"] {
            assert_eq!(
                locked(&tarball(url)),
                Err(FlakeLockError::Credentials {
                    node: "a".to_owned()
                }),
                "{url}"
            );
        }
        for url in [
            "https://host/@scope/x",
            "https://host?x=a@b",
            "https://host/x",
        ] {
            assert!(locked(&tarball(url)).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_relative_path_stays_in_the_tree_that_it_is_of() {
        let of_root = |path: &str| {
            lock(&format!(r#""a":{}"#, relative(path, "[]")))
                .map(|lock| lock.inputs()[0].path.clone())
        };
        assert_eq!(of_root("./x/../y/z/."), Ok(Some("y/z".to_owned())));
        assert_eq!(of_root("."), Ok(Some(String::new())));
        for path in ["..", "../x", "x/../../y", "./x/../.."] {
            let expected = FlakeLockError::Leaves {
                node: "a".to_owned(),
                path: path.to_owned(),
            };
            assert_eq!(of_root(path), Err(expected), "{path}");
        }
        let parentless = locked(r#""type":"path","path":"./x""#);
        assert_eq!(
            parentless,
            Err(FlakeLockError::NoParent {
                node: "a".to_owned()
            })
        );
    }

    #[test]
    fn a_relative_path_of_an_input_is_in_its_tree() {
        let a = format!(
            r#""a":{{"locked":{{{},"dir":"sub"}},"inputs":{{"b":"b"}}}}"#,
            tarball("https://h/a")
        );
        let of_input = |path: &str| lock(&format!(r#"{a},"b":{}"#, relative(path, r#"["a"]"#)));
        assert_eq!(
            place(&of_input("../c").unwrap().inputs()[1]),
            (Some("a"), Some("c"))
        );
        assert!(
            matches!(of_input("../../c"), Err(FlakeLockError::Leaves { node, .. }) if node == "b")
        );
        let circle = lock(&format!(r#""a":{}"#, relative("./x", r#"["a"]"#)));
        assert_eq!(
            circle,
            Err(FlakeLockError::Endless {
                node: "a".to_owned()
            })
        );
    }

    #[test]
    fn what_is_no_lockfile_is_refused() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"version":7}"#,
            r#"{"version":7,"root":"r","nodes":{}}"#,
        ] {
            assert!(
                matches!(
                    parse(text),
                    Err(FlakeLockError::Json(_) | FlakeLockError::Shape { .. })
                ),
                "{text}"
            );
        }
        assert!(matches!(
            parse(r#"{"version":7,"version":7}"#),
            Err(FlakeLockError::Json(_))
        ));
        let long = " ".repeat(MAX_FLAKE_LOCK_BYTES + 1);
        assert!(matches!(
            parse(&long),
            Err(FlakeLockError::TooLong {
                limit: MAX_FLAKE_LOCK_BYTES,
                ..
            })
        ));
    }
}
