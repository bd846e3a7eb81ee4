//! A program of the host: an EFI application that prints a line to the serial port and stops; as an
//! application, and as the option ROM of a PCI device (UEFI 2.10, section 14.4.2; PCI Firmware
//! Specification 3.3, section 5.1).

/// The line that the program prints.
pub const LINE: &str = "a program of the host runs";

const FILE_ALIGNMENT: usize = 0x200;
const SECTION_ADDRESS: u32 = 0x1000;
const OPTIONAL_HEADER_BYTES: u16 = 240;
const DATA_DIRECTORIES: u32 = 16;

/// x86-64 code that writes the bytes after it to port 0x3f8, up to a zero byte, then halts.
const CODE: [u8; 26] = [
    0x48, 0x8d, 0x35, 0x13, 0, 0, 0, // lea rsi, [rip + 0x13]
    0x8a, 0x06, // next: mov al, [rsi]
    0x84, 0xc0, // test al, al
    0x74, 0x0a, // jz end
    0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xee, // out dx, al
    0x48, 0xff, 0xc6, // inc rsi
    0xeb, 0xf0, // jmp next
    0xf4, // end: hlt
    0xeb, 0xfd, // jmp end
];

/// The subsystem of a program (Microsoft, PE Format, "Windows Subsystem"): one that is started and
/// returns, or a driver, which an option ROM has to be.
const APPLICATION: u16 = 10;
const BOOT_SERVICE_DRIVER: u16 = 11;

/// Returns the EFI application.
pub fn application() -> Vec<u8> {
    program(APPLICATION)
}

/// Returns a PE32+ image of one section (Microsoft, PE Format).
fn program(subsystem: u16) -> Vec<u8> {
    let text = padded([&CODE[..], format!("\r\n{LINE}\r\n\0").as_bytes()].concat());
    let size = text.len() as u32;
    let mut image = vec![0; 0x40];
    image[..2].copy_from_slice(b"MZ");
    image[0x3c] = 0x40;
    image.extend(b"PE\0\0");
    put16(&mut image, &[0x8664, 1]); // machine, sections
    put32(&mut image, &[0, 0, 0]); // time, symbols
    put16(&mut image, &[OPTIONAL_HEADER_BYTES, 0x0022]); // executable, large addresses
    put16(&mut image, &[0x20b, 0]); // PE32+
    put32(&mut image, &[size, 0, 0, SECTION_ADDRESS, SECTION_ADDRESS]); // code, data, no data, entry, base of code
    put64(&mut image, &[0]); // image base
    put32(&mut image, &[SECTION_ADDRESS, FILE_ALIGNMENT as u32]);
    put16(&mut image, &[0; 6]); // versions
    put32(
        &mut image,
        &[0, SECTION_ADDRESS + 0x1000, FILE_ALIGNMENT as u32, 0],
    ); // image, headers, checksum
    put16(&mut image, &[subsystem, 0]);
    put64(&mut image, &[0; 4]); // stack and heap
    put32(&mut image, &[0, DATA_DIRECTORIES]);
    put64(&mut image, &[0; DATA_DIRECTORIES as usize]);
    image.extend(b".text\0\0\0");
    put32(
        &mut image,
        &[
            size,
            SECTION_ADDRESS,
            size,
            FILE_ALIGNMENT as u32,
            0,
            0,
            0,
            0x6000_0020,
        ],
    );
    [padded(image), text].concat()
}

/// Returns the program, as a driver, in the ROM of a PCI device.
pub fn option_rom(vendor: u16, device: u16) -> Vec<u8> {
    const STRUCTURE: u16 = 0x1c;
    const IMAGE: u16 = FILE_ALIGNMENT as u16;
    let driver = program(BOOT_SERVICE_DRIVER);
    let blocks = ((usize::from(IMAGE) + driver.len()) / FILE_ALIGNMENT) as u16;
    let mut rom = Vec::new();
    put16(&mut rom, &[0xaa55, blocks]);
    put32(&mut rom, &[0x0ef1]); // an EFI image follows
    put16(&mut rom, &[BOOT_SERVICE_DRIVER, 0x8664, 0]); // machine, not compressed
    rom.resize(0x16, 0);
    put16(&mut rom, &[IMAGE, STRUCTURE]);
    rom.resize(usize::from(STRUCTURE), 0);
    rom.extend(b"PCIR");
    put16(&mut rom, &[vendor, device, 0, 0x18]);
    rom.extend([3, 0, 0, 2]); // revision, class: network
    put16(&mut rom, &[blocks, 1]);
    rom.extend([3, 0x80, 0, 0]); // EFI, the last image
    [padded(rom), driver].concat()
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(FILE_ALIGNMENT), 0);
    bytes
}

fn put16(to: &mut Vec<u8>, values: &[u16]) {
    to.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn put32(to: &mut Vec<u8>, values: &[u32]) {
    to.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn put64(to: &mut Vec<u8>, values: &[u64]) {
    to.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}
