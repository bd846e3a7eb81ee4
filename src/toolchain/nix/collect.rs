//! Copies the outputs of a build as artifacts.
//!
//! * In: the outputs, after everything that could write them is dead.
//! * Out: [`Artifact`]s, copies in a directory that no sandbox sees.
//! * Never: a link's target, a FIFO, a device, or more than the limits.
//!
//! An output that is a file is one artifact. The files of a directory are one artifact each, named
//! by their paths in it, if nothing is lost that way: there are no links, no empty directories, and
//! not too many files. Otherwise the directory is one tar, and its programs are artifacts beside
//! it. An output without files and links is no artifact.

use std::path::{Path, PathBuf};

use crate::toolchain::artifact::{Artifacts, refused};
use crate::toolchain::{Artifact, ToolchainError};

use super::store_path::StorePath;
use super::tree::{EntryKind, OutputEntry, Tree};

/// The most files of an output that are delivered one by one.
const MAX_SINGLE_FILES: usize = 64;

/// The most programs that are delivered beside the tar, which has them too.
const MAX_SINGLE_PROGRAMS: usize = 256;

/// One output of the derivation that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// The name of the output, such as `out` or `dev`.
    pub name: String,
    /// The path of the output on this machine.
    pub path: PathBuf,
    /// The path of the output in the store.
    pub store: StorePath,
}

/// Copies `outputs` into the new directory `artifacts`, and returns the copies: sorted by name,
/// never none.
///
/// With more than one output, each has a directory of its name.
///
/// # Errors
/// There is nothing to deliver, or something that cannot be delivered.
pub(super) fn collect(
    outputs: &[Output],
    artifacts: &Path,
    epoch: u64,
) -> Result<Vec<Artifact>, ToolchainError> {
    let mut artifacts = Artifacts::create(artifacts)?;
    for output in outputs {
        let prefix = if outputs.len() > 1 {
            format!("{}/", output.name)
        } else {
            String::new()
        };
        copy(output, &prefix, epoch, &mut artifacts)?;
    }
    let made = artifacts.finish();
    if made.is_empty() {
        Err(ToolchainError::NoArtifacts)
    } else {
        Ok(made)
    }
}

/// Copies one output; `prefix` precedes the names of its artifacts.
fn copy(
    output: &Output,
    prefix: &str,
    epoch: u64,
    artifacts: &mut Artifacts,
) -> Result<(), ToolchainError> {
    let name = output.store.name();
    let tree = Tree::read(&output.path, name)?;
    if let [entry] = tree.entries()
        && entry.is_file()
    {
        return artifacts.copy(&format!("{prefix}{name}"), tree.file(&entry.path)?);
    }
    if tree.entries().iter().all(OutputEntry::is_directory) {
        return Ok(());
    }
    let in_tar = !files_suffice(&tree);
    for file in single_files(&tree, in_tar) {
        let Some(relative) = file.to_str() else {
            return Err(refused(&file.to_string_lossy(), "its name is not UTF-8"));
        };
        artifacts.copy(&format!("{prefix}{relative}"), tree.file(file)?)?;
    }
    if in_tar {
        artifacts.write(&format!("{prefix}{name}.tar"), false, |out| {
            tree.tar(name, epoch, out)
        })?;
    }
    Ok(())
}

/// Returns whether nothing is lost when only the files are delivered.
fn files_suffice(tree: &Tree) -> bool {
    let mut files = 0;
    for entry in tree.entries() {
        match entry.kind {
            EntryKind::Link | EntryKind::Directory { is_empty: true } => return false,
            EntryKind::Directory { is_empty: false } => {}
            EntryKind::File { .. } => files += 1,
        }
    }
    files <= MAX_SINGLE_FILES
}

