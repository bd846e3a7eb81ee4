//! Archives that differ from an accepted bundle in one thing, most of them in nothing that anybody
//! would unpack: each is rejected, for the reason that is asserted.

use std::collections::BTreeMap;
use std::ops::Range;

use super::archive::{
    Archive, BLOCK_BYTES, CHECKSUM, Entry, File, GID, GROUP, GZIP_HEADER, LINK_NAME, MAGIC, MAJOR,
    MINOR, MODE, NAME, OWNER, PADDING, PREFIX, SIZE, TIME, TYPE, UID, entries_of, gzip, member,
    pax, pax_of, record,
};
use super::scene::Scene;
use super::signed::{TOP, base, refused_names, verdict};

const NOT_CANONICAL: &str = "bundle-not-canonical";
const DAMAGED: &str = "bundle-damaged";
const TRAILING: &str = "bundle-trailing-bytes";
const PATH: &str = "bundle-path";
const DUPLICATE: &str = "bundle-duplicate";
const LIMIT: &str = "bundle-limit";
const UNEXPECTED: &str = "bundle-unexpected-file";
const MODE_DIFFERS: &str = "subject-mode";

/// The least number of archives in the corpus.
const LEAST: usize = 500;

/// An archive, and the code of its rejection.
pub struct Sample {
    pub what: String,
    pub packed: Vec<u8>,
    code: &'static str,
}

impl Sample {
    fn new(what: impl Into<String>, archive: &Archive, code: &'static str) -> Self {
        Self {
            what: what.into(),
            packed: archive.packed(),
            code,
        }
    }
}

/// The entries of the base that are altered: a PAX header, what follows it, a program, and a
/// document.
const ALTERED: [&str; 4] = [
    "pax-header",
    "pax-path",
    "project/artifacts/a-program",
    "project/provenance.json",
];

fn position(archive: &Archive, name: &str) -> usize {
    archive
        .entries
        .iter()
        .position(|entry| entry.name() == name)
        .unwrap()
}

/// Returns the base with one entry changed.
fn with(name: &str, change: impl FnOnce(&mut Entry)) -> Archive {
    let mut archive = base_archive();
    let at = position(&archive, name);
    change(&mut archive.entries[at]);
    archive
}

/// Returns the base of the rejected archives, made once for each thread: signatures differ each
/// time.
pub fn base_archive() -> Archive {
    thread_local! {
        // It is signed, and signing takes a moment.
        static BASE: Archive = base().archive();
    }
    BASE.with(Archive::clone)
}

/// Returns the base without entries of that name.
fn without(name: &str) -> Archive {
    let mut archive = base_archive();
    archive.entries.retain(|entry| entry.name() != name);
    archive
}

/// Returns the base with entries before that one.
fn before(name: &str, entries: Vec<Entry>) -> Archive {
    let mut archive = base_archive();
    let at = position(&archive, name);
    archive.entries.splice(at..at, entries);
    archive
}

fn file(path: &str) -> File {
    File {
        path: path.to_owned(),
        executable: false,
        content: b"more\n".to_vec(),
    }
}

/// Returns every way to write a number of a field that differs from a bundle's, and means the same
/// to some readers.
fn other_forms(field: &Range<usize>, digits: &str) -> Vec<(&'static str, Vec<u8>)> {
    let width = field.len();
    let value = digits.trim_start_matches('0');
    let value = if value.is_empty() { "0" } else { value };
    let number = u64::from_str_radix(digits, 8).unwrap();
    let mut binary = vec![0; width];
    binary[width - 8..].copy_from_slice(&number.to_be_bytes());
    binary[0] |= 0x80;
    let padded = |text: &str, fill: u8| {
        let mut bytes = vec![fill; width - text.len()];
        bytes.extend(text.as_bytes());
        bytes
    };
    vec![
        (
            "blanks before the digits",
            [padded(value, b' ')[1..].to_vec(), vec![0]].concat(),
        ),
        (
            "blanks after the digits",
            [value.as_bytes(), &vec![b' '; width - value.len()][..]].concat(),
        ),
        ("zeros after the digits", value.as_bytes().to_vec()),
        (
            "a blank at the end",
            [padded(value, b'0')[1..].to_vec(), vec![b' ']].concat(),
        ),
        ("no end", padded(value, b'0')),
        (
            "a blank and a zero at the end",
            [padded(value, b'0')[2..].to_vec(), b"\0 ".to_vec()].concat(),
        ),
        (
            "a sign",
            [b"+".to_vec(), padded(value, b'0')[2..].to_vec(), vec![0]].concat(),
        ),
        ("binary", binary),
        (
            "hexadecimal",
            [b"0x".to_vec(), padded(value, b'0')[3..].to_vec(), vec![0]].concat(),
        ),
    ]
}

