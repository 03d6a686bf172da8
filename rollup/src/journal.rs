//! The journal's format: what was counted, event by event, packed.
//!
//! ```text
//! packed    version · length when unpacked · a zstd frame · XXH3-64 of everything before it
//! unpacked  granularity · organizations · for each, by name: name, entries, bytes of its block · the blocks
//! block     texts · rows, each as indexes of texts · the columns of the entries
//! ```
//! Numbers are LEB128 varints, signed ones zigzag; instants, offsets and commits are differences to the entry before. A
//! block is self-contained: whoever reads one organization unpacks no entry of another.
//!
//! An entry is narrow where it is one finished request: what it adds follows from a byte of flags and the quantities that
//! are not zero. Any other is wide: every counter, signed. Released versions never change: a reader knows all of them.

mod block;
mod entry;
mod id;
mod packer;
mod summed;
mod varint;

pub use block::RowAt;
pub use entry::{Change, Entry, Place, Row};
pub use packer::{Packed, Packer, RowRef, day_hash};
pub use summed::{RowSum, Summed};

use twox_hash::XxHash3_64;

use crate::period::Granularity;
use block::Block;
use varint::{Reader, Writer};

/// The version that is written.
const VERSION: u8 = 1;
/// Bytes of the checksum.
const CHECKSUM: usize = 8;
/// The most bytes that are unpacked: many times what a document of a database may have.
const MAX_UNPACKED: usize = 256 << 20;
/// Of zstd: the fastest that looks for repetitions of any distance.
const LEVEL: i32 = 1;

/// Packed entries that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// They are not what was written.
    #[error("the checksum does not match")]
    Checksum,
    /// A program that is newer wrote them.
    #[error("version {0} is not known")]
    Version(u8),
    /// They are whole, and not of this format.
    #[error("{0}")]
    Format(&'static str),
}

/// What one or several commits of a lane counted, unpacked but for its entries.
#[derive(Debug)]
pub struct Journal {
    granularity: Granularity,
    unpacked: Vec<u8>,
    organizations: Vec<Organization>,
}

/// Where an organization's entries are.
#[derive(Debug)]
struct Organization {
    name: String,
    entries: usize,
    block: std::ops::Range<usize>,
}

impl Journal {
    /// Reads packed entries.
    ///
    /// # Errors
    /// When they are damaged, or written by a newer program.
    pub fn open(packed: &[u8]) -> Result<Self, Damaged> {
        let (content, checksum) = packed
            .split_last_chunk::<CHECKSUM>()
            .ok_or(Damaged::Format("it is too short"))?;
        if XxHash3_64::oneshot(content).to_be_bytes() != *checksum {
            return Err(Damaged::Checksum);
        }
        let mut reader = Reader::new(content);
        match reader.byte()? {
            VERSION => {}
            other => return Err(Damaged::Version(other)),
        }
        let length = reader.length(MAX_UNPACKED)?;
        let unpacked = zstd::bulk::decompress(reader.rest(), length)
            .ok()
            .filter(|unpacked| unpacked.len() == length)
            .ok_or(Damaged::Format("it does not unpack"))?;
        Self::read(unpacked)
    }

    fn read(unpacked: Vec<u8>) -> Result<Self, Damaged> {
        let mut reader = Reader::new(&unpacked);
        let granularity = usize::from(reader.byte()?);
        let granularity = *Granularity::ALL
            .get(granularity)
            .ok_or(Damaged::Format("its granularity is not known"))?;
        let mut organizations = Vec::new();
        for _ in 0..reader.length(unpacked.len())? {
            let name = reader.text()?.to_owned();
            let entries = reader.length(unpacked.len())?;
            let bytes = reader.length(unpacked.len())?;
            organizations.push((name, entries, bytes));
        }
        let mut at = unpacked.len() - reader.rest().len();
        let organizations = organizations.into_iter().map(|(name, entries, bytes)| {
            let block = at..at + bytes;
            at = block.end;
            Organization { name, entries, block }
        });
        let organizations: Vec<Organization> = organizations.collect();
        match at == unpacked.len() {
            true => Ok(Self {
                granularity,
                unpacked,
                organizations,
            }),
            false => Err(Damaged::Format("its blocks do not fill it")),
        }
    }

    /// The granularity to which its entries were booked first: that of its rows.
    #[must_use]
    pub const fn granularity(&self) -> Granularity {
        self.granularity
    }

    /// The organizations, in order, and how many entries each has.
    pub fn organizations(&self) -> impl Iterator<Item = (&str, usize)> {
        self.organizations
            .iter()
            .map(|organization| (organization.name.as_str(), organization.entries))
    }

    /// The rows and the entries of an organization, in the order in which they were counted. Empty: it has none.
    ///
    /// # Errors
    /// When its block is not of this format.
    pub fn of(&self, organization: &str) -> Result<(Vec<Row>, Vec<Entry<'_>>), Damaged> {
        let Some((found, bytes)) = self.find(organization) else {
            return Ok((Vec::new(), Vec::new()));
        };
        Block::read(bytes, found.entries, organization, self.granularity)
    }

    /// What the entries of an organization come to, those of the commits from this one on: many times faster than entry by
    /// entry.
    ///
    /// # Errors
    /// When its block is not of this format.
    pub fn sums_of(&self, organization: &str, from: u32) -> Result<Summed<'_>, Damaged> {
        match self.find(organization) {
            Some((found, bytes)) => Summed::read(bytes, found.entries, from, self.granularity),
            None => Ok(Summed::none()),
        }
    }

    fn find(&self, organization: &str) -> Option<(&Organization, &[u8])> {
        let names = |other: &Organization| other.name.as_str().cmp(organization);
        let at = self.organizations.binary_search_by(names).ok()?;
        let found = &self.organizations[at];
        Some((found, &self.unpacked[found.block.clone()]))
    }
}

/// Packs what was written.
fn pack(unpacked: &[u8]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.byte(VERSION);
    writer.length(unpacked.len());
    let frame = zstd::bulk::compress(unpacked, LEVEL).expect("compresses to memory");
    writer.bytes(&frame);
    let checksum = XxHash3_64::oneshot(writer.written());
    writer.bytes(&checksum.to_be_bytes());
    writer.into_bytes()
}

#[cfg(test)]
mod tests;
