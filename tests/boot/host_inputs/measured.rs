//! The inputs that the launch measures: kernel, initrd, command line, and the page with their
//! hashes.

use super::*;

/// Larger than any kernel that the firmware accepts.
const TOO_LARGE_BYTES: u64 = 200 << 20;
/// The length of a GUID in the table of the page (`src/snp/measurement/boot.rs`).
const GUID_BYTES: usize = 16;
const HEADER_BYTES: usize = GUID_BYTES + 2;
const ENTRY_BYTES: usize = 50;
const FILES: [&str; 3] = ["kernel", "initrd", "cmdline"];

/// Returns the image's three files as items of fw_cfg, some of them replaced; a file is left out
/// where it is `None`.
fn replaced(files: &Files, image: &Image, other: &[(&str, Option<&Path>)]) -> Vec<String> {
    let paths = FILES.map(
        |name| match other.iter().find(|(replaced, _)| *replaced == name) {
            Some((_, path)) => path.map(Path::to_owned),
            None => Some(image.file(name)),
        },
    );
    items(
        files,
        [
            paths[0].as_deref(),
            paths[1].as_deref(),
            paths[2].as_deref(),
        ],
    )
}

fn with_flipped_bit(files: &Files, image: &Image, name: &str) -> PathBuf {
    let mut bytes = fs::read(image.file(name)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    files.file(&format!("flipped-{name}"), &bytes)
}

/// Returns the page with its table changed.
fn changed(page: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Page {
    let start = page.iter().position(|byte| *byte != 0).unwrap();
    let length = u16::from_le_bytes(
        page[start + GUID_BYTES..start + HEADER_BYTES]
            .try_into()
            .unwrap(),
    );
    let mut table = page[start..start + usize::from(length)].to_vec();
    change(&mut table);
    let mut bytes = page[..start].to_vec();
    bytes.extend(table);
    bytes.resize(page.len(), 0);
    Page::Bytes(bytes)
}

fn set_length(table: &mut [u8]) {
    let length = u16::try_from(table.len()).unwrap().to_le_bytes();
    table[GUID_BYTES..HEADER_BYTES].copy_from_slice(&length);
}

fn entry(number: usize) -> std::ops::Range<usize> {
    HEADER_BYTES + number * ENTRY_BYTES..HEADER_BYTES + (number + 1) * ENTRY_BYTES
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn only_measured_files_are_started_whichever_way_they_come() {
    let (image, files) = (Image::from_environment(), Files::new());
    let program = files.file("program.efi", &payload::application());
    let empty = files.file("empty", b"");
    let large = files.zeros("large", TOO_LARGE_BYTES);
    let long = files.file("long", &vec![b'a'; 1 << 16]);
    let [kernel, initrd, cmdline] = FILES.map(|name| with_flipped_bit(&files, &image, name));
    let genuine = || Page::Bytes(page_of(&image));
    let shim = item("etc/boot/shim", &program);
    let offered = |other: &[(&str, Option<&Path>)]| replaced(&files, &image, other);
    let halting = |kind, name, says, words| {
        Row::halting(kind, name, says, words)
            .offering_nothing()
            .with_page(genuine())
    };
    let rows = vec![
        Row::harmless("files", "the three as files", offered(&[]))
            .offering_nothing()
            .with_page(genuine()),
        Row::harmless("shim", "a shim beside what was measured", shim.clone()),
        Row::harmless(
            "shim",
            "a shim beside the three as files",
            [offered(&[]), shim.clone()].concat(),
        )
        .offering_nothing()
        .with_page(genuine()),
        halting("shim alone", "a shim and nothing else", "kernel", shim),
        halting(
            "flipped",
            "a bit of the kernel",
            "not what was measured: kernel",
            offered(&[("kernel", Some(&kernel))]),
        ),
        halting(
            "flipped",
            "a bit of the initrd",
            "not what was measured: initrd",
            offered(&[("initrd", Some(&initrd))]),
        ),
        halting(
            "flipped",
            "a bit of the command line",
            "not what was measured: command line",
            offered(&[("cmdline", Some(&cmdline))]),
        ),
        halting(
            "another kernel",
            "the host's",
            "not what was measured: kernel",
            offered(&[("kernel", Some(&program))]),
        ),
        halting(
            "another kernel",
            "the initrd",
            "not what was measured: kernel",
            offered(&[("kernel", Some(&image.file("initrd")))]),
        ),
        halting("missing", "all", "kernel", vec![]),
        halting(
            "missing",
            "the kernel",
            "kernel",
            offered(&[("kernel", None)]),
        ),
        halting(
            "missing",
            "the initrd",
            "initrd",
            offered(&[("initrd", None)]),
        ),
        halting(
            "missing",
            "the command line",
            "command line",
            offered(&[("cmdline", None)]),
        ),
        halting(
            "empty",
            "the kernel",
            "kernel",
            offered(&[("kernel", Some(&empty))]),
        ),
        halting(
            "empty",
            "the initrd",
            "initrd",
            offered(&[("initrd", Some(&empty))]),
        ),
        halting(
            "too large",
            "the kernel",
            "kernel",
            offered(&[("kernel", Some(&large))]),
        ),
        halting(
            "too large",
            "the initrd",
            "initrd",
            offered(&[("initrd", Some(&large))]),
        ),
        halting(
            "too large",
            "the command line",
            "command line",
            offered(&[("cmdline", Some(&long))]),
        ),
    ];
    check(&image, rows);
}

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_page_of_hashes_is_the_one_form_or_nothing_starts() {
    let image = Image::from_environment();
    let page = page_of(&image);
    let halting = |kind, name, page| Row::halting(kind, name, "", vec![]).with_page(page);
    let rows = vec![
        Row::harmless("order", "entries in another order", vec![]).with_page(changed(
            &page,
            |table| {
                let first = table[entry(0)].to_vec();
                table.copy_within(entry(2), entry(0).start);
                table[entry(2)].copy_from_slice(&first);
            },
        )),
        halting("none", "no page", Page::Missing),
        halting("bytes", "ones", Page::Bytes(vec![0xff; page.len()])),
        halting(
            "bytes",
            "another table",
            changed(&page, |table| table[0] ^= 1),
        ),
        halting(
            "names",
            "an entry twice",
            changed(&page, |table| table.copy_within(entry(0), entry(1).start)),
        ),
        halting(
            "names",
            "another name",
            changed(&page, |table| table[entry(1).start] ^= 1),
        ),
        halting(
            "lengths",
            "two entries",
            changed(&page, |table| {
                table.truncate(entry(2).start);
                set_length(table);
            }),
        ),
        halting(
            "lengths",
            "four entries",
            changed(&page, |table| {
                let last = table[entry(2)].to_vec();
                table.extend(last);
                set_length(table);
            }),
        ),
        halting(
            "lengths",
            "of the table",
            changed(&page, |table| table[GUID_BYTES] -= 1),
        ),
        halting(
            "lengths",
            "of an entry",
            changed(&page, |table| table[entry(2).start + GUID_BYTES] -= 1),
        ),
        halting(
            "hashes",
            "of another kernel",
            changed(&page, |table| table[entry(2).end - 1] ^= 1),
        ),
        halting(
            "hashes",
            "of another initrd",
            changed(&page, |table| table[entry(1).end - 1] ^= 1),
        ),
        halting(
            "hashes",
            "of another command line",
            changed(&page, |table| table[entry(0).end - 1] ^= 1),
        ),
    ];
    check(&image, rows);
}