fn of_fields() -> Vec<Sample> {
    let mut samples = Vec::new();
    for name in ALTERED {
        let mut add = |what: String, field: Range<usize>, value: &[u8], code: &'static str| {
            let archive = with(name, |entry| entry.set(field, value));
            samples.push(Sample::new(format!("{name}: {what}"), &archive, code));
        };
        let header = base_archive().entries[position(&base_archive(), name)].header;
        for (field, called) in [
            (MODE, "mode"),
            (UID, "uid"),
            (GID, "gid"),
            (SIZE, "size"),
            (TIME, "time"),
            (CHECKSUM, "sum"),
        ] {
            let digits = std::str::from_utf8(&header[field.start..field.end - 1]).unwrap();
            for (form, value) in other_forms(&field, digits) {
                add(
                    format!("{called}: {form}"),
                    field.clone(),
                    &value,
                    NOT_CANONICAL,
                );
            }
            add(
                format!("{called}: nothing"),
                field.clone(),
                b"",
                NOT_CANONICAL,
            );
            add(
                format!("{called}: blanks"),
                field.clone(),
                &vec![b' '; field.len()],
                NOT_CANONICAL,
            );
        }
        for mode in [
            "0004755", "0002755", "0001755", "0006644", "0000777", "0000600", "0000000", "0000744",
            "0100644",
        ] {
            add(format!("mode {mode}"), MODE, mode.as_bytes(), NOT_CANONICAL);
        }
        for (field, called) in [(UID, "uid"), (GID, "gid")] {
            for value in ["0000001", "0001750", "7777777", "0177776"] {
                add(
                    format!("{called} {value}"),
                    field.clone(),
                    value.as_bytes(),
                    NOT_CANONICAL,
                );
            }
        }
        for value in ["00000000001", "77777777777"] {
            add(
                format!("time {value}"),
                TIME,
                value.as_bytes(),
                NOT_CANONICAL,
            );
        }
        for (field, called) in [
            (LINK_NAME, "link name"),
            (OWNER, "owner"),
            (GROUP, "group"),
            (PREFIX, "prefix"),
        ] {
            let last = [&vec![0; field.len() - 1][..], b"x"].concat();
            for value in [b"x", &b"root"[..], b"/etc/passwd", b"\0x", &last] {
                add(
                    format!("{called} \"{}\"", value.escape_ascii()),
                    field.clone(),
                    value,
                    NOT_CANONICAL,
                );
            }
        }
        for magic in [
            &b"ustar  \0"[..],
            b"ustar\x0001",
            b"ustar\0\0\0",
            b"ustar\0  ",
            b"ustar 00",
            b"USTAR\x0000",
            b"",
        ] {
            add(
                format!("magic \"{}\"", magic.escape_ascii()),
                MAGIC,
                magic,
                NOT_CANONICAL,
            );
        }
        for (field, called) in [(MAJOR, "major"), (MINOR, "minor")] {
            for value in [&b"0000000\0"[..], b"0000001\0", b"0", b"       \0", b"\x80"] {
                add(
                    format!("{called} \"{}\"", value.escape_ascii()),
                    field.clone(),
                    value,
                    NOT_CANONICAL,
                );
            }
        }
        for value in [
            &b"x"[..],
            b"\0\0\0\0\0\0\0\0\0\0\0x",
            b"tar\0",
            b"000000000000",
        ] {
            add(
                format!("padding \"{}\"", value.escape_ascii()),
                PADDING,
                value,
                NOT_CANONICAL,
            );
        }
        // Bytes after the end of the name, which most programs do not read.
        let own = name.as_bytes();
        let tail = [own, &vec![0; NAME.len() - own.len() - 1], b"x"].concat();
        add(
            "name: bytes after its end".to_owned(),
            NAME,
            &tail,
            NOT_CANONICAL,
        );
        add(
            "name: a second one after its end".to_owned(),
            NAME,
            &[own, b"\0project/x"].concat(),
            NOT_CANONICAL,
        );
    }
    samples
}

/// Changes each byte of a header without correcting the checksum, like an error in transit.
fn of_bytes() -> Vec<Sample> {
    let bytes = ALTERED
        .into_iter()
        .flat_map(|name| (0..BLOCK_BYTES).map(move |at| (name, at)));
    let sample = |(name, at): (&str, usize)| {
        let archive = with(name, |entry| entry.header[at] ^= 1);
        // With one bit the record of a PAX header is larger than any path.
        let is_too_large = name == "pax-header" && (SIZE.start..SIZE.end - 5).contains(&at);
        let code = if is_too_large { LIMIT } else { NOT_CANONICAL };
        Sample::new(format!("{name}: byte {at} of the header"), &archive, code)
    };
    bytes.map(sample).collect()
}

