//! The host's certificate table. Comes in: the bytes that the host wrote. Goes out: the certificates that we know, as DER.
//! Never: a byte from outside the table, or a certificate that somebody could believe because it was in it.
//!
//! GHCB specification revision 2.04, SNP extended guest request. Entries, then what they point at:
//!
//! | bytes of an entry | content |
//! |---|---|
//! | 0–15 | GUID of the kind, in RFC 4122 byte order |
//! | 16–19 | offset from the start of the table, little-endian |
//! | 20–23 | length, little-endian |
//!
//! An entry of zeros is the last. Hosts hand over DER or PEM; kinds that we do not know are passed over.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Largest table, in bytes: what the guest's kernel takes from a host (`SEV_FW_BLOB_MAX_SIZE`, linux/psp-sev.h).
pub const MAX_TABLE_BYTES: usize = 16 << 10;
/// Most entries: five kinds are specified.
pub const MAX_TABLE_ENTRIES: usize = 16;
/// Largest certificate, in bytes, as the host hands it over: AMD's have under 2 KiB in DER, a third more in PEM.
pub const MAX_CERTIFICATE_BYTES: usize = 8 << 10;

const ENTRY_BYTES: usize = 24;
const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";

/// A kind that we know, with its GUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Vcek,
    Vlek,
    Ask,
    Ark,
}

/// 63da758d-e664-4564-adc5-f4b93be8accd, a8074bc2-a25a-483e-aae6-39c045a0b8a1, 4ab7b379-bbac-4fe4-a02f-05aef327c782,
/// c0b406a4-a803-4952-9743-3fb6014cd0ae
const KINDS: [(u128, Kind); 4] = [
    (0x63da758d_e664_4564_adc5_f4b93be8accd, Kind::Vcek),
    (0xa8074bc2_a25a_483e_aae6_39c045a0b8a1, Kind::Vlek),
    (0x4ab7b379_bbac_4fe4_a02f_05aef327c782, Kind::Ask),
    (0xc0b406a4_a803_4952_9743_3fb6014cd0ae, Kind::Ark),
];

/// What the host handed over, DER. Nobody has looked into it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificates {
    /// VCEK, or the VLEK where there is none.
    pub vcek: Option<Vec<u8>>,
    /// ASK, or ASVK.
    pub ask: Option<Vec<u8>>,
    /// ARK.
    pub ark: Option<Vec<u8>>,
}

/// What is wrong with a table.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TableError {
    /// It is larger than the kernel's limit.
    #[error("it has {size} bytes, the limit is {limit}")]
    Size {
        /// [`MAX_TABLE_BYTES`].
        limit: usize,
        /// Bytes that there are.
        size: usize,
    },
    /// No entry is the last.
    #[error("it has no end within {limit} entries")]
    NoEnd {
        /// [`MAX_TABLE_ENTRIES`], or fewer where the table is shorter.
        limit: usize,
    },
    /// An entry points out of the table, or into the entries.
    #[error("entry {entry} points at {offset} to {end}, outside of {from} to {to}")]
    Outside {
        /// Which.
        entry: usize,
        /// Its first byte.
        offset: u64,
        /// The byte after its last.
        end: u64,
        /// Where data begins.
        from: usize,
        /// Where the table ends.
        to: usize,
    },
    /// A certificate is too large.
    #[error("entry {entry} has {size} bytes, the limit is {limit}")]
    CertificateSize {
        /// Which.
        entry: usize,
        /// [`MAX_CERTIFICATE_BYTES`].
        limit: usize,
        /// Bytes that it has.
        size: usize,
    },
    /// A kind is there twice.
    #[error("entry {entry} is of a kind that was there before")]
    Repeated {
        /// The second of its kind.
        entry: usize,
    },
    /// It is neither one PEM certificate nor a DER sequence.
    #[error("entry {entry} is no certificate, DER or PEM")]
    Encoding {
        /// Which.
        entry: usize,
    },
}

