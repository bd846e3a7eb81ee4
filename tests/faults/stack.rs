//! The callers of a system call. In: a static x86_64 binary, then registers and a stack of a
//! process that runs it. Out: return addresses, innermost first. Never: a guess; where the binary's
//! own unwind tables end, the stack ends.
//!
//! The tables are those of `.eh_frame` (System V ABI, AMD64 supplement, section 4.2.4; DWARF 5,
//! section 6.4): they exist without frame pointers, in the C library too, and are the same in every
//! run.

use std::ops::Range;

/// DWARF's numbers of the registers that matter here, and of the return address.
const RBX: usize = 3;
const RBP: usize = 6;
const RSP: usize = 7;
const RETURN: usize = 16;
const REGISTERS: usize = 17;
/// Deeper than any stack here; it ends a table that goes in circles.
const MAX_FRAMES: usize = 256;
/// Parts of the names of our own functions, in both of the compiler's manglings.
const OWN: [&[u8]; 3] = [b"6kettle", b"11kettle_host", b"kettle.."];

/// The known registers of a frame.
pub type Registers = [Option<u64>; REGISTERS];

/// Returns the registers of a thread at a system call. `callee_saved` are rbx, rbp, r12, r13, r14,
/// r15.
pub fn registers(instruction: u64, stack: u64, callee_saved: [u64; 6]) -> Registers {
    let mut all = [None; REGISTERS];
    (all[RETURN], all[RSP]) = (Some(instruction), Some(stack));
    for (number, value) in [RBX, RBP, 12, 13, 14, 15].into_iter().zip(callee_saved) {
        all[number] = Some(value);
    }
    all
}

/// The unwind tables and function names of a binary. Addresses are as in the file.
pub struct Image {
    bytes: Vec<u8>,
    pub entry: u64,
    frames: Vec<Description>,
    own: Vec<Range<u64>>,
}

struct Description {
    code: Range<u64>,
    common: Common,
    program: Range<usize>,
}

/// The content of a common information entry.
#[derive(Clone)]
struct Common {
    code_factor: u64,
    data_factor: i64,
    program: Range<usize>,
    has_augmentation: bool,
    pointers: u8,
}

#[derive(Clone, Copy)]
enum Rule {
    Same,
    At(i64),
    Unknown,
}

#[derive(Clone)]
struct Row {
    frame: Option<(usize, i64)>,
    rules: [Rule; REGISTERS],
}

impl Image {
    pub fn read(bytes: Vec<u8>) -> Self {
        let sections = sections(&bytes);
        let find = |name: &str| {
            sections
                .iter()
                .find(|it| it.name == name)
                .unwrap_or_else(|| panic!("no {name}"))
                .clone()
        };
        let mut frames = descriptions(&bytes, &find(".eh_frame"));
        frames.sort_by_key(|frame| frame.code.start);
        let mut own = functions(&bytes, &find(".symtab"), &find(".strtab"));
        own.sort_by_key(|code| code.start);
        Self {
            entry: Reader::at(&bytes, 24).number(8),
            bytes,
            frames,
            own,
        }
    }

    /// Returns the return addresses, from `registers` outwards; the first is the place of the call
    /// itself. All are relative to `base`.
    pub fn unwind(
        &self,
        mut registers: Registers,
        base: u64,
        mut word: impl FnMut(u64) -> Option<u64>,
    ) -> Vec<u64> {
        let mut found = Vec::new();
        while let Some(address) = registers[RETURN].filter(|_| found.len() < MAX_FRAMES) {
            let address = address.wrapping_sub(base);
            // A call can be the last instruction of its function: what is looked up is the call,
            // not what follows.
            let Some(row) = self.row(address.wrapping_sub(1)) else {
                break;
            };
            found.push(address);
            let Some((register, offset)) = row.frame else {
                break;
            };
            let Some(frame) = registers[register].map(|value| value.wrapping_add_signed(offset))
            else {
                break;
            };
            let mut outer = registers;
            outer[RSP] = Some(frame);
            for (number, rule) in row
                .rules
                .iter()
                .enumerate()
                .filter(|(number, _)| *number != RSP)
            {
                match rule {
                    Rule::Same if number != RETURN => {}
                    Rule::At(offset) => outer[number] = word(frame.wrapping_add_signed(*offset)),
                    Rule::Same | Rule::Unknown => outer[number] = None,
                }
            }
            registers = outer;
        }
        found
    }

    /// Returns whether a call at this address is in one of our own functions.
    pub fn is_own(&self, address: u64) -> bool {
        let at = self.own.partition_point(|code| code.start < address);
        at.checked_sub(1)
            .is_some_and(|at| self.own[at].contains(&(address - 1)))
    }

