//! Sums in a file, in the order of their rows.

use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use super::key::{RowKey, Table};
use crate::counters::{Counter, Sums};
use crate::fold::RowDelta;

/// A file, or what stands for one.
pub trait File: Read + Write + Seek {}

impl<F: Read + Write + Seek> File for F {}

/// Sums that were written, as they are read back.
pub(super) struct Run<F: Read> {
    file: BufReader<F>,
    next: Option<(RowKey, RowDelta)>,
}

impl<F: File> Run<F> {
    /// Writes sums that come in order.
    pub(super) fn write(
        file: F,
        sums: impl Iterator<Item = io::Result<(RowKey, RowDelta)>>,
    ) -> io::Result<Self> {
        let mut writer = BufWriter::new(file);
        for sum in sums {
            let (key, booked) = sum?;
            write(&mut writer, &key, &booked)?;
        }
        let mut file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        let mut run = Self {
            file: BufReader::new(file),
            next: None,
        };
        run.advance()?;
        Ok(run)
    }

    /// The next row; `None`: there are no more.
    pub(super) fn peek(&self) -> Option<&RowKey> {
        self.next.as_ref().map(|(key, _)| key)
    }

    /// Takes what is next.
    pub(super) fn take(&mut self) -> io::Result<Option<RowDelta>> {
        let taken = self.next.take();
        self.advance()?;
        Ok(taken.map(|(_, booked)| booked))
    }

    fn advance(&mut self) -> io::Result<()> {
        self.next = read(&mut self.file)?;
        Ok(())
    }
}

/// `_id`'s length and collection, `_id`, times, which counters are not 0, these.
fn write(writer: &mut impl Write, key: &RowKey, booked: &RowDelta) -> io::Result<()> {
    let length = u32::try_from(key.id.len()).map_err(io::Error::other)?;
    writer.write_all(&length.to_le_bytes())?;
    writer.write_all(&[u8::from(key.table == Table::Rollups)])?;
    writer.write_all(key.id.as_bytes())?;
    writer.write_all(&booked.first_event_ms.to_le_bytes())?;
    writer.write_all(&booked.last_event_ms.to_le_bytes())?;
    let counted = || {
        Counter::ALL
            .into_iter()
            .filter(|counter| booked.sums[*counter] != 0)
    };
    let mask = counted().fold(0_u32, |mask, counter| mask | 1 << counter as u32);
    writer.write_all(&mask.to_le_bytes())?;
    for counter in counted() {
        writer.write_all(&booked.sums[counter].to_le_bytes())?;
    }
    Ok(())
}

fn read(reader: &mut impl Read) -> io::Result<Option<(RowKey, RowDelta)>> {
    let mut length = [0; 4];
    match reader.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let [is_rollup] = array(reader)?;
    let mut id = vec![0; usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?];
    reader.read_exact(&mut id)?;
    let id = String::from_utf8(id).map_err(io::Error::other)?;
    let table = if is_rollup == 0 {
        Table::Ledger
    } else {
        Table::Rollups
    };
    let (first, last) = (array(reader)?, array(reader)?);
    let mask = u32::from_le_bytes(array(reader)?);
    let mut sums = Sums::default();
    for counter in Counter::ALL {
        if mask & 1 << counter as u32 != 0 {
            sums[counter] = i128::from_le_bytes(array(reader)?);
        }
    }
    let booked = RowDelta {
        sums,
        first_event_ms: i64::from_le_bytes(first),
        last_event_ms: i64::from_le_bytes(last),
    };
    Ok(Some((RowKey::new(table, id), booked)))
}

fn array<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}