fn of_types() -> Vec<Sample> {
    let mut samples = Vec::new();
    for kind in (0..=255_u8).filter(|kind| *kind != b'0') {
        let called = format!("type \"{}\"", [kind].escape_ascii());
        let program = with("project/artifacts/a-program", |entry| {
            entry.set(TYPE, &[kind])
        });
        // The content of the program is no content of a PAX header.
        samples.push(Sample::new(
            format!("a program of {called}"),
            &program,
            NOT_CANONICAL,
        ));
        if kind != b'x' {
            let header = with("pax-header", |entry| entry.set(TYPE, &[kind]));
            samples.push(Sample::new(
                format!("a PAX header of {called}"),
                &header,
                NOT_CANONICAL,
            ));
        }
    }
    // Directories, links and devices as entries of their own.
    for (kind, link) in [
        (b'5', ""),
        (b'1', "project/artifacts/note"),
        (b'2', "/etc/passwd"),
        (b'3', ""),
        (b'4', ""),
        (b'6', ""),
    ] {
        for name in [
            "project/",
            "project/artifacts/",
            "project/artifacts",
            "project/artifacts/b",
        ] {
            let mut entry = Entry::new(name.as_bytes(), kind, "755", Vec::new(), 0);
            entry.set(LINK_NAME, link.as_bytes());
            let archive = before("project/artifacts/a-program", vec![entry]);
            let what = format!("{name} of type \"{}\"", [kind].escape_ascii());
            samples.push(Sample::new(what, &archive, NOT_CANONICAL));
        }
    }
    samples
}

/// Returns the path of the base's file with a long path.
fn long_path() -> String {
    format!("{TOP}/artifacts/long/{}", "n".repeat(150))
}

/// Returns the base with other records in its PAX header.
fn records(records: &str) -> Archive {
    let mut archive = base_archive();
    let at = position(&archive, "pax-header");
    archive.entries[at] = pax_of(records, 0);
    archive
}

