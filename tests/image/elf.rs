//! Reads program headers of a 64-bit little-endian program: elf(5).

const PROGRAM_HEADERS: usize = 0x20;
const PROGRAM_HEADER_BYTES: usize = 56;
const PROGRAM_HEADER_COUNT: usize = 0x38;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;

/// Returns what the kernel or an interpreter would load beside the program.
pub fn loads(program: &[u8]) -> Vec<&'static str> {
    assert_eq!(program[..6], *b"\x7fELF\x02\x01");
    let number = |at: usize, bytes: usize| {
        let mut number = [0; 8];
        number[..bytes].copy_from_slice(&program[at..at + bytes]);
        u64::from_le_bytes(number)
    };
    let start = number(PROGRAM_HEADERS, 8) as usize;
    let count = number(PROGRAM_HEADER_COUNT, 2) as usize;
    assert!(count > 0);
    let mut found = Vec::new();
    for header in (0..count).map(|header| start + header * PROGRAM_HEADER_BYTES) {
        match number(header, 4) {
            PT_INTERP => found.push("an interpreter"),
            PT_DYNAMIC => {
                let (place, size) = (
                    number(header + 8, 8) as usize,
                    number(header + 32, 8) as usize,
                );
                let tags = (place..place + size).step_by(16).map(|at| number(at, 8));
                found.extend(
                    tags.take_while(|tag| *tag != DT_NULL)
                        .filter(|tag| *tag == DT_NEEDED)
                        .map(|_| "a library"),
                );
            }
            _ => {}
        }
    }
    found
}
