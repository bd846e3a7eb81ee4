//! Flakes that the tests write.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// The lockfile that `nix flake lock` would write if it wrote one for a flake without inputs.
pub const NO_INPUTS: &str = r#"{"nodes":{"root":{}},"root":"root","version":7}"#;

/// A file of a source tree.
#[derive(Clone)]
pub struct File {
    name: String,
    content: Vec<u8>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Executable,
    Link,
}

/// A source tree with a flake.
#[derive(Clone)]
pub struct Flake {
    files: Vec<File>,
}

impl Flake {
    /// Returns a flake with this `flake.nix`.
    pub fn of(text: &str) -> Self {
        Self { files: Vec::new() }
            .file("flake.nix", text)
            .file("flake.lock", NO_INPUTS)
    }

    /// Returns a flake with one derivation, whose builder runs `script` in the shell that every
    /// builder has.
    pub fn script(script: &str) -> Self {
        Self::derivation("", script)
    }

    /// Returns a flake with one derivation that has more attributes.
    pub fn derivation(attributes: &str, script: &str) -> Self {
        Self::of(&format!(
            "{{ outputs = {{ self }}: {{ packages.x86_64-linux.default = {}; }}; }}",
            derivation("package", attributes, script)
        ))
    }

    /// Adds a file, or replaces one.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.with(name, content.as_ref(), Kind::Plain)
    }

    /// Adds a link.
    pub fn link(self, name: &str, target: &str) -> Self {
        self.with(name, target.as_bytes(), Kind::Link)
    }

    /// Adds a program in C, linked statically: builders have no other.
    pub fn program(self, name: &str, text: &str) -> Self {
        self.with(name, &compiled(text), Kind::Executable)
    }

    fn with(self, name: &str, content: &[u8], kind: Kind) -> Self {
        let mut flake = self.without(name);
        flake.files.push(File {
            name: name.to_owned(),
            content: content.to_owned(),
            kind,
        });
        flake
    }

    /// Returns a flake with one derivation, whose builder is a program in C.
    pub fn built_by(text: &str) -> Self {
        let package = "derivation { name = \"package\"; system = \"x86_64-linux\"; builder = \"${self}/builder\"; \
                       args = [ self ]; }";
        Self::of(&format!(
            "{{ outputs = {{ self }}: {{ packages.x86_64-linux.default = {package}; }}; }}"
        ))
        .program("builder", text)
    }

    /// Returns a flake whose output is fixed, a file with this SHA-256: its builder may fetch.
    pub fn fixed_by(text: &str, hash: &str) -> Self {
        let package = format!(
            "derivation {{ name = \"package\"; system = \"x86_64-linux\"; builder = \"${{self}}/builder\"; \
             outputHashMode = \"flat\"; outputHashAlgo = \"sha256\"; outputHash = \"{hash}\"; }}"
        );
        Self::of(&format!(
            "{{ outputs = {{ self }}: {{ packages.x86_64-linux.default = {package}; }}; }}"
        ))
        .program("builder", text)
    }

    pub fn without(mut self, name: &str) -> Self {
        self.files.retain(|file| file.name != name);
        self
    }

    /// Returns the flake as an archive with one top directory.
    pub fn archive(&self) -> Vec<u8> {
        archive("flake", &self.files)
    }

    /// Writes the flake into a directory.
    pub fn write(&self, directory: &Path) {
        for File {
            name,
            content,
            kind,
        } in &self.files
        {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if *kind == Kind::Link {
                std::os::unix::fs::symlink(String::from_utf8_lossy(content).as_ref(), path)
                    .unwrap();
                continue;
            }
            fs::write(&path, content).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(kind.mode())).unwrap();
        }
    }
}

impl Kind {
    fn mode(self) -> u32 {
        if self == Self::Executable {
            0o755
        } else {
            0o644
        }
    }
}

/// Returns files as a tar archive with one top directory.
pub fn archive(top: &str, files: &[File]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for File {
        name,
        content,
        kind,
    } in files
    {
        let mut header = tar::Header::new_ustar();
        header.set_mode(kind.mode());
        let path = format!("{top}/{name}");
        if *kind == Kind::Link {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            archive
                .append_link(&mut header, path, String::from_utf8_lossy(content).as_ref())
                .unwrap();
        } else {
            header.set_size(content.len() as u64);
            archive
                .append_data(&mut header, path, &content[..])
                .unwrap();
        }
    }
    archive.into_inner().unwrap()
}

fn compiled(text: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = |name| directory.path().join(name);
    fs::write(path("program.c"), text).unwrap();
    let arguments = ["-static", "-Os", "-s", "-w", "-o", "program", "program.c"];
    let cc = Command::new("cc")
        .args(arguments)
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(
        cc.status.success(),
        "{}",
        String::from_utf8_lossy(&cc.stderr)
    );
    fs::read(path("program")).unwrap()
}

/// Returns a derivation as nix text. `script` may use `$out` and the shell's own commands: there is
/// no other program.
pub fn derivation(name: &str, attributes: &str, script: &str) -> String {
    format!(
        "(derivation {{ name = \"{name}\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; \
         args = [ \"-ec\" ''{script}'' ]; {attributes} }})"
    )
}
