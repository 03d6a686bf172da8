//! Numbers in as few bytes as they need: LEB128, signed ones zigzag.

use super::Damaged;

const SHORT: Damaged = Damaged::Format("it ends too soon");

/// Writes numbers.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    pub(super) fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    pub(super) fn length(&mut self, length: usize) {
        self.number(length as u64);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.length(text.len());
        self.bytes(text.as_bytes());
    }

    pub(super) fn written(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Reads what a [`Writer`] wrote.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Damaged> {
        let (first, rest) = self.0.split_first().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(super) fn number(&mut self) -> Result<u64, Damaged> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift > 63 || (shift == 63 && bits > 1) {
                return Err(Damaged::Format("a number is too large"));
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
            shift += 7;
        }
    }

    /// Leaves out so many numbers.
    pub(super) fn skip(&mut self, numbers: usize) -> Result<(), Damaged> {
        let (mut left, mut at) = (numbers, 0);
        while left > 0 {
            left -= usize::from(self.0.get(at).ok_or(SHORT)? & 0x80 == 0);
            at += 1;
        }
        self.0 = &self.0[at..];
        Ok(())
    }

    pub(super) fn signed(&mut self) -> Result<i64, Damaged> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// A number of things of which there are at most so many.
    pub(super) fn length(&mut self, most: usize) -> Result<usize, Damaged> {
        usize::try_from(self.number()?)
            .ok()
            .filter(|length| *length <= most)
            .ok_or(Damaged::Format("a length is too large"))
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Damaged> {
        let length = self.length(self.0.len())?;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| Damaged::Format("a text is no UTF-8"))
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_is_read_as_it_was_written(numbers: Vec<u64>, signed: Vec<i64>) {
            let mut writer = Writer::default();
            numbers.iter().for_each(|number| writer.number(*number));
            signed.iter().for_each(|number| writer.signed(*number));
            let mut reader = Reader::new(writer.written());
            for number in numbers {
                prop_assert_eq!(reader.number(), Ok(number));
            }
            for number in signed {
                prop_assert_eq!(reader.signed(), Ok(number));
            }
            prop_assert!(reader.rest().is_empty());
        }

        #[test]
        fn no_bytes_are_too_much_for_a_reader(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while reader.number().is_ok() {}
            let mut reader = Reader::new(&bytes);
            while reader.text().is_ok() {}
        }
    }

    #[test]
    fn a_number_has_at_most_64_bits() {
        let mut most = [0xff; 10];
        most[9] = 1;
        assert_eq!(Reader::new(&most).number(), Ok(u64::MAX));
        most[9] = 2;
        assert!(Reader::new(&most).number().is_err());
    }
}
