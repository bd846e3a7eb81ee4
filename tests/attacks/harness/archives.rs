//! Attacks that are archives: each is sent to its own service, which refuses it or makes it
//! harmless.

#[path = "../../archives/builder.rs"]
mod builder;

use std::path::Path;

use builder::{Tar, ZipEntry, deflated, gzip, pax, stored, zip};

use super::corpus::{Aim, Attack, Need, Template, attacks};

/// One attack by an archive.
pub struct Upload {
    pub name: &'static str,
    pub aim: Aim,
    /// Builds the archive, given a file of the machine that must not be touched.
    pub make: fn(&Path) -> Vec<u8>,
    pub received: Received,
    pub needs: Option<Need>,
}

/// What the service does with an archive.
pub enum Received {
    /// It refuses the archive for this reason.
    Refused(&'static str),
    /// It accepts the archive, and the job fails for this reason.
    Fails(&'static str),
    /// It builds the project without the attack.
    Harmless,
}

use Received::{Fails, Harmless, Refused};

const COMMAND: &str = "the source's cargo configuration, or what its lockfile names, has more than a command can take";
const UNREADABLE: &str = "the source's cargo configuration cannot be read";

/// Returns all attacks by archives.
pub fn uploads() -> Vec<Upload> {
    let upload = |name, aim, make, received| Upload {
        name,
        aim,
        make,
        received,
        needs: None,
    };
    vec![
        upload(
            "archive_names_the_machine",
            Aim::Host,
            absolute_name,
            Refused("the name is absolute"),
        ),
        upload(
            "archive_climbs_out",
            Aim::Host,
            climbing_name,
            Refused("the name has a `..` component"),
        ),
        upload(
            "archive_writes_through_a_link",
            Aim::Host,
            file_below_link,
            Refused("the path leads through a link"),
        ),
        upload(
            "archive_links_hard",
            Aim::Host,
            hard_link,
            Refused("hard links are refused"),
        ),
        upload(
            "archive_has_the_signers_device",
            Aim::Signer,
            device,
            Refused("devices are refused"),
        ),
        upload(
            "archive_has_a_fifo",
            Aim::Host,
            fifo,
            Refused("FIFOs are refused"),
        ),
        upload(
            "archive_renames_later",
            Aim::Host,
            renamed_by_pax,
            Refused("the name has a `..` component"),
        ),
        upload(
            "archive_renames_everything",
            Aim::Host,
            renamed_globally,
            Refused("a global header changes names or sizes"),
        ),
        upload(
            "archive_is_two_sources",
            Aim::Provenance,
            two_sources,
            Refused("the entry's header can be read in two ways"),
        ),
        upload(
            "archive_has_two_lockfiles",
            Aim::Provenance,
            two_lockfiles,
            Refused("the path occurs twice"),
        ),
        upload(
            "archive_goes_on_after_its_end",
            Aim::Provenance,
            two_archives,
            Refused("there are bytes after its end"),
        ),
        upload(
            "archive_has_two_tables",
            Aim::Provenance,
            two_names,
            Refused("the local header and the central directory disagree on the name"),
        ),
        upload(
            "archive_shares_bytes",
            Aim::Provenance,
            overlapping,
            Refused("an entry starts at byte 0"),
        ),
        upload(
            "archive_is_a_bomb",
            Aim::Host,
            tar_bomb,
            Refused("unpacks to more than 200 times its size"),
        ),
        upload(
            "archive_is_a_zip_bomb",
            Aim::Host,
            zip_bomb,
            Refused("unpacks to more than 200 times its size"),
        ),
        upload(
            "archive_has_directories_without_end",
            Aim::Host,
            many_directories,
            Refused("the archive has more than 200000 entries"),
        ),
        upload(
            "archive_claims_a_huge_file",
            Aim::Host,
            huge_file,
            Refused("the file has 8589934591 bytes"),
        ),
        upload(
            "archive_has_a_sparse_file",
            Aim::Host,
            sparse_file,
            Refused("sparse files are refused"),
        ),
        upload(
            "archive_hides_in_its_names",
            Aim::Log,
            escape_in_name,
            Refused("the name has a control character"),
        ),
        upload(
            "config_has_a_key_of_half_a_million_parts",
            Aim::Host,
            config_of_parts,
            Fails(UNREADABLE),
        ),
        upload(
            "config_is_nested_without_end",
            Aim::Host,
            config_nested,
            Fails(UNREADABLE),
        ),
        upload(
            "config_is_too_long",
            Aim::Host,
            config_too_long,
            Fails(UNREADABLE),
        ),
        upload(
            "config_is_no_text",
            Aim::Log,
            config_no_text,
            Fails(UNREADABLE),
        ),
        upload(
            "config_is_longer_than_a_command",
            Aim::Host,
            config_of_a_long_word,
            Fails(COMMAND),
        ),
        upload(
            "config_has_more_words_than_a_command",
            Aim::Host,
            config_of_many_words,
            Fails(COMMAND),
        ),
        upload(
            "config_hides_behind_a_directory",
            Aim::Provenance,
            config_behind_directory,
            Harmless,
        ),
        upload("config_is_a_link", Aim::Provenance, config_link, Harmless),
        upload(
            "config_is_a_link_to_itself",
            Aim::Host,
            config_circle,
            Refused("leads in a circle"),
        ),
        Upload {
            needs: Some(Need::Memory),
            ..upload(
                "manifest_takes_all_memory",
                Aim::Host,
                manifest_of_arrays,
                Fails("BuildFailed"),
            )
        },
        upload(
            "lock_has_a_key_of_millions_of_parts",
            Aim::Host,
            lock_of_parts,
            Fails("Cargo.lock cannot be used"),
        ),
        upload(
            "lock_is_nested_without_end",
            Aim::Host,
            lock_nested,
            Fails("Cargo.lock cannot be used"),
        ),
        upload(
            "lock_is_too_long",
            Aim::Host,
            lock_too_long,
            Fails("the lockfile has more than 8388608 bytes"),
        ),
        upload(
            "archive_has_a_directory_for_a_lockfile",
            Aim::Host,
            directory_for_lockfile,
            Refused("neither a Cargo.lock nor a flake.lock"),
        ),
        upload(
            "archive_has_names_that_others_take_for_one",
            Aim::Provenance,
            like_names,
            Harmless,
        ),
        upload("archive_brings_a_git_file", Aim::Phase, git_file, Harmless),
        upload(
            "archive_brings_a_git_directory",
            Aim::Phase,
            git_directory,
            Harmless,
        ),
        upload("archive_sets_user_ids", Aim::Host, set_user_id, Harmless),
        upload(
            "archive_links_its_lockfile",
            Aim::Provenance,
            linked_lockfile,
            Refused("neither a Cargo.lock nor a flake.lock"),
        ),
    ]
}

/// Returns the files of a harmless project, below their top directory.
fn harmless() -> Tar {
    let mut tar = Tar::new();
    for (path, bytes) in project().files("") {
        tar.file(&format!("attack/{}", path.display()), &bytes);
    }
    tar
}

/// An archive that is refused because it has no lockfile, if the slot is free.
pub fn without_lockfile() -> Vec<u8> {
    Tar::new().file("attack/README", b"").end()
}

fn project() -> Attack {
    attacks()
        .into_iter()
        .find(|it| it.is_honest() && it.template == Template::Plain)
        .unwrap()
}

fn zipped(entries: Vec<ZipEntry>) -> Vec<u8> {
    let files = project().files("");
    let files = files
        .iter()
        .map(|(path, bytes)| stored(&format!("attack/{}", path.display()), bytes));
    zip(&files.chain(entries).collect::<Vec<_>>())
}

/// The harmless project with one file added or replaced.
fn with_file(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut tar = Tar::new();
    let mut files = project().files("");
    files.insert(name.into(), bytes.to_vec());
    for (path, bytes) in files {
        tar.file(&format!("attack/{}", path.display()), &bytes);
    }
    tar.end()
}

const CONFIG: &str = ".cargo/config.toml";

fn config_of_parts(_: &Path) -> Vec<u8> {
    with_file(
        CONFIG,
        format!("{}a = 1\n", "a.".repeat(500_000)).as_bytes(),
    )
}

fn config_nested(_: &Path) -> Vec<u8> {
    with_file(
        CONFIG,
        format!("a = {}\n", "[".repeat(1_000_000)).as_bytes(),
    )
}

fn config_too_long(_: &Path) -> Vec<u8> {
    with_file(
        CONFIG,
        format!("a = \"{}\"\n", "x".repeat(2 << 20)).as_bytes(),
    )
}

fn config_no_text(_: &Path) -> Vec<u8> {
    with_file(CONFIG, b"a = \"\xff\x1b[2J\"\n")
}

/// The kernel accepts arguments of up to 128 KiB.
fn config_of_a_long_word(_: &Path) -> Vec<u8> {
    with_file(
        CONFIG,
        format!("[env]\nA = \"{}\"\n", "x".repeat(200_000)).as_bytes(),
    )
}

/// All arguments of a command together may have 2 MiB, with eight bytes more for each.
fn config_of_many_words(_: &Path) -> Vec<u8> {
    let lines: String = (0..100_000)
        .map(|number| format!("A{number}=\"\"\n"))
        .collect();
    with_file(CONFIG, format!("[env]\n{lines}").as_bytes())
}

const WRAPPER: &[u8] = b"[build]\nrustc-wrapper = \"./program\"\n";

/// Cargo would have taken the directory's name for the older one of its two.
fn config_behind_directory(_: &Path) -> Vec<u8> {
    harmless()
        .file("attack/.cargo/config/x", b"")
        .file("attack/.cargo/config.toml", WRAPPER)
        .end()
}

fn config_link(_: &Path) -> Vec<u8> {
    harmless()
        .link("attack/.cargo/config.toml", "../more.toml")
        .file("attack/more.toml", WRAPPER)
        .end()
}

fn config_circle(_: &Path) -> Vec<u8> {
    harmless()
        .link("attack/.cargo/config.toml", "config.toml")
        .end()
}

/// Cargo keeps more than a hundred bytes for each array.
fn manifest_of_arrays(_: &Path) -> Vec<u8> {
    let manifest =
        String::from_utf8(project().files("").remove(Path::new("Cargo.toml")).unwrap()).unwrap();
    with_file(
        "Cargo.toml",
        format!(
            "{manifest}[package.metadata]\na = [{}]\n",
            "[],".repeat(3_000_000)
        )
        .as_bytes(),
    )
}

fn directory_for_lockfile(_: &Path) -> Vec<u8> {
    let mut tar = Tar::new();
    for (path, bytes) in project()
        .files("")
        .iter()
        .filter(|(path, _)| *path != Path::new("Cargo.lock"))
    {
        tar.file(&format!("attack/{}", path.display()), bytes);
    }
    tar.directory("attack/Cargo.lock")
        .file("attack/flake.lock/x", b"")
        .end()
}

/// Names that are equal without regard to case, or in another form of the same characters.
fn like_names(_: &Path) -> Vec<u8> {
    let mut tar = harmless();
    tar.file("attack/cargo.lock", b"version = 99\n")
        .file("attack/CARGO.TOML", b"")
        .file("attack/SRC/main.rs", b"");
    tar.file("attack/\u{e9}", b"")
        .file("attack/e\u{301}", b"")
        .end()
}

fn git_file(canary: &Path) -> Vec<u8> {
    harmless()
        .file(
            "attack/.git",
            format!("gitdir: {}\n", canary.parent().unwrap().display()).as_bytes(),
        )
        .end()
}

fn lock_of_parts(_: &Path) -> Vec<u8> {
    with_file(
        "Cargo.lock",
        format!("version = 4\n{}a = 1\n", "a.".repeat(4_000_000)).as_bytes(),
    )
}

fn lock_nested(_: &Path) -> Vec<u8> {
    with_file(
        "Cargo.lock",
        format!("version = 4\na = {}\n", "[".repeat(8_000_000)).as_bytes(),
    )
}

fn lock_too_long(_: &Path) -> Vec<u8> {
    with_file(
        "Cargo.lock",
        format!("version = 4\n# {}\n", "x".repeat(9 << 20)).as_bytes(),
    )
}

fn absolute_name(canary: &Path) -> Vec<u8> {
    harmless().file(canary.to_str().unwrap(), b"dead").end()
}

fn climbing_name(canary: &Path) -> Vec<u8> {
    let name = format!(
        "attack/{}{}",
        "../".repeat(12),
        canary.strip_prefix("/").unwrap().display()
    );
    harmless().file(&name, b"dead").end()
}

fn file_below_link(canary: &Path) -> Vec<u8> {
    let directory = canary.parent().unwrap().to_str().unwrap();
    harmless()
        .link("attack/directory", directory)
        .file("attack/directory/canary", b"dead")
        .end()
}

fn hard_link(canary: &Path) -> Vec<u8> {
    harmless()
        .header(
            b"attack/same",
            b'1',
            0o644,
            0,
            canary.to_str().unwrap().as_bytes(),
        )
        .end()
}

fn device(_: &Path) -> Vec<u8> {
    harmless()
        .header(b"attack/sev-guest", b'3', 0o666, 0, b"")
        .end()
}

fn fifo(_: &Path) -> Vec<u8> {
    harmless()
        .header(b"attack/src/lib.rs", b'6', 0o666, 0, b"")
        .end()
}

fn renamed_by_pax(canary: &Path) -> Vec<u8> {
    let name = format!(
        "{}{}",
        "../".repeat(12),
        canary.strip_prefix("/").unwrap().display()
    );
    harmless()
        .extended(b'x', &pax("path", name.as_bytes()))
        .file("attack/harmless", b"dead")
        .end()
}

fn renamed_globally(canary: &Path) -> Vec<u8> {
    let name = canary.to_str().unwrap();
    harmless()
        .extended(b'g', &pax("path", name.as_bytes()))
        .file("attack/harmless", b"dead")
        .end()
}

/// A reader that takes the type of old archives with a name that ends in `/` for a directory, as
/// Python does, goes on with the content of the file: another source.
fn two_sources(_: &Path) -> Vec<u8> {
    let other = Tar::new()
        .file(
            "attack/src/main.rs",
            b"fn main() { println!(\"other\"); }\n",
        )
        .end();
    let mut tar = harmless();
    tar.extended(b'x', &pax("path", b"attack/src/other.rs"));
    tar.header(b"attack/src/", 0, 0o644, other.len() as u64, b"")
        .data(&other)
        .end()
}

fn two_lockfiles(_: &Path) -> Vec<u8> {
    harmless().file("attack/Cargo.lock", b"version = 4\n").end()
}

fn two_archives(_: &Path) -> Vec<u8> {
    [
        harmless().end(),
        harmless().file("attack/src/lib.rs", b"").end(),
    ]
    .concat()
}

/// A reader of the local headers sees another file than one of the central directory.
fn two_names(_: &Path) -> Vec<u8> {
    zipped(vec![ZipEntry {
        local_name: b"attack/src/lib.rs".to_vec(),
        ..stored("attack/src/lob.rs", b"x")
    }])
}

/// Two entries of the central directory have the bytes of one.
fn overlapping(_: &Path) -> Vec<u8> {
    zipped(vec![ZipEntry {
        offset: Some(0),
        ..stored("attack/src/lib.rs", b"x")
    }])
}

fn tar_bomb(_: &Path) -> Vec<u8> {
    gzip(&harmless().file("attack/zeros", &vec![0; 80 << 20]).end())
}

fn zip_bomb(_: &Path) -> Vec<u8> {
    zipped(vec![deflated("attack/zeros", &vec![0; 80 << 20])])
}

/// Each entry implies sixty directories.
fn many_directories(_: &Path) -> Vec<u8> {
    let mut tar = harmless();
    for at in 0..3400 {
        let name = format!("attack/{at}/{}", "x/".repeat(60));
        tar.extended(b'L', name.as_bytes()).directory("y");
    }
    tar.end()
}

fn huge_file(_: &Path) -> Vec<u8> {
    harmless()
        .header(b"attack/huge", b'0', 0o644, 0o77_777_777_777, b"")
        .end()
}

fn sparse_file(_: &Path) -> Vec<u8> {
    harmless()
        .extended(b'x', &pax("GNU.sparse.realsize", b"99999999999"))
        .file("attack/sparse", b"x")
        .end()
}

fn escape_in_name(_: &Path) -> Vec<u8> {
    harmless()
        .file("attack/\u{1b}]0;owned\u{7}\u{1b}[2J", b"")
        .end()
}

/// Settings that let git run programs: a monitor, a hook, a filter. Cargo asks git's library about
/// the directory it packs.
fn git_directory(canary: &Path) -> Vec<u8> {
    let program = format!("#!/bin/sh\necho dead >{}\n", canary.display());
    let config = "[core]\n\trepositoryformatversion = 0\n\tfsmonitor = ./.git/hooks/post-checkout\n\
                  \thooksPath = .git/hooks\n[filter \"x\"]\n\tclean = ./.git/hooks/post-checkout\n";
    let mut tar = harmless();
    tar.file("attack/.git/HEAD", b"ref: refs/heads/main\n")
        .file("attack/.git/config", config.as_bytes());
    tar.raw_file(
        b"attack/.git/hooks/post-checkout",
        0o755,
        program.as_bytes(),
    )
    .end()
}

fn set_user_id(_: &Path) -> Vec<u8> {
    harmless()
        .raw_file(b"attack/tool", 0o6777, b"#!/bin/sh\nid\n")
        .end()
}

/// Provenance names the bytes that cargo reads, by whatever name.
fn linked_lockfile(_: &Path) -> Vec<u8> {
    let mut tar = Tar::new();
    for (path, bytes) in project().files("") {
        let name = if path == Path::new("Cargo.lock") {
            Path::new("other.lock")
        } else {
            &path
        };
        tar.file(&format!("attack/{}", name.display()), &bytes);
    }
    tar.link("attack/Cargo.lock", "other.lock").end()
}