fn of_pax_headers() -> Vec<Sample> {
    let path = long_path();
    let own = record("path", &path);
    let mut samples = Vec::new();
    let mut add = |what: &str, archive: Archive, code: &'static str| {
        samples.push(Sample::new(format!("PAX: {what}"), &archive, code));
    };
    for (key, value) in [
        ("size", "1"),
        ("size", "1000000"),
        ("mtime", "1"),
        ("atime", "1.5"),
        ("uid", "0"),
        ("gname", "root"),
        ("linkpath", "/etc/passwd"),
        ("hdrcharset", "BINARY"),
        ("charset", "UTF-8"),
        ("comment", "nothing"),
        ("path", "project/artifacts/other"),
        ("path", &path),
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.name", "project/artifacts/other"),
        ("GNU.sparse.realsize", "1000"),
        ("GNU.sparse.map", "0,1"),
        ("SCHILY.xattr.user.x", "y"),
        ("SCHILY.fflags", "nodump"),
        ("LIBARCHIVE.xattr.user.x", "eQ"),
        ("LIBARCHIVE.symlinktype", "file"),
        ("RHT.security.selinux", "x"),
        ("MSWINDOWS.rawsd", "x"),
        ("vendor.thing", "x"),
    ] {
        let other = record(key, value);
        add(
            &format!("{key} before the path"),
            records(&format!("{other}{own}")),
            NOT_CANONICAL,
        );
        add(
            &format!("{key} after the path"),
            records(&format!("{own}{other}")),
            NOT_CANONICAL,
        );
        add(
            &format!("{key} alone"),
            records(&other),
            if key == "path" && value == path {
                ""
            } else {
                NOT_CANONICAL
            },
        );
    }
    let length = own.len();
    for (what, text) in [
        ("no record", String::new()),
        (
            "a length that is too small",
            format!("{} path={path}\n", length - 1),
        ),
        (
            "a length that is too large",
            format!("{} path={path}\n", length + 1),
        ),
        (
            "a length with a zero before it",
            format!(
                "0{}",
                record("path", &path).replacen(&length.to_string(), &(length + 1).to_string(), 1)
            ),
        ),
        (
            "a length with a sign",
            format!(
                "+{}",
                own.replacen(&length.to_string(), &(length + 1).to_string(), 1)
            ),
        ),
        ("a blank before the length", format!(" {own}")),
        ("two blanks after the length", own.replacen(' ', "  ", 1)),
        ("a tabulator after the length", own.replacen(' ', "\t", 1)),
        ("no length", format!(" path={path}\n")),
        ("no line end", own.trim_end().to_owned()),
        ("two line ends", format!("{own}\n")),
        ("a carriage return", own.replace('\n', "\r\n")),
        ("a zero after the record", format!("{own}\0")),
        ("a zero instead of the line end", own.replace('\n', "\0")),
        ("another key", own.replace("path=", "PATH=")),
        ("a key with a blank", own.replace("path=", "path =")),
        ("garbage after the record", format!("{own}garbage")),
        ("one more record of nothing", format!("{own}5 =\n")),
    ] {
        add(what, records(&text), NOT_CANONICAL);
    }
    for (what, path, code) in [
        ("a path with a zero in it", format!("{path}\0x"), PATH),
        ("a path with a line end in it", format!("{path}\nx"), PATH),
        (
            "a path with a record in it",
            format!(
                "{path}\n{}",
                record("path", "project/artifacts/x").trim_end()
            ),
            PATH,
        ),
        ("a path that ends in a slash", format!("{path}/"), PATH),
        ("an absolute path", format!("/{path}"), PATH),
        (
            "a path upwards",
            format!("{TOP}/artifacts/../{}", "n".repeat(150)),
            PATH,
        ),
        ("a path outside", format!("../{path}"), PATH),
        (
            "a path below another directory",
            path.replace(TOP, "another"),
            PATH,
        ),
        ("a path that starts with a point", format!("./{path}"), PATH),
        ("no path", String::new(), NOT_CANONICAL),
        (
            "a short path",
            format!("{TOP}/artifacts/long"),
            NOT_CANONICAL,
        ),
        (
            "a path of 100 bytes",
            format!("{TOP}/artifacts/l{}", "n".repeat(100 - 19)),
            NOT_CANONICAL,
        ),
        (
            "a path of over 1024 bytes",
            format!("{TOP}/artifacts/{}", "l/n".repeat(340)),
            LIMIT,
        ),
    ] {
        add(what, records(&record("path", &path)), code);
    }
    let header = pax(&path, 0);
    let named = |name: &[u8]| with("pax-header", |entry| entry.set(NAME, name));
    add("without a name", named(b""), NOT_CANONICAL);
    add("with another name", named(b"PaxHeaders.1/n"), NOT_CANONICAL);
    add(
        "with the name of a program",
        named(b"project/artifacts/a-program"),
        NOT_CANONICAL,
    );
    add(
        "with a name outside",
        named(b"../../../ESCAPED"),
        NOT_CANONICAL,
    );
    add(
        "executable",
        with("pax-header", |entry| entry.set(MODE, b"0000755")),
        NOT_CANONICAL,
    );
    let renamed = |name: &[u8]| with("pax-path", |entry| entry.set(NAME, name));
    for name in [
        &b""[..],
        b"pax-path/",
        b"/pax-path",
        b"project/artifacts/a-program",
        b"../x",
        b"project/artifacts/",
        &path.as_bytes()[..100],
    ] {
        let what = format!("the entry after it is called \"{}\"", name.escape_ascii());
        add(&what, renamed(name), NOT_CANONICAL);
    }
    add(
        "a directory to some",
        with("pax-path", |entry| {
            entry.set(NAME, b"project/artifacts/");
            entry.set(TYPE, &[0]);
        }),
        NOT_CANONICAL,
    );
    add(
        "twice in a row",
        before("pax-header", vec![header.clone()]),
        NOT_CANONICAL,
    );
    add(
        "one of another path before it",
        before("pax-header", vec![pax(&format!("{path}x"), 0)]),
        NOT_CANONICAL,
    );
    add(
        "before a short path",
        before(
            "project/artifacts/note",
            vec![pax("project/artifacts/note", 0)],
        ),
        NOT_CANONICAL,
    );
    add(
        "before the end",
        before_the_end(vec![header.clone()]),
        NOT_CANONICAL,
    );
    add(
        "without what follows it",
        without("pax-path"),
        NOT_CANONICAL,
    );
    add("missing", without("pax-header"), PATH);
    for (what, name, kind, content) in [
        ("a global header", &b"pax-header"[..], b'g', own.clone()),
        (
            "a global comment",
            b"pax_global_header",
            b'g',
            record("comment", &"ab".repeat(20)),
        ),
        ("a header of Solaris", b"pax-header", b'X', own.clone()),
        (
            "a long name of GNU tar",
            b"././@LongLink",
            b'L',
            format!("{path}\0"),
        ),
        (
            "a long link of GNU tar",
            b"././@LongLink",
            b'K',
            "/etc/passwd\0".to_owned(),
        ),
        ("a label", b"label", b'V', String::new()),
        (
            "a list of names of GNU tar",
            b"project/artifacts/",
            b'D',
            "Ya\0\0".to_owned(),
        ),
        (
            "a continuation",
            b"project/artifacts/x",
            b'M',
            "x".to_owned(),
        ),
        (
            "a sparse file",
            b"project/artifacts/x",
            b'S',
            "x".to_owned(),
        ),
    ] {
        let entry = Entry::new(name, kind, "644", content.into_bytes(), 0);
        for place in [
            "pax-header",
            "pax-path",
            "project/artifacts/a-program",
            "project/provenance.json",
        ] {
            add(
                &format!("{what} before {place}"),
                before(place, vec![entry.clone()]),
                NOT_CANONICAL,
            );
        }
        add(
            &format!("{what} at the end"),
            before_the_end(vec![entry]),
            NOT_CANONICAL,
        );
    }
    let mut long_name = base_archive();
    let at = position(&long_name, "pax-header");
    long_name.entries[at] = Entry::new(
        b"././@LongLink",
        b'L',
        "644",
        format!("{path}\0").into_bytes(),
        0,
    );
    add("a long name of GNU tar instead", long_name, NOT_CANONICAL);
    let mut split = without("pax-header");
    let at = position(&split, "pax-path");
    split.entries[at].set(NAME, &path.as_bytes()[24..]);
    split.entries[at].set(PREFIX, &path.as_bytes()[..23]);
    add("a prefix instead", split, NOT_CANONICAL);
    samples.retain(|sample| !sample.code.is_empty());
    samples
}