    /// Returns how to unwind the frame of the instruction at `address`.
    fn row(&self, address: u64) -> Option<Row> {
        let at = self
            .frames
            .partition_point(|frame| frame.code.start <= address)
            .checked_sub(1)?;
        let frame = self
            .frames
            .get(at)
            .filter(|frame| frame.code.contains(&address))?;
        let mut row = Row {
            frame: None,
            rules: [Rule::Same; REGISTERS],
        };
        let mut reader = Reader::at(&self.bytes, frame.common.program.start);
        run(
            &mut reader,
            frame.common.program.end,
            &frame.common,
            None,
            &mut row,
            &mut 0,
            u64::MAX,
        )?;
        let initial = row.clone();
        let mut reader = Reader::at(&self.bytes, frame.program.start);
        let mut reached = frame.code.start;
        run(
            &mut reader,
            frame.program.end,
            &frame.common,
            Some(&initial),
            &mut row,
            &mut reached,
            address,
        )?;
        Some(row)
    }
}

/// Runs a program of unwind instructions up to `address`; none where it has an instruction that we
/// do not read.
fn run(
    reader: &mut Reader<'_>,
    end: usize,
    common: &Common,
    initial: Option<&Row>,
    row: &mut Row,
    reached: &mut u64,
    address: u64,
) -> Option<()> {
    let mut remembered = Vec::new();
    while reader.at < end {
        let byte = reader.byte();
        let low = usize::from(byte & 0x3f);
        let mut set = |register: usize, rule| {
            if let Some(place) = row.rules.get_mut(register) {
                *place = rule;
            }
        };
        let mut advance = |steps: u64| {
            *reached += steps * common.code_factor;
            *reached > address
        };
        let stop = match (byte >> 6, byte) {
            (1, _) => advance(low as u64),
            (2, _) => {
                set(low, Rule::At(reader.unsigned() as i64 * common.data_factor));
                false
            }
            (3, _) => {
                set(low, *initial?.rules.get(low)?);
                false
            }
            (_, 0x02) => advance(reader.number(1)),
            (_, 0x03) => advance(reader.number(2)),
            (_, 0x04) => advance(reader.number(4)),
            (_, code) => {
                match code {
                    0x00 => {}
                    0x05 => {
                        let register = reader.unsigned() as usize;
                        set(
                            register,
                            Rule::At(reader.unsigned() as i64 * common.data_factor),
                        );
                    }
                    0x06 => {
                        let register = reader.unsigned() as usize;
                        set(register, *initial?.rules.get(register)?);
                    }
                    0x07 => set(reader.unsigned() as usize, Rule::Unknown),
                    0x08 => set(reader.unsigned() as usize, Rule::Same),
                    0x0a => remembered.push(row.clone()),
                    0x0b => *row = remembered.pop()?,
                    0x0c => row.frame = Some((reader.register()?, reader.unsigned() as i64)),
                    0x0d => row.frame = Some((reader.register()?, row.frame?.1)),
                    0x0e => row.frame = Some((row.frame?.0, reader.unsigned() as i64)),
                    0x2e => drop(reader.unsigned()),
                    // Expressions and the rest: only signal trampolines and the procedure linkage
                    // table have them.
                    _ => return None,
                }
                false
            }
        };
        if stop {
            break;
        }
    }
    Some(())
}

#[derive(Clone)]
struct Section {
    name: String,
    address: u64,
    bytes: Range<usize>,
}

/// Returns the sections of an ELF file with 64 bits: the section headers' offset is at 40, their
/// size, number and names' index from 58 on.
fn sections(bytes: &[u8]) -> Vec<Section> {
    assert_eq!(bytes[..6], *b"\x7fELF\x02\x01", "no ELF file of 64 bits");
    let table = Reader::at(bytes, 40).number(8) as usize;
    let mut sizes = Reader::at(bytes, 58);
    let (size, count, names) = (
        sizes.number(2) as usize,
        sizes.number(2) as usize,
        sizes.number(2) as usize,
    );
    let header = |index: usize| {
        let mut header = Reader::at(bytes, table + index * size);
        let name = header.number(4) as usize;
        header.at += 12;
        let (address, start, length) = (
            header.number(8),
            header.number(8) as usize,
            header.number(8) as usize,
        );
        (name, address, start..start + length)
    };
    let names = header(names).2.start;
    let section = |index| {
        let (name, address, bytes_) = header(index);
        Section {
            name: String::from_utf8_lossy(text(bytes, names + name)).into_owned(),
            address,
            bytes: bytes_,
        }
    };
    (0..count).map(section).collect()
}

