//! What is in the ROM? The listed modules, the sections of memory that a launch measures, and
//! programs whose code is not writable.

use std::fs;

use crate::launch::{image, rom};
use crate::rom::{EXECUTABLE, Program, Section, WRITABLE};

const MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/image/firmware/modules");

const PAGE: u32 = 4096;
const ROM_BYTES: usize = 196_608;

const DXE_CORE: u8 = 5;
const DRIVER: u8 = 7;
const BOOT_DRIVER_SUBSYSTEM: u16 = 11;

/// Kinds of sections of memory, as the reset vector numbers them.
const SEC_MEM: u32 = 1;
const SECRETS: u32 = 2;
const CPUID: u32 = 3;
const CALLING_AREA: u32 = 4;
const KERNEL_HASHES: u32 = 16;

/// Directories of a build, and names that linkers add. File names without directories are allowed:
/// assertions contain them.
const TRACES_OF_A_BUILD: [&[u8]; 4] = [b"/build", b"edk2", b"Pkg/", b".dll"];

/// Returns the drivers and the core that loads them, which run with the firmware's own page tables.
fn drivers() -> Vec<Program> {
    let all = rom().programs();
    let drivers: Vec<_> = all
        .into_iter()
        .filter(|program| [DXE_CORE, DRIVER].contains(&program.file_kind))
        .collect();
    assert!(!drivers.is_empty());
    drivers
}

#[test]
#[ignore = "needs a built image"]
fn has_the_listed_modules() {
    let built = fs::read_to_string(image().join("firmware.modules")).unwrap();
    let listed = fs::read_to_string(MODULES).unwrap();
    let entries: Vec<_> = listed
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    assert_eq!(built.lines().collect::<Vec<_>>(), entries);
    // All of them are programs in the ROM, but the reset vector.
    assert_eq!(rom().programs().len(), entries.len() - 1);
}

#[test]
#[ignore = "needs a built image"]
fn has_the_sections_of_memory_that_a_launch_measures() {
    let rom = rom();
    assert_eq!(rom.0.len(), ROM_BYTES);
    let section = |base, bytes, kind| Section { base, bytes, kind };
    let expected = vec![
        section(0x80_0000, 0x9000, SEC_MEM),
        section(0x80_A000, 0x3000, SEC_MEM),
        section(0x80_D000, 0x1000, SECRETS),
        section(0x80_E000, 0x1000, CPUID),
        section(0x80_F000, 0x1000, CALLING_AREA),
        section(0x81_1000, 0x1_F000, SEC_MEM),
        section(0x81_0000, 0x1000, KERNEL_HASHES),
    ];
    assert_eq!(rom.sev_metadata(), expected);
    assert_eq!(rom.hash_area(), (0x81_0C00, 0x400));
}

#[test]
#[ignore = "needs a built image"]
fn has_no_program_with_writable_code() {
    for program in drivers() {
        let name = &program.guid;
        assert!(
            program.section_alignment() >= PAGE,
            "{name}: sections share pages"
        );
        let sections = program.sections();
        assert!(
            sections
                .iter()
                .any(|section| section.characteristics & EXECUTABLE != 0),
            "{name}: no code"
        );
        for section in sections {
            assert_eq!(
                section.address % PAGE,
                0,
                "{name}: a section begins inside a page"
            );
            let both = EXECUTABLE | WRITABLE;
            assert_ne!(
                section.characteristics & both,
                both,
                "{name}: code is writable"
            );
        }
    }
}

#[test]
#[ignore = "needs a built image"]
fn leaves_no_program_in_memory_for_the_kernel() {
    for program in drivers() {
        assert_eq!(
            program.subsystem(),
            BOOT_DRIVER_SUBSYSTEM,
            "{}",
            program.guid
        );
    }
}

#[test]
#[ignore = "needs a built image"]
fn says_nothing_about_the_machine_that_built_it() {
    let rom = rom();
    for program in rom.programs() {
        assert_eq!(program.time(), 0, "{}", program.guid);
    }
    for volume in rom.volumes() {
        for trace in TRACES_OF_A_BUILD {
            let found = volume.windows(trace.len()).any(|window| window == trace);
            assert!(!found, "{}", String::from_utf8_lossy(trace));
        }
    }
}