fn before_the_end(entries: Vec<Entry>) -> Archive {
    let mut archive = base_archive();
    archive.entries.extend(entries);
    archive
}

fn of_paths() -> Vec<Sample> {
    let mut samples = Vec::new();
    for path in [
        "/project/artifacts/x",
        "//project/artifacts/x",
        "./project/artifacts/x",
        "../project/artifacts/x",
        "project/../x",
        "project/./artifacts/x",
        "project/artifacts/../x",
        "project/artifacts/..",
        "project/artifacts/.",
        "project/artifacts//x",
        "project//artifacts/x",
        "project/artifacts/",
        "project/",
        "project",
        "x",
        "",
        "another/artifacts/x",
        "Project/artifacts/x",
        "project /artifacts/x",
        "project/artifacts/a\\b",
        "project\\artifacts\\x",
        "C:\\x",
        "project/artifacts/a\nb",
        "project/artifacts/a\rb",
        "project/artifacts/a\tb",
        "project/artifacts/\u{1}",
        "project/artifacts/\u{1b}[2J",
        "project/artifacts/\u{7f}",
        "project/artifacts/\u{85}",
    ] {
        let entries = entries_of(&file(path), 0);
        samples.push(Sample::new(
            format!("a file called {path:?}"),
            &before("project/artifacts/note", entries),
            PATH,
        ));
    }
    for name in [
        &b"project/artifacts/\xff"[..],
        b"project/artifacts/\xc3",
        b"project/artifacts/\xed\xa0\x80",
    ] {
        let entry = Entry::new(name, b'0', "644", Vec::new(), 0);
        let what = format!("a file called \"{}\"", name.escape_ascii());
        samples.push(Sample::new(
            what,
            &before("project/artifacts/note", vec![entry]),
            PATH,
        ));
    }
    for path in [
        "project/README",
        "project/aa",
        "project/artifact/x",
        "project/build-confi/x",
        "project/a/artifacts/x",
    ] {
        let entries = entries_of(&file(path), 0);
        let archive = sorted(before("project/artifacts/note", entries));
        samples.push(Sample::new(
            format!("a file called {path:?}"),
            &archive,
            UNEXPECTED,
        ));
    }
    samples
}

/// Returns the same entries in order; those with a PAX header stay together.
fn sorted(archive: Archive) -> Archive {
    let mut groups: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    let mut waiting = Vec::new();
    for entry in archive.entries {
        if entry.name() == "pax-header" {
            waiting.push(entry);
            continue;
        }
        let path = if waiting.is_empty() {
            entry.name()
        } else {
            long_path()
        };
        groups
            .entry(path)
            .or_default()
            .extend(waiting.drain(..).chain([entry]));
    }
    Archive {
        entries: groups.into_values().flatten().collect(),
        end: archive.end,
    }
}

fn of_order() -> Vec<Sample> {
    let mut samples = Vec::new();
    let base = base_archive();
    // Long paths are two entries that stay together.
    let mut groups: Vec<Vec<Entry>> = Vec::new();
    for entry in &base.entries {
        match groups
            .last_mut()
            .filter(|group| group.len() == 1 && group[0].name() == "pax-header")
        {
            Some(group) => group.push(entry.clone()),
            None => groups.push(vec![entry.clone()]),
        }
    }
    let archive = |groups: Vec<Vec<Entry>>| Archive {
        entries: groups.concat(),
        end: base.end.clone(),
    };
    for first in 0..groups.len() {
        for second in first + 1..groups.len() {
            let mut swapped = groups.clone();
            swapped.swap(first, second);
            samples.push(Sample::new(
                format!("entries {first} and {second} swapped"),
                &archive(swapped),
                NOT_CANONICAL,
            ));
        }
        let mut twice = groups.clone();
        twice.insert(first, groups[first].clone());
        samples.push(Sample::new(
            format!("entry {first} twice"),
            &archive(twice),
            DUPLICATE,
        ));
        let again = [groups.clone(), vec![groups[first].clone()]].concat();
        let code = if first + 1 == groups.len() {
            DUPLICATE
        } else {
            NOT_CANONICAL
        };
        samples.push(Sample::new(
            format!("entry {first} again at the end"),
            &archive(again),
            code,
        ));
    }
    let mut reversed = groups.clone();
    reversed.reverse();
    samples.push(Sample::new(
        "all entries in the other order",
        &archive(reversed),
        NOT_CANONICAL,
    ));
    for (path, code) in [
        ("project/artifacts/note/x", DUPLICATE),
        ("project/artifacts/a-program/x", DUPLICATE),
    ] {
        let archive = sorted(before("project/artifacts/note", entries_of(&file(path), 0)));
        samples.push(Sample::new(
            format!("{path:?} below a file"),
            &archive,
            code,
        ));
    }
    samples
}

