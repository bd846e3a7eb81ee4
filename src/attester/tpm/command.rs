//! The four commands of a TPM 2.0 that evidence needs (TCG, "TPM 2.0 Library", parts 2 and 3).
//!
//! * In: a channel to the TPM, which this process has alone.
//! * Out: the content of an NV index, registers, a quote.
//! * Never: a response that is longer or shorter than it says, or a byte of it that was not
//!   expected.
//!
//! A command is a tag, its size, a code, handles, authorisations if the tag says so, parameters; a
//! response is a tag, its size, a code, and then what the command returns. Numbers are big-endian.

use std::fs::File;
use std::io::{self, Read as _, Write as _};

use super::TpmError;

/// The largest response, in bytes: what the kernel's driver passes (`TPM_BUFSIZE`).
const MAX_RESPONSE_BYTES: usize = 4096;
/// The most bytes of an NV index that one command reads; TPMs have a limit of their own, at least
/// this (`TPM_PT_NV_BUFFER_MAX`).
const NV_CHUNK_BYTES: u16 = 512;
/// The number of registers of a bank.
pub const REGISTERS: usize = 24;
/// The bytes of one register of SHA-256.
pub const REGISTER_BYTES: usize = 32;
/// The longest data that a quote is about, in bytes: Azure's TPM takes no more, others do.
pub const MAX_EXTRA_DATA_BYTES: usize = 50;
/// How many registers one command returns at most (`TPML_DIGEST`).
const REGISTERS_AT_ONCE: usize = 8;

// Tags, codes, handles and algorithms (part 2, sections 6.3, 6.5.2, 6.9, 7.4).
const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
const NV_READ: u32 = 0x14e;
const QUOTE: u32 = 0x158;
const NV_READ_PUBLIC: u32 = 0x169;
const PCR_READ: u32 = 0x17e;
const OWNER: u32 = 0x4000_0001;
const PASSWORD: u32 = 0x4000_0009;
const ALG_SHA256: u16 = 0x000b;
const ALG_NULL: u16 = 0x0010;
const ALG_RSASSA: u16 = 0x0014;
/// The response to a handle that names nothing, as the first handle of a command
/// (`TPM_RC_HANDLE`, part 2, section 6.6.3).
const NO_SUCH_HANDLE: u32 = 0x18b;
/// Responses of a TPM that wants to be asked again (`TPM_RC_YIELDED`, `_TESTING`, `_RETRY`).
const BUSY: [u32; 3] = [0x908, 0x90a, 0x922];

/// Passes one command to a TPM, and its response back.
pub trait Channel: Send {
    /// Sends a command, and waits for its response.
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>>;
}

impl Channel for File {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.write_all(command)?;
        let mut response = vec![0; MAX_RESPONSE_BYTES];
        let size = self.read(&mut response)?;
        response.truncate(size);
        Ok(response)
    }
}

/// The registers of SHA-256, from 0 on.
pub type Registers = [[u8; REGISTER_BYTES]; REGISTERS];

/// A signed quote over all registers.
pub struct Quote {
    /// The signed bytes, a `TPMS_ATTEST`.
    pub message: Vec<u8>,
    /// The signature by RSASSA with SHA-256, 256 bytes for a key of 2,048 bits.
    pub signature: Vec<u8>,
}

/// Returns the content of an NV index that whoever owns the TPM may read; none if there is no such
/// index.
///
/// # Errors
/// The TPM refuses, or its response is malformed.
pub fn read_index(channel: &mut dyn Channel, index: u32) -> Result<Option<Vec<u8>>, TpmError> {
    let Some(size) = index_size(channel, index)? else {
        return Ok(None);
    };
    let mut content = Vec::with_capacity(size.into());
    while content.len() < usize::from(size) {
        let offset = content.len() as u16;
        let length = NV_CHUNK_BYTES.min(size - offset);
        let parameters = [length.to_be_bytes(), offset.to_be_bytes()].concat();
        let response = run(channel, NV_READ, &[OWNER, index], true, &parameters)?;
        let mut rest = Rest(&response);
        let part = rest.sized()?;
        rest.end()?;
        if part.len() != usize::from(length) {
            return Err(TpmError::Malformed("the part of an index"));
        }
        content.extend_from_slice(part);
    }
    Ok(Some(content))
}

/// Returns the size of an NV index, in bytes; none if there is no such index.
///
/// # Errors
/// The TPM refuses, or its response is malformed.
pub fn index_size(channel: &mut dyn Channel, index: u32) -> Result<Option<u16>, TpmError> {
    let response = match run(channel, NV_READ_PUBLIC, &[index], false, &[]) {
        Err(TpmError::Refused {
            code: NO_SUCH_HANDLE,
            ..
        }) => return Ok(None),
        response => response?,
    };
    let mut public = Rest(Rest(&response).sized()?);
    // The index, the algorithm of its name, its attributes, its policy.
    public.take(10)?;
    public.sized()?;
    public.u16().map(Some)
}

