//! Texts of events as terminals and logs may show them.
//!
//! Emitters choose the ids of their events: one with an escape sequence could move the cursor of a person who lists
//! letters, and one that turns the direction of writing could show another id than it is.

use std::borrow::Cow;

/// The most characters of a text that a list shows.
const SHOWN: usize = 64;

/// A text without control and format characters: each is written as JSON would, `\u001b`. What is shown inside JSON is
/// the same value.
#[must_use]
pub fn inert(text: &str) -> Cow<'_, str> {
    if !text.contains(is_active) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_active(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// The same of a text with lines of its own, such as JSON for people.
#[must_use]
pub fn inert_lines(text: &str) -> String {
    text.split('\n').map(inert).collect::<Vec<_>>().join("\n")
}

/// The same, and no longer than a list has room for.
#[must_use]
pub fn short(text: &str) -> Cow<'_, str> {
    beginning(text, SHOWN)
}

/// The same of the first characters of a text, as many as this.
#[must_use]
pub fn beginning(text: &str, characters: usize) -> Cow<'_, str> {
    match text.char_indices().nth(characters) {
        None => inert(text),
        Some((end, _)) => Cow::Owned(format!("{}…", inert(&text[..end]))),
    }
}

/// Whether a character does something instead of being seen: Unicode's control and format characters, its separators of
/// lines, and what is for private use or no character.
fn is_active(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
            | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}' | '\u{f0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_something_is_written_out() {
        for (text, shown) in [
            ("req-1", "req-1"),
            ("Zürich 東京 🙂", "Zürich 東京 🙂"),
            ("\u{1b}[2J", "\\u001b[2J"),
            ("a\r\nb\tc\0", "a\\u000d\\u000ab\\u0009c\\u0000"),
            ("\u{7f}\u{9b}", "\\u007f\\u009b"),
            ("abc\u{202e}fed\u{2066}", "abc\\u202efed\\u2066"),
            (
                "zero\u{200b}width\u{feff}\u{ad}",
                "zero\\u200bwidth\\ufeff\\u00ad",
            ),
            ("\u{2028}\u{2029}", "\\u2028\\u2029"),
            ("\u{e0041}", "\\udb40\\udc41"),
        ] {
            assert_eq!(inert(text), shown, "{text:?}");
        }
    }

    #[test]
    fn inside_json_the_value_stays_the_same() {
        let text: String = (0..=0x0010_ffff).filter_map(char::from_u32).collect();
        let value = serde_json::json!({"text": text});
        let shown = inert_lines(&format!("{value:#}"));
        assert!(!shown.contains(|character| character != '\n' && is_active(character)));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).expect("JSON"),
            value
        );
    }

    #[test]
    fn a_list_has_room_for_the_beginning() {
        assert_eq!(short(&"x".repeat(SHOWN)), "x".repeat(SHOWN));
        assert_eq!(short(&"ä".repeat(SHOWN + 1)), format!("{}…", "ä".repeat(SHOWN)));
    }
}