/// Changed files with the right size and checksum for their content: canonical archives of other
/// bundles, which the statement rejects.
fn of_other_bundles() -> Vec<Sample> {
    let program = "project/artifacts/a-program";
    let plain = with(program, |entry| entry.set(MODE, b"0000644"));
    let executable = with("project/artifacts/note", |entry| {
        entry.set(MODE, b"0000755")
    });
    let long = with("pax-path", |entry| entry.set(MODE, b"0000644"));
    let changed = with(program, |entry| entry.content[0] ^= 1);
    let more = sorted(before(
        "project/artifacts/note",
        entries_of(&file("project/artifacts/x"), 0),
    ));
    let mut dated = base_archive();
    for entry in &mut dated.entries {
        entry.set(TIME, b"00000000001");
    }
    let mut samples = vec![
        Sample::new("a program that is not executable", &plain, MODE_DIFFERS),
        Sample::new("a note that is executable", &executable, MODE_DIFFERS),
        Sample::new(
            "a program with a long path that is not executable",
            &long,
            MODE_DIFFERS,
        ),
        Sample::new("a program with another byte", &changed, "subject-digest"),
        Sample::new("an unlisted file", &more, "artifact-unlisted"),
        Sample::new("a missing program", &without(program), "subject-missing"),
        Sample::new(
            "a missing log",
            &without("project/build.log"),
            "record-missing",
        ),
        Sample::new(
            "a missing statement",
            &without("project/provenance.json"),
            "provenance-missing",
        ),
        Sample::new(
            "missing evidence",
            &without("project/evidence.json"),
            "evidence-missing",
        ),
        Sample::new(
            "nothing",
            &Archive {
                entries: Vec::new(),
                end: vec![0; 1024],
            },
            "provenance-missing",
        ),
        Sample::new(
            "another time in all entries than in the statement",
            &dated,
            NOT_CANONICAL,
        ),
    ];
    for name in [
        "project/build.log",
        "project/build-config/Cargo.lock",
        "project/evidence.json",
        "project/provenance.json",
    ] {
        let archive = with(name, |entry| entry.set(MODE, b"0000755"));
        samples.push(Sample::new(
            format!("{name} is executable"),
            &archive,
            NOT_CANONICAL,
        ));
    }
    let mut in_another_place = base_archive();
    for entry in &mut in_another_place.entries {
        let name = entry.name();
        if let Some(rest) = name.strip_prefix(TOP) {
            entry.set(NAME, format!("another{rest}").as_bytes());
        }
    }
    samples.push(Sample::new(
        "another top directory for short paths",
        &in_another_place,
        PATH,
    ));
    samples
}

