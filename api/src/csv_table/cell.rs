//! Texts that somebody else chose, as cells of a table that people open in a spreadsheet.
//!
//! A spreadsheet takes a cell for a formula by its begin. That is not ours to choose: many locales part cells at
//! semicolons, some imports at tabs as well, whatever quotes say. And characters that are not seen do not count as a
//! begin everywhere.

/// The first characters of formulas, in the scripts in which spreadsheets read one.
const FORMULA: &[char] = &[
    '=', '+', '-', '@', '＝', '＋', '－', '＠', '﹦', '﹢', '﹣', '﹫', '−',
];
/// Behind these a new cell may begin.
const SEPARATORS: &[char] = &[
    ';', '\t', '\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}',
];

/// The text as a cell that is no formula. Wherever a cell may begin with one, or with an apostrophe, an apostrophe
/// is put before it, and nowhere else: taking away one apostrophe at each of these places gives the text back.
pub(crate) fn text_cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len() + 1);
    let mut rest = text;
    // What spreadsheets pass over may itself be what they begin a formula at.
    if text.starts_with(SEPARATORS) && !text.starts_with(';') {
        cell.push('\'');
    }
    loop {
        if must_be_guarded(rest) {
            cell.push('\'');
        }
        let Some(at) = rest.find(SEPARATORS) else {
            cell.push_str(rest);
            return cell;
        };
        let behind = at + rest[at..].chars().next().map_or(0, char::len_utf8);
        cell.push_str(&rest[..behind]);
        rest = &rest[behind..];
    }
}

/// Whether what begins here could be run, or be taken for what was guarded.
fn must_be_guarded(text: &str) -> bool {
    let seen = text.trim_start_matches(|c: char| is_invisible(c) && !SEPARATORS.contains(&c));
    seen.starts_with(FORMULA) || seen.starts_with('\'')
}

/// Whether a character shows nothing, or changes how others are shown: white space, control and format characters,
/// and letters that are blank.
pub(crate) fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{600}'..='\u{605}' | '\u{6dd}' | '\u{70f}' | '\u{890}'
            | '\u{891}' | '\u{8e2}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes the guards away again.
    fn read_back(cell: &str) -> String {
        let mut text = String::new();
        let mut may_be_guard = true;
        let is_led = cell
            .strip_prefix('\'')
            .is_some_and(|rest| rest.starts_with(SEPARATORS) && !rest.starts_with(';'));
        for c in cell.chars().skip(usize::from(is_led)) {
            if !(may_be_guard && c == '\'') {
                text.push(c);
            }
            may_be_guard = SEPARATORS.contains(&c);
        }
        text
    }

    #[test]
    fn a_cell_is_no_formula_wherever_it_is_parted_and_can_be_read_back() {
        for (text, cell) in [
            ("", ""),
            ("a=b", "a=b"),
            ("__unattributed__", "__unattributed__"),
            ("a, =1", "a, =1"),
            ("=HYPERLINK(\"http://x\")", "'=HYPERLINK(\"http://x\")"),
            ("+1", "'+1"),
            ("-support", "'-support"),
            ("@SUM(1)", "'@SUM(1)"),
            ("＝1", "'＝1"),
            ("﹦1", "'﹦1"),
            ("−1", "'−1"),
            ("'=1", "''=1"),
            ("it's", "it's"),
            // Where cells are parted at semicolons and tabs.
            ("a;=1", "a;'=1"),
            ("a;b=1", "a;b=1"),
            (";=1", ";'=1"),
            ("=1;=2;3;+4", "'=1;'=2;3;'+4"),
            ("a;'b", "a;''b"),
            ("a\t=1", "a\t'=1"),
            ("a\r\n=1", "a\r\n'=1"),
            ("a\u{2028}=1", "a\u{2028}'=1"),
            ("\t=1", "'\t'=1"),
            ("\tx", "'\tx"),
            // Behind what nobody sees.
            (" =1", "' =1"),
            ("\u{a0}=1", "'\u{a0}=1"),
            ("\u{feff}=1", "'\u{feff}=1"),
            ("\u{200b}\u{202e}@x", "'\u{200b}\u{202e}@x"),
            ("a;\u{200d} =1", "a;'\u{200d} =1"),
            ("\u{0}=1", "'\u{0}=1"),
            ("\u{ad}+1", "'\u{ad}+1"),
            ("\u{e0041}=1", "'\u{e0041}=1"),
            ("\u{3164}=1", "'\u{3164}=1"),
            ("\u{200b}'x", "'\u{200b}'x"),
            ("\u{200b}x", "\u{200b}x"),
        ] {
            assert_eq!(text_cell(text), cell, "{text:?}");
            assert_eq!(read_back(cell), text, "{cell:?}");
        }
    }

    proptest! {
        #[test]
        fn no_part_of_a_cell_is_a_formula(text in "[a;,\t\n=+@' \u{200b}\u{feff}\u{a0}＝\\-]{0,12}") {
            let cell = text_cell(&text);
            for part in cell.split(SEPARATORS) {
                let seen = part.trim_start_matches(is_invisible);
                prop_assert!(!seen.starts_with(FORMULA), "{:?} of {:?}", part, cell);
            }
            prop_assert_eq!(read_back(&cell), text);
        }
    }
}