/// Returns the code range of every function of our own.
fn functions(bytes: &[u8], symbols: &Section, names: &Section) -> Vec<Range<u64>> {
    const SYMBOL_BYTES: usize = 24;
    let own = |at| {
        let mut symbol = Reader::at(bytes, at);
        let name = text(bytes, names.bytes.start + symbol.number(4) as usize);
        symbol.at += 4;
        let (start, size) = (symbol.number(8), symbol.number(8));
        let is_own = OWN
            .iter()
            .any(|part| name.windows(part.len()).any(|window| window == *part));
        (is_own && size > 0).then_some(start..start + size)
    };
    symbols
        .bytes
        .clone()
        .step_by(SYMBOL_BYTES)
        .filter_map(own)
        .collect()
}

/// Returns every frame description of `.eh_frame`.
fn descriptions(bytes: &[u8], section: &Section) -> Vec<Description> {
    let mut found = Vec::new();
    let address = |at: usize| section.address + (at - section.bytes.start) as u64;
    let mut at = section.bytes.start;
    while at + 4 <= section.bytes.end {
        let mut reader = Reader::at(bytes, at);
        let length = reader.number(4) as usize;
        if length == 0 {
            break;
        }
        let (end, pointer) = (reader.at + length, reader.at);
        let back = reader.number(4) as usize;
        at = end;
        if back == 0 {
            continue;
        }
        let Some(common) = common(bytes, pointer - back) else {
            continue;
        };
        let place = reader.at;
        // Relative to its own address, signed, four bytes, as compilers for this machine write it.
        assert_eq!(
            common.pointers, 0x1b,
            "an encoding of pointers that is not read here"
        );
        let start = address(place).wrapping_add_signed(i64::from(reader.number(4) as i32));
        let size = reader.number(4);
        if common.has_augmentation {
            let skipped = reader.unsigned() as usize;
            reader.at += skipped;
        }
        found.push(Description {
            code: start..start + size,
            common,
            program: reader.at..end,
        });
    }
    found
}

fn common(bytes: &[u8], at: usize) -> Option<Common> {
    let mut reader = Reader::at(bytes, at);
    let length = reader.number(4) as usize;
    let end = reader.at + length;
    if reader.number(4) != 0 {
        return None;
    }
    let version = reader.byte();
    let augmentation = text(bytes, reader.at).to_vec();
    reader.at += augmentation.len() + 1;
    let (code_factor, data_factor) = (reader.unsigned(), reader.signed());
    let _return = if version == 1 {
        u64::from(reader.byte())
    } else {
        reader.unsigned()
    };
    let (mut pointers, has_augmentation) = (0, augmentation.first() == Some(&b'z'));
    if has_augmentation {
        let size = reader.unsigned() as usize;
        let after = reader.at + size;
        for letter in &augmentation[1..] {
            match letter {
                b'R' => pointers = reader.byte(),
                b'L' => drop(reader.byte()),
                b'P' => {
                    let encoding = reader.byte();
                    reader.at += if encoding & 7 == 4 || encoding & 7 == 0 {
                        8
                    } else {
                        4
                    };
                }
                // A signal's frame: none of our functions is beyond it.
                _ => return None,
            }
        }
        reader.at = after;
    }
    Some(Common {
        code_factor,
        data_factor,
        program: reader.at..end,
        has_augmentation,
        pointers,
    })
}

/// Returns the bytes up to the next zero.
fn text(bytes: &[u8], at: usize) -> &[u8] {
    bytes[at..]
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default()
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    fn byte(&mut self) -> u8 {
        self.at += 1;
        self.bytes[self.at - 1]
    }

    fn number(&mut self, size: usize) -> u64 {
        (0..size).fold(0, |number, index| {
            number | u64::from(self.byte()) << (8 * index)
        })
    }

    fn register(&mut self) -> Option<usize> {
        Some(self.unsigned() as usize).filter(|number| *number < REGISTERS)
    }

    /// Reads an unsigned LEB128 number (DWARF 5, section 7.6).
    fn unsigned(&mut self) -> u64 {
        self.leb().0
    }

    fn signed(&mut self) -> i64 {
        let (value, bits, last) = self.leb();
        if last & 0x40 != 0 && bits < 64 {
            (value | u64::MAX << bits) as i64
        } else {
            value as i64
        }
    }

    fn leb(&mut self) -> (u64, u32, u8) {
        let (mut value, mut bits) = (0, 0);
        loop {
            let byte = self.byte();
            value |= u64::from(byte & 0x7f).checked_shl(bits).unwrap_or(0);
            bits += 7;
            if byte & 0x80 == 0 {
                return (value, bits, byte);
            }
        }
    }
}