fn of_blocks() -> Vec<Sample> {
    let base = base_archive();
    let ending = |what: &str, end: Vec<u8>, code| {
        Sample::new(
            format!("at the end: {what}"),
            &Archive {
                entries: base.entries.clone(),
                end,
            },
            code,
        )
    };
    let blocks = |count: usize| vec![0; count * BLOCK_BYTES];
    let more = entries_of(&file("project/z"), 0);
    let more = Archive {
        entries: more,
        end: blocks(2),
    }
    .tar();
    let mut samples = vec![
        ending("no end block", Vec::new(), DAMAGED),
        ending("one end block", blocks(1), DAMAGED),
        ending(
            "one end block and a half",
            vec![0; BLOCK_BYTES + 256],
            DAMAGED,
        ),
        ending("three end blocks", blocks(3), NOT_CANONICAL),
        ending("a record of 20 blocks", blocks(20), NOT_CANONICAL),
        ending("one zero more", vec![0; 2 * BLOCK_BYTES + 1], NOT_CANONICAL),
        ending(
            "one byte more",
            [blocks(2), b"x".to_vec()].concat(),
            NOT_CANONICAL,
        ),
        ending(
            "a text",
            [blocks(2), b"#!/bin/sh\n".to_vec()].concat(),
            NOT_CANONICAL,
        ),
        ending(
            "another archive",
            [blocks(2), more.clone()].concat(),
            NOT_CANONICAL,
        ),
        ending(
            "another archive after one block",
            [blocks(1), more].concat(),
            NOT_CANONICAL,
        ),
        ending(
            "a second end block with something in it",
            [blocks(1), [&[0; 511][..], b"x"].concat()].concat(),
            NOT_CANONICAL,
        ),
    ];
    for name in ALTERED {
        let archive = with(name, |entry| entry.padding = b'x');
        samples.push(Sample::new(
            format!("{name}: padding of the content"),
            &archive,
            NOT_CANONICAL,
        ));
        let mut padded = with(name, |entry| {
            entry
                .content
                .resize(entry.content.len().next_multiple_of(BLOCK_BYTES), 0)
        });
        let at = position(&padded, name);
        padded.entries[at].content.extend(blocks(1));
        let what = format!("{name}: a block of zeros after the content");
        samples.push(Sample::new(what, &padded, NOT_CANONICAL));
        let tar = base.tar();
        let start: usize = base.entries[..position(&base, name)]
            .iter()
            .map(|entry| (BLOCK_BYTES + entry.content.len()).next_multiple_of(BLOCK_BYTES))
            .sum();
        for count in [1, 2] {
            let inserted = [&tar[..start], &blocks(count), &tar[start..]].concat();
            let what = format!("{count} blocks of zeros before {name}");
            samples.push(Sample {
                what,
                packed: gzip(&inserted),
                code: NOT_CANONICAL,
            });
        }
        for cut in [1, 256, 511] {
            let what = format!("cut in the header of {name}, {cut} bytes");
            samples.push(Sample {
                what,
                packed: gzip(&tar[..start + cut]),
                code: DAMAGED,
            });
        }
    }
    samples
}

fn of_gzip_members() -> Vec<Sample> {
    let tar = base_archive().tar();
    let good = gzip(&tar);
    let sample = |what: &str, packed: Vec<u8>, code| Sample {
        what: format!("gzip: {what}"),
        packed,
        code,
    };
    let mut samples = Vec::new();
    for (at, field) in [
        (0, "magic"),
        (1, "magic"),
        (2, "method"),
        (3, "flags"),
        (4, "time"),
        (7, "time"),
        (8, "extra"),
        (9, "system"),
    ] {
        for bit in 0..8 {
            let mut packed = good.clone();
            packed[at] ^= 1 << bit;
            samples.push(sample(
                &format!("{field}, byte {at}, bit {bit}"),
                packed,
                NOT_CANONICAL,
            ));
        }
    }
    let flagged = |flags: u8, fields: &[u8]| {
        let header = [&GZIP_HEADER[..3], &[flags], &GZIP_HEADER[4..], fields].concat();
        member(&header, &tar, 6)
    };
    let extra = |length: usize| [&(length as u16).to_le_bytes()[..], &vec![b'x'; length]].concat();
    let mut crc = flate2::Crc::new();
    crc.update(&[&GZIP_HEADER[..3], &[2], &GZIP_HEADER[4..]].concat());
    samples.extend([
        sample("a text to some", flagged(1, b""), NOT_CANONICAL),
        sample(
            "a checksum of the header",
            flagged(2, &(crc.sum() as u16).to_le_bytes()),
            NOT_CANONICAL,
        ),
        sample(
            "60 KB of extra fields",
            flagged(4, &extra(60_000)),
            NOT_CANONICAL,
        ),
        sample("an empty extra field", flagged(4, &extra(0)), NOT_CANONICAL),
        sample("a name", flagged(8, b"project.tar\0"), NOT_CANONICAL),
        sample("an empty name", flagged(8, b"\0"), NOT_CANONICAL),
        sample("a comment", flagged(16, b"a comment\0"), NOT_CANONICAL),
        sample(
            "name and comment",
            flagged(24, b"name\0comment\0"),
            NOT_CANONICAL,
        ),
        sample("a zero after it", [&good[..], &[0]].concat(), TRAILING),
        sample("zeros after it", [&good[..], &[0; 512]].concat(), TRAILING),
        sample(
            "garbage after it",
            [&good[..], b"garbage"].concat(),
            TRAILING,
        ),
        sample("itself after it", [&good[..], &good].concat(), TRAILING),
        sample(
            "an empty member after it",
            [&good[..], &gzip(b"")].concat(),
            TRAILING,
        ),
        sample(
            "an empty member before it",
            [&gzip(b"")[..], &good].concat(),
            DAMAGED,
        ),
        sample(
            "the end blocks in another member",
            [gzip(&tar[..tar.len() - 1024]), gzip(&[0; 1024])].concat(),
            DAMAGED,
        ),
        sample(
            "more archive in another member",
            [good.clone(), gzip(&tar)].concat(),
            TRAILING,
        ),
        sample("nothing", Vec::new(), DAMAGED),
        sample("the header alone", GZIP_HEADER.to_vec(), DAMAGED),
        sample("no gzip", tar.clone(), NOT_CANONICAL),
        sample("in another gzip", gzip(&good), PATH),
    ]);
    for cut in [1, 4, 5, 8, 9, 100] {
        let what = format!("{cut} bytes are missing");
        samples.push(sample(&what, good[..good.len() - cut].to_vec(), DAMAGED));
    }
    for at in 1..=8 {
        let mut packed = good.clone();
        let length = packed.len();
        packed[length - at] ^= 0x10;
        samples.push(sample(&format!("byte {at} from the end"), packed, DAMAGED));
    }
    for parts in [2, 3, 7] {
        let pieces: Vec<_> = tar.chunks(tar.len().div_ceil(parts)).map(gzip).collect();
        samples.push(sample(
            &format!("{parts} members"),
            pieces.concat(),
            DAMAGED,
        ));
    }
    samples
}

