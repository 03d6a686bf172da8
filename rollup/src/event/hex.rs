//! The texts of ids that are bytes.

/// An ObjectId by its 24 hexadecimal digits.
pub(super) fn object_id(text: &str) -> Option<[u8; 12]> {
    (text.len() == 24).then(|| from_hex(text.bytes()))?
}

/// A UUID by its text: `8-4-4-4-12` hexadecimal digits.
pub(super) fn uuid(text: &str) -> Option<[u8; 16]> {
    let is_dash = |at: &usize| [8, 13, 18, 23].contains(at);
    let bytes = text.as_bytes();
    if bytes.len() != 36 || !(0..36).filter(is_dash).all(|at| bytes[at] == b'-') {
        return None;
    }
    from_hex((0..36).filter(|at| !is_dash(at)).map(|at| bytes[at]))
}

/// Bytes by exactly so many pairs of hexadecimal digits.
fn from_hex<const N: usize>(mut digits: impl Iterator<Item = u8>) -> Option<[u8; N]> {
    let mut digit = || char::from(digits.next()?).to_digit(16);
    let mut bytes = [0; N];
    for byte in &mut bytes {
        *byte = u8::try_from(digit()? * 16 + digit()?).ok()?;
    }
    Some(bytes)
}
