//! Nix itself, with another store and without the appliance: the appliance's results are compared
//! with its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::flake::Flake;

/// Returns the root of the system with nix in it.
pub fn root() -> PathBuf {
    let root = std::env::var_os("KETTLE_NIX_ROOT")
        .expect("KETTLE_NIX_ROOT names the root of a system with nix");
    PathBuf::from(root).canonicalize().unwrap()
}

/// Returns the image's configuration of nix.
pub fn configuration() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("nix")
}

/// A store, and a directory that nix sees as `/w`.
pub struct Tool {
    root: PathBuf,
    directory: TempDir,
}

impl Tool {
    pub fn new() -> Self {
        Self::of(&root())
    }

    /// Creates a store with the nix of this root.
    pub fn of(root: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["nix", "home"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self {
            root: root.to_owned(),
            directory,
        }
    }

    /// Returns the path of `/w` on this machine.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a program of the system with nix; returns its output, trimmed.
    pub fn run(&self, argv: &[&str]) -> String {
        let mut command = Command::new("bwrap");
        command
            .args(["--unshare-user", "--unshare-pid", "--die-with-parent", "--clearenv", "--ro-bind"])
            .arg(self.root.join("usr"))
            .args(["/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"])
            .args(["--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"])
            .arg("--bind")
            .arg(self.path("nix"))
            .arg("/nix")
            .arg("--bind")
            .arg(self.directory.path())
            .args(["/w", "--setenv", "HOME", "/w/home", "--setenv", "PATH", "/usr/bin", "--setenv", "NIX_CONFIG"])
            .arg("experimental-features = nix-command flakes\nsandbox = false\nbuild-users-group =\nsubstitute = false\nflake-registry =\n")
            .args(["--chdir", "/w", "--"])
            .args(argv);
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{argv:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Returns the hash of a directory of `/w`, as a lockfile has it.
    pub fn nar_hash(&self, name: &str) -> String {
        self.run(&["nix", "hash", "path", &format!("/w/{name}")])
    }

    /// Builds a flake's default package with all outputs; returns the store path of each name.
    pub fn build(&self, flake: &Flake, attribute: &str) -> Value {
        let directory = tempfile::tempdir_in(self.directory.path()).unwrap();
        flake.write(directory.path());
        let name = directory.path().file_name().unwrap().to_str().unwrap();
        let built = self.run(&[
            "nix",
            "build",
            "--no-link",
            "--json",
            &format!("path:/w/{name}#{attribute}^*"),
        ]);
        serde_json::from_str::<Value>(&built).unwrap()[0]["outputs"].take()
    }

    /// Builds a flake's default package, with a cache.
    pub fn build_with_cache(&self, flake: &Flake, url: &str, key: &str) {
        flake.write(&self.path("flake"));
        let options = [
            ("substitute", "true"),
            ("substituters", url),
            ("trusted-public-keys", key),
        ];
        let options = options
            .iter()
            .flat_map(|(name, value)| ["--option", name, value]);
        self.run(
            &["nix", "build", "--no-link"]
                .into_iter()
                .chain(options)
                .chain(["path:/w/flake"])
                .collect::<Vec<_>>(),
        );
    }

    /// Returns nix's description of all paths in its store.
    pub fn path_info(&self) -> Value {
        serde_json::from_str(&self.run(&[
            "nix",
            "path-info",
            "--json",
            "--json-format",
            "1",
            "--all",
        ]))
        .unwrap()
    }

    /// Makes a key pair; the secret key is in the file of its name, the public one is returned.
    pub fn key(&self, name: &str) -> String {
        let secret = self.run(&["nix", "key", "generate-secret", "--key-name", name]);
        fs::write(self.path(name), &secret).unwrap();
        self.run(&[
            "sh",
            "-c",
            &format!("nix key convert-secret-to-public < /w/{name}"),
        ])
    }

    /// Makes a binary cache of `paths` with a new key, in the directory `name` of `/w`; returns the
    /// public key.
    pub fn cache(&self, name: &str, key_name: &str, paths: &[&str]) -> String {
        let public = self.key(key_name);
        let to = format!("file:///w/{name}?secret-key=/w/{key_name}&compression=none");
        self.run(&[&["nix", "copy", "--to", &to][..], paths].concat());
        public
    }
}