impl Certificates {
    /// Reads a table.
    ///
    /// # Errors
    /// The table is broken, or over a limit.
    pub fn read(table: &[u8]) -> Result<Self, TableError> {
        if table.len() > MAX_TABLE_BYTES {
            return Err(TableError::Size {
                limit: MAX_TABLE_BYTES,
                size: table.len(),
            });
        }
        let entries = entries(table)?;
        let from = (entries.len() + 1) * ENTRY_BYTES;
        let mut found: [Option<Vec<u8>>; KINDS.len()] = Default::default();
        for (number, entry) in entries.into_iter().enumerate() {
            let content = entry.content(number, table, from)?;
            let Some(place) = KINDS.iter().position(|(guid, _)| *guid == entry.guid) else {
                continue;
            };
            let certificate = der(number, content)?;
            if found[place].replace(certificate).is_some() {
                return Err(TableError::Repeated { entry: number });
            }
        }
        let [vcek, vlek, ask, ark] = found;
        Ok(Self {
            vcek: vcek.or(vlek),
            ask,
            ark,
        })
    }

    /// Whether the host handed nothing over.
    pub fn is_empty(&self) -> bool {
        self.vcek.is_none() && self.ask.is_none() && self.ark.is_none()
    }
}

struct Entry {
    guid: u128,
    offset: u32,
    length: u32,
}

impl Entry {
    fn read(bytes: &[u8; ENTRY_BYTES]) -> Option<Self> {
        let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        let guid = u128::from_be_bytes(std::array::from_fn(|index| bytes[index]));
        (*bytes != [0; ENTRY_BYTES]).then(|| Self {
            guid,
            offset: number(16),
            length: number(20),
        })
    }

    fn content<'a>(
        &self,
        entry: usize,
        table: &'a [u8],
        from: usize,
    ) -> Result<&'a [u8], TableError> {
        let (offset, end) = (
            u64::from(self.offset),
            u64::from(self.offset) + u64::from(self.length),
        );
        let outside = TableError::Outside {
            entry,
            offset,
            end,
            from,
            to: table.len(),
        };
        let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
        let content = range
            .filter(|(start, _)| *start >= from)
            .and_then(|(start, end)| table.get(start..end));
        match content {
            None => Err(outside),
            Some(content) if content.len() > MAX_CERTIFICATE_BYTES => {
                Err(TableError::CertificateSize {
                    entry,
                    limit: MAX_CERTIFICATE_BYTES,
                    size: content.len(),
                })
            }
            Some(content) => Ok(content),
        }
    }
}

/// The entries before the last. A table whose end is missing is refused.
fn entries(table: &[u8]) -> Result<Vec<Entry>, TableError> {
    let mut found = Vec::new();
    for bytes in table
        .chunks(ENTRY_BYTES)
        .take(MAX_TABLE_ENTRIES + 1)
        .filter_map(<[u8]>::first_chunk)
    {
        match Entry::read(bytes) {
            None => return Ok(found),
            Some(entry) => found.push(entry),
        }
    }
    Err(TableError::NoEnd {
        limit: found.len().min(MAX_TABLE_ENTRIES),
    })
}

/// DER as it is, PEM decoded. That it is a sequence is all that is looked at: the verifier reads it.
fn der(entry: usize, content: &[u8]) -> Result<Vec<u8>, TableError> {
    const SEQUENCE: u8 = 0x30;
    let decoded = if content.first() == Some(&SEQUENCE) {
        Some(content.to_vec())
    } else {
        pem(content)
    };
    decoded
        .filter(|der| der.first() == Some(&SEQUENCE))
        .ok_or(TableError::Encoding { entry })
}