/// Returns the files that are delivered one by one: all of them, or beside a tar the programs,
/// unless they are too many.
fn single_files(tree: &Tree, in_tar: bool) -> Vec<&Path> {
    let mut files = Vec::new();
    for entry in tree.entries() {
        match entry.kind {
            EntryKind::File { executable } if executable || !in_tar => files.push(&*entry.path),
            _ => {}
        }
    }
    if files.len() > MAX_SINGLE_PROGRAMS {
        return Vec::new();
    }
    files
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::digest::Sha256Digest;

    struct Scene(tempfile::TempDir);

    impl Scene {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        /// An output, of which `fill` makes the content.
        fn output(&self, name: &str, fill: impl FnOnce(&Path)) -> Output {
            let path = self.0.path().join(name);
            fill(&path);
            let suffix = if name == "out" {
                String::new()
            } else {
                format!("-{name}")
            };
            let store = format!("/nix/store/2s1hqd8frgg7xfhr9pi3hclcnx4kij24-hello-1.0{suffix}");
            Output {
                name: name.to_owned(),
                path,
                store: StorePath::parse(&store).unwrap(),
            }
        }

        fn collect(&self, outputs: &[Output]) -> Result<Vec<Artifact>, ToolchainError> {
            collect(outputs, &self.0.path().join("artifacts"), 7)
        }
    }

    fn file(path: &Path, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "bytes").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn names(artifacts: &[Artifact]) -> Vec<&str> {
        artifacts
            .iter()
            .map(|artifact| artifact.name.as_str())
            .collect()
    }

    #[test]
    fn the_files_of_one_output_have_their_own_paths() {
        let scene = Scene::new();
        let out = scene.output("out", |out| {
            file(&out.join("bin/hello"), 0o555);
            file(&out.join("share/doc/README"), 0o444);
        });
        let made = scene.collect(&[out]).unwrap();
        assert_eq!(names(&made), ["bin/hello", "share/doc/README"]);
        assert_eq!((made[0].executable, made[1].executable), (true, false));
        assert_eq!(
            (made[0].sha256, made[0].size),
            (Sha256Digest::of(b"bytes"), 5)
        );
        assert_eq!(fs::read(&made[0].path).unwrap(), b"bytes");
    }

    #[test]
    fn outputs_that_are_files_have_the_name_of_their_store_path() {
        let scene = Scene::new();
        let out = scene.output("out", |out| file(out, 0o555));
        assert_eq!(names(&scene.collect(&[out]).unwrap()), ["hello-1.0"]);
    }

    #[test]
    fn several_outputs_have_folders() {
        let scene = Scene::new();
        let out = scene.output("out", |out| file(&out.join("bin/hello"), 0o555));
        let dev = scene.output("dev", |dev| file(dev, 0o444));
        let doc = scene.output("doc", |doc| symlink("out", doc).unwrap());
        let man = scene.output("man", |man| fs::create_dir_all(man.join("empty")).unwrap());
        let made = scene.collect(&[out, dev, doc, man]).unwrap();
        assert_eq!(
            names(&made),
            [
                "dev/hello-1.0-dev",
                "doc/hello-1.0-doc.tar",
                "out/bin/hello"
            ]
        );
    }

    #[test]
    fn what_files_cannot_say_is_in_a_tar_with_the_programs_beside_it() {
        let fills: [fn(&Path); 3] = [
            |out| symlink("hello", out.join("bin/link")).unwrap(),
            |out| fs::create_dir(out.join("empty")).unwrap(),
            |out| {
                (0..MAX_SINGLE_FILES)
                    .for_each(|number| file(&out.join(format!("share/{number}")), 0o444))
            },
        ];
        for fill in fills {
            let scene = Scene::new();
            let out = scene.output("out", |out| {
                file(&out.join("bin/hello"), 0o555);
                file(&out.join("README"), 0o444);
                fill(out);
            });
            let made = scene.collect(&[out]).unwrap();
            assert_eq!(names(&made), ["bin/hello", "hello-1.0.tar"]);
            let tar = fs::read(&made[1].path).unwrap();
            assert_eq!(
                (made[1].sha256, made[1].executable),
                (Sha256Digest::of(&tar), false)
            );
            let mut archive = tar::Archive::new(&tar[..]);
            let mut entries = archive
                .entries()
                .unwrap()
                .map(|entry| entry.unwrap().path().unwrap().into_owned());
            assert!(entries.any(|path| path == Path::new("hello-1.0/README")));
        }
    }

    #[test]
    fn very_many_programs_are_in_the_tar_only() {
        let scene = Scene::new();
        let programs = |count: usize| {
            move |out: &Path| {
                (0..count).for_each(|number| file(&out.join(format!("bin/{number}")), 0o555))
            }
        };
        let out = scene.output("out", programs(MAX_SINGLE_PROGRAMS));
        let dev = scene.output("dev", programs(MAX_SINGLE_PROGRAMS + 1));
        let made = scene.collect(&[out, dev]).unwrap();
        assert_eq!(made.len(), MAX_SINGLE_PROGRAMS + 2);
        assert_eq!(made[0].name, "dev/hello-1.0-dev.tar");
    }

    #[test]
    fn a_link_is_never_followed() {
        let scene = Scene::new();
        let secret = scene.0.path().join("secret");
        file(&secret, 0o555);
        let out = scene.output("out", |out| {
            file(&out.join("bin/hello"), 0o555);
            symlink(&secret, out.join("bin/secret")).unwrap();
            symlink(secret.parent().unwrap(), out.join("folder")).unwrap();
        });
        assert_eq!(
            names(&scene.collect(&[out]).unwrap()),
            ["bin/hello", "hello-1.0.tar"]
        );
    }

    #[test]
    fn names_that_provenance_cannot_have_are_refused() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        for name in [&b"a\\b"[..], b"a\nb", b"\xff", b"\x7f", b"hello-1.0.tar"] {
            let scene = Scene::new();
            let out = scene.output("out", |out| {
                file(&out.join(OsStr::from_bytes(name)), 0o555);
                if name.ends_with(b"tar") {
                    symlink("x", out.join("link")).unwrap();
                }
            });
            let refusal = scene.collect(&[out]).unwrap_err();
            assert!(
                matches!(refusal, ToolchainError::Artifact { .. }),
                "{name:?}: {refusal}"
            );
        }
        let scene = Scene::new();
        let out = scene.output("out", |out| {
            file(&out.join("bin/hello"), 0o555);
            file(&out.join("lib/dev-x\\x2dy.device"), 0o444);
            fs::create_dir(out.join("empty")).unwrap();
        });
        assert!(scene.collect(&[out]).is_ok(), "a tar can have it");
    }

    #[test]
    fn nothing_to_hand_out_is_an_error() {
        let scene = Scene::new();
        let out = scene.output("out", |out| fs::create_dir_all(out.join("a/b")).unwrap());
        assert!(matches!(
            scene.collect(&[out]),
            Err(ToolchainError::NoArtifacts)
        ));
    }
}