/// Returns all registers.
///
/// # Errors
/// The TPM refuses, its response is malformed, or it has no bank of SHA-256.
pub fn read_registers(channel: &mut dyn Channel) -> Result<Registers, TpmError> {
    let mut registers = [[0; REGISTER_BYTES]; REGISTERS];
    for (number, chunk) in registers.chunks_mut(REGISTERS_AT_ONCE).enumerate() {
        let mut wanted = [0; 3];
        wanted[number] = 0xff;
        let response = run(channel, PCR_READ, &[], false, &selection(wanted))?;
        let mut rest = Rest(&response);
        // How often registers were changed.
        rest.u32()?;
        rest.expect(&selection(wanted), "the selection of registers")?;
        rest.expect(
            &(chunk.len() as u32).to_be_bytes(),
            "the number of registers",
        )?;
        for register in chunk {
            let value = rest.sized()?;
            *register = value
                .try_into()
                .map_err(|_| TpmError::Malformed("the size of a register"))?;
        }
        rest.end()?;
    }
    Ok(registers)
}

/// Returns a quote over all registers and the caller's data, signed by a key of the TPM in its own
/// scheme, RSASSA with SHA-256.
///
/// # Errors
/// The data is too long, the TPM refuses, its response is malformed, or the key has another scheme.
pub fn quote(channel: &mut dyn Channel, key: u32, data: &[u8]) -> Result<Quote, TpmError> {
    if data.len() > MAX_EXTRA_DATA_BYTES {
        let size = data.len();
        return Err(TpmError::ExtraData { size });
    }
    let parameters = [
        &(data.len() as u16).to_be_bytes()[..],
        data,
        &ALG_NULL.to_be_bytes(),
        &selection([0xff; 3]),
    ]
    .concat();
    let response = run(channel, QUOTE, &[key], true, &parameters)?;
    let mut rest = Rest(&response);
    let message = rest.sized()?.to_vec();
    rest.expect(&ALG_RSASSA.to_be_bytes(), "the scheme of the key")?;
    rest.expect(&ALG_SHA256.to_be_bytes(), "the digest of the signature")?;
    let signature = rest.sized()?.to_vec();
    rest.end()?;
    Ok(Quote { message, signature })
}

/// Returns the caller's data in a quote: after magic, type and the signer's name (part 2, section
/// 10.12.12).
///
/// # Errors
/// The message ends before.
pub fn extra_data(message: &[u8]) -> Result<&[u8], TpmError> {
    let mut rest = Rest(message);
    rest.take(6)?;
    rest.sized()?;
    rest.sized()
}

/// Returns a list of one bank, with the registers of a bit mask.
fn selection(registers: [u8; 3]) -> Vec<u8> {
    [
        &1_u32.to_be_bytes()[..],
        &ALG_SHA256.to_be_bytes(),
        &[3],
        &registers,
    ]
    .concat()
}

/// Runs a command, whose first handle is authorised by an empty password where that is needed.
/// Returns the parameters of the response.
fn run(
    channel: &mut dyn Channel,
    code: u32,
    handles: &[u32],
    is_authorised: bool,
    parameters: &[u8],
) -> Result<Vec<u8>, TpmError> {
    let tag = if is_authorised { SESSIONS } else { NO_SESSIONS };
    let mut body: Vec<u8> = handles
        .iter()
        .flat_map(|handle| handle.to_be_bytes())
        .collect();
    if is_authorised {
        // The size of what follows; a session, no nonce, no attributes, an empty password.
        body.extend(9_u32.to_be_bytes());
        body.extend(PASSWORD.to_be_bytes());
        body.extend([0; 5]);
    }
    body.extend_from_slice(parameters);
    let size = 10 + body.len() as u32;
    let mut command = tag.to_be_bytes().to_vec();
    command.extend(size.to_be_bytes());
    command.extend(code.to_be_bytes());
    command.extend(body);

    let response = channel.exchange(&command).map_err(TpmError::Io)?;
    let mut rest = Rest(&response);
    let (tag_back, size, answer) = (rest.u16()?, rest.u32()?, rest.u32()?);
    if size as usize != response.len() {
        return Err(TpmError::Malformed("the size of a response"));
    }
    match answer {
        0 if tag_back != tag => Err(TpmError::Malformed("the tag of a response")),
        0 if is_authorised => {
            let length = rest.u32()? as usize;
            Ok(rest.take(length)?.to_vec())
        }
        0 => Ok(rest.0.to_vec()),
        answer if BUSY.contains(&answer) => Err(TpmError::Busy),
        answer => Err(TpmError::Refused {
            command: code,
            code: answer,
        }),
    }
}

/// What was not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, size: usize) -> Result<&'a [u8], TpmError> {
        let ends = TpmError::Malformed("the length of a response");
        let (taken, rest) = self.0.split_at_checked(size).ok_or(ends)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number<const BYTES: usize>(&mut self) -> Result<[u8; BYTES], TpmError> {
        let taken = self.take(BYTES)?;
        taken
            .try_into()
            .map_err(|_| TpmError::Malformed("the length of a response"))
    }

    fn u16(&mut self) -> Result<u16, TpmError> {
        self.number().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, TpmError> {
        self.number().map(u32::from_be_bytes)
    }

    /// Takes bytes with their number in front.
    fn sized(&mut self) -> Result<&'a [u8], TpmError> {
        let size = self.u16()?;
        self.take(size.into())
    }

    fn expect(&mut self, expected: &[u8], what: &'static str) -> Result<(), TpmError> {
        if self.take(expected.len())? != expected {
            return Err(TpmError::Malformed(what));
        }
        Ok(())
    }

    fn end(&self) -> Result<(), TpmError> {
        if !self.0.is_empty() {
            return Err(TpmError::Malformed("the length of a response"));
        }
        Ok(())
    }
}