/// Signed bundles in the one encoding, with names that no bundle has.
fn of_names() -> Vec<Sample> {
    let bundles = refused_names().into_iter();
    bundles
        .map(|bundle| Sample {
            what: bundle.what,
            packed: bundle.packed,
            code: PATH,
        })
        .collect()
}

/// Returns rejected archives of every group, for programs that take a moment for each. Of groups in
/// which the same change is made to many fields, or with many values, only a sample.
pub fn for_other_programs() -> Vec<Sample> {
    let groups = [
        (of_fields(), 4),
        (of_bytes(), 64),
        (of_types(), 6),
        (of_pax_headers(), 2),
        (of_paths(), 1),
        (of_names(), 1),
        (of_order(), 1),
        (of_other_bundles(), 1),
        (of_blocks(), 1),
        (of_gzip_members(), 2),
    ];
    groups
        .into_iter()
        .flat_map(|(samples, every)| samples.into_iter().step_by(every))
        .collect()
}

#[test]
fn every_archive_in_another_encoding_is_rejected() {
    let expectations = Scene::good().expectations();
    assert!(verdict(&base_archive().packed(), &expectations).is_accepted());
    let groups = [
        ("fields", of_fields()),
        ("bytes", of_bytes()),
        ("types", of_types()),
        ("PAX headers", of_pax_headers()),
        ("paths", of_paths()),
        ("names", of_names()),
        ("order", of_order()),
        ("other bundles", of_other_bundles()),
        ("blocks", of_blocks()),
        ("gzip members", of_gzip_members()),
    ];
    let mut complaints = Vec::new();
    let mut count = 0;
    for (group, samples) in groups {
        println!("{group}: {} archives", samples.len());
        count += samples.len();
        for Sample { what, packed, code } in samples {
            let result = verdict(&packed, &expectations);
            let found = result
                .outcomes()
                .find_map(|(_, outcome)| outcome.rejection());
            if found.map(|rejection| rejection.code()) != Some(code) || result.is_accepted() {
                let found = found.map(|rejection| format!("{}: {rejection}", rejection.code()));
                complaints.push(format!("{what}: expected {code}, found {found:?}"));
            }
        }
    }
    assert!(
        complaints.is_empty(),
        "{} of {count}:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
    assert!(count >= LEAST, "{count} archives are no corpus");
}

#[test]
fn a_rejection_names_the_entry_and_the_field() {
    let expectations = Scene::good().expectations();
    let program = "project/artifacts/a-program";
    for (archive, parts) in [
        (
            with(program, |entry| entry.set(UID, b"0001750")),
            [program, "uid", "0000000", "0001750"],
        ),
        (
            with(program, |entry| entry.set(MODE, b"0004755")),
            [program, "mode", "0000644", "0004755"],
        ),
        (
            with(program, |entry| entry.set(TYPE, b"2")),
            [program, "type", "\"0\"", "\"2\""],
        ),
        (
            with("pax-header", |entry| entry.set(NAME, b"../x")),
            [
                "the PAX header of \"project/artifacts/long/",
                "name",
                "pax-header",
                "../x",
            ],
        ),
        (
            with("pax-path", |entry| entry.set(OWNER, b"root")),
            ["long/nnn", "owner name", "\"\"", "root"],
        ),
        (
            with(program, |entry| entry.set(CHECKSUM, b"0000000")),
            [program, "checksum", "0", "0000000"],
        ),
    ] {
        let result = verdict(&archive.packed(), &expectations);
        let text = result
            .outcomes()
            .find_map(|(_, outcome)| outcome.rejection())
            .unwrap()
            .to_string();
        assert!(
            parts.iter().all(|part| text.contains(part)),
            "{parts:?}: {text}"
        );
    }
}
