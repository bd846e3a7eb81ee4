//! Any text as the kernel's command line.

use kettle::boot::Parameters;

/// An accepted command line has each word once, and is accepted again as it was measured.
pub fn target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(parameters) = Parameters::parse(text) else {
        return;
    };
    let measured = &parameters.command_line;
    assert!(
        measured.starts_with("kettle.begin ") && measured.ends_with(" kettle.end"),
        "{measured:?}"
    );
    let (before, after) = text
        .split_once(measured)
        .expect("what was measured is a part of it");
    assert!(
        ["", "initrd=initrd "].contains(&before)
            && ["", " initrd=initrd"].contains(&after.trim_end())
    );
    assert!(parameters.root_blocks > 0 && parameters.root_blocks <= u64::MAX / 4096);
    for (name, value) in [
        ("roothash", parameters.root_hash),
        ("kernel", parameters.kernel),
        ("initrd", parameters.initrd),
    ] {
        let digits: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        let word = format!("kettle.{name}={digits}");
        assert_eq!(
            text.trim_end()
                .split(' ')
                .filter(|found| *found == word)
                .count(),
            1,
            "{name}"
        );
    }
}
