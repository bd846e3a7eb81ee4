//! Any text as the kernel's command line.

use kettle::boot::Parameters;

/// What is accepted says everything once, and is accepted again as it was measured.
pub fn target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(parameters) = Parameters::parse(text) else { return };
    assert!(text.starts_with(&parameters.command_line));
    assert!(parameters.root_blocks > 0 && parameters.root_blocks <= u64::MAX / 4096);
    for (name, value) in
        [("roothash", parameters.root_hash), ("kernel", parameters.kernel), ("initrd", parameters.initrd)]
    {
        let digits: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        let word = format!("kettle.{name}={digits}");
        assert_eq!(text.trim_end().split(' ').filter(|found| *found == word).count(), 1, "{name}");
    }
}