/// One certificate in the textual encoding of RFC 7468, with nothing else around it but white space and final zeros.
fn pem(content: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(content)
        .ok()?
        .trim_end_matches('\0')
        .trim();
    let body = text.strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END)?;
    STANDARD
        .decode(body.split_ascii_whitespace().collect::<String>())
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DER: &[u8] = &[0x30, 1, 7];

    /// A table of these contents in this order.
    fn table(contents: &[(u128, &[u8])]) -> Vec<u8> {
        let mut offset = (contents.len() + 1) * ENTRY_BYTES;
        let mut bytes = Vec::new();
        for (guid, content) in contents {
            bytes.extend(guid.to_be_bytes());
            bytes.extend((offset as u32).to_le_bytes());
            bytes.extend((content.len() as u32).to_le_bytes());
            offset += content.len();
        }
        bytes.extend([0; ENTRY_BYTES]);
        contents
            .iter()
            .for_each(|(_, content)| bytes.extend(*content));
        bytes
    }

    fn guid(kind: Kind) -> u128 {
        KINDS.iter().find(|(_, known)| *known == kind).unwrap().0
    }

    fn with(mut table: Vec<u8>, at: usize, value: u32) -> Vec<u8> {
        table[at..at + 4].copy_from_slice(&value.to_le_bytes());
        table
    }

    #[test]
    fn reads_what_a_host_handed_over_in_text() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/snp/certtable/auxblob.bin"
        );
        let certificates = Certificates::read(&std::fs::read(path).unwrap()).unwrap();
        let lengths = [certificates.vcek, certificates.ask, certificates.ark].map(|der| {
            let der = der.unwrap();
            (der.len(), u16::from_be_bytes([der[2], der[3]]) as usize + 4)
        });
        assert!(
            lengths
                .iter()
                .all(|(length, said)| length == said && *length > 1000),
            "{lengths:?}"
        );
    }

    #[test]
    fn a_loaded_key_is_handed_on_where_there_is_no_other() {
        let vlek: (u128, &[u8]) = (guid(Kind::Vlek), &[0x30, 1]);
        assert_eq!(
            Certificates::read(&table(&[vlek])).unwrap().vcek.as_deref(),
            Some(&[0x30, 1][..])
        );
        let both = Certificates::read(&table(&[vlek, (guid(Kind::Vcek), DER)])).unwrap();
        assert_eq!(both.vcek.as_deref(), Some(DER));
    }

    #[test]
    fn an_empty_table_and_unknown_kinds_are_nothing() {
        for table in [
            table(&[]),
            vec![0; 4096],
            table(&[(1, b"a revocation list")]),
        ] {
            assert!(Certificates::read(&table).unwrap().is_empty());
        }
    }

    #[test]
    fn nothing_outside_of_the_table_is_ever_read() {
        let good = table(&[(guid(Kind::Vcek), DER)]);
        let data = 2 * ENTRY_BYTES;
        for (at, value) in [
            (16, 0),
            (16, 24),
            (16, 47),
            (16, 49),
            (16, u32::MAX),
            (20, 4),
            (20, u32::MAX),
        ] {
            let refusal = Certificates::read(&with(good.clone(), at, value)).unwrap_err();
            assert!(
                matches!(refusal, TableError::Outside { entry: 0, from, .. } if from == data),
                "{at} {value}"
            );
        }
        let both = with(with(good.clone(), 16, u32::MAX), 20, u32::MAX);
        assert!(matches!(
            Certificates::read(&both),
            Err(TableError::Outside {
                end: 0x1_ffff_fffe,
                ..
            })
        ));
    }

    #[test]
    fn a_table_without_end_is_refused() {
        let good = table(&[(guid(Kind::Vcek), DER)]);
        for length in 0..2 * ENTRY_BYTES {
            assert!(
                matches!(
                    Certificates::read(&good[..length]),
                    Err(TableError::NoEnd { .. })
                ),
                "{length}"
            );
        }
        let many = vec![(1_u128, &b""[..]); MAX_TABLE_ENTRIES];
        assert!(Certificates::read(&table(&many)).is_ok());
        let more = vec![(1_u128, &b""[..]); MAX_TABLE_ENTRIES + 1];
        let refusal = Certificates::read(&table(&more));
        assert_eq!(
            refusal,
            Err(TableError::NoEnd {
                limit: MAX_TABLE_ENTRIES
            })
        );
    }

    #[test]
    fn limits_repetition_and_encoding_are_refused_by_name() {
        let vcek = guid(Kind::Vcek);
        let large = vec![0x30; MAX_CERTIFICATE_BYTES + 1];
        let size = MAX_TABLE_BYTES + 1;
        for (table, expected) in [
            (
                vec![0; size],
                TableError::Size {
                    limit: MAX_TABLE_BYTES,
                    size,
                },
            ),
            (
                table(&[(vcek, &large)]),
                TableError::CertificateSize {
                    entry: 0,
                    limit: MAX_CERTIFICATE_BYTES,
                    size: large.len(),
                },
            ),
            (
                table(&[(vcek, DER), (1, b""), (vcek, DER)]),
                TableError::Repeated { entry: 2 },
            ),
            (table(&[(vcek, b"")]), TableError::Encoding { entry: 0 }),
            (
                table(&[(vcek, b"certificate")]),
                TableError::Encoding { entry: 0 },
            ),
            (
                table(&[(
                    vcek,
                    b"-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n",
                )]),
                TableError::Encoding { entry: 0 },
            ),
        ] {
            assert_eq!(Certificates::read(&table), Err(expected));
        }
    }
}
