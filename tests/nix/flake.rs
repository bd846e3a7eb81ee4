//! Flakes made up here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// What `nix flake lock` would write if it wrote anything for a flake without inputs.
pub const NO_INPUTS: &str = r#"{"nodes":{"root":{}},"root":"root","version":7}"#;

/// A file of a source tree.
#[derive(Clone)]
pub struct File {
    name: String,
    content: Vec<u8>,
    executable: bool,
}

/// A source tree with a flake.
#[derive(Clone)]
pub struct Flake {
    files: Vec<File>,
}

impl Flake {
    /// `flake.nix` as it is.
    pub fn of(text: &str) -> Self {
        Self { files: Vec::new() }.file("flake.nix", text).file("flake.lock", NO_INPUTS)
    }

    /// One derivation, whose builder runs `script` in the shell that every builder has.
    pub fn script(script: &str) -> Self {
        Self::derivation("", script)
    }

    /// The same with more attributes of the derivation.
    pub fn derivation(attributes: &str, script: &str) -> Self {
        Self::of(&format!(
            "{{ outputs = {{ self }}: {{ packages.x86_64-linux.default = {}; }}; }}",
            derivation("package", attributes, script)
        ))
    }

    /// Adds a file, or replaces one.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let mut flake = self.without(name);
        flake.files.push(File { name: name.to_owned(), content: content.as_ref().to_owned(), executable: false });
        flake
    }

    /// Adds a program of C, linked statically: builders have no other.
    pub fn program(self, name: &str, text: &str) -> Self {
        let mut flake = self.without(name);
        flake.files.push(File { name: name.to_owned(), content: compiled(text), executable: true });
        flake
    }

    /// One derivation, whose builder is a program of C.
    pub fn built_by(text: &str) -> Self {
        let package = "derivation { name = \"package\"; system = \"x86_64-linux\"; builder = \"${self}/builder\"; \
                       args = [ self ]; }";
        Self::of(&format!("{{ outputs = {{ self }}: {{ packages.x86_64-linux.default = {package}; }}; }}"))
            .program("builder", text)
    }

    pub fn without(mut self, name: &str) -> Self {
        self.files.retain(|file| file.name != name);
        self
    }

    /// With itself as the top folder.
    pub fn archive(&self) -> Vec<u8> {
        archive("flake", &self.files)
    }

    /// Writes it into a folder.
    pub fn write(&self, folder: &Path) {
        for File { name, content, executable } in &self.files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            let mode = if *executable { 0o755 } else { 0o644 };
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}

/// Files as a tar archive with one top folder.
pub fn archive(top: &str, files: &[File]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for File { name, content, executable } in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(if *executable { 0o755 } else { 0o644 });
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, format!("{top}/{name}"), &content[..]).unwrap();
    }
    archive.into_inner().unwrap()
}

fn compiled(text: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    fs::write(path("program.c"), text).unwrap();
    let arguments = ["-static", "-Os", "-s", "-w", "-o", "program", "program.c"];
    let cc = Command::new("cc").args(arguments).current_dir(folder.path()).output().unwrap();
    assert!(cc.status.success(), "{}", String::from_utf8_lossy(&cc.stderr));
    fs::read(path("program")).unwrap()
}

/// A derivation as nix text. `script` may use `$out` and the shell's own commands: there is no other program.
pub fn derivation(name: &str, attributes: &str, script: &str) -> String {
    format!(
        "(derivation {{ name = \"{name}\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; \
         args = [ \"-ec\" ''{script}'' ]; {attributes} }})"
    )
}
