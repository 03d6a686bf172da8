//! The fenced blocks of a Markdown text, and what is to be done with each.

use std::fmt;

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// The line of the opening fence, from 1.
    pub(crate) line: usize,
    /// What it is written in.
    pub(crate) language: String,
    /// Why it is only shown; `None`: it is run.
    pub(crate) shown: Option<Shown>,
    /// What is between the fences.
    pub(crate) text: String,
}

/// Why a block is not run where it stands. There are no other reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Nothing to run: a drawing, a list of files.
    Drawing,
    /// Goals of the Makefile: `make demo` has a test of its own, and the others run this one.
    Make,
    /// For MongoDB's own shell, which the tests do not have.
    Mongosh,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}:\n{}", self.line, self.text)
    }
}

/// All blocks in order. What follows the language after the opening fence is the reason why a block is only shown.
pub(crate) fn blocks(markdown: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in markdown.lines().enumerate() {
        let Some(info) = line.trim_start().strip_prefix("```") else {
            if let Some(block) = &mut open {
                block.text.push_str(line);
                block.text.push('\n');
            }
            continue;
        };
        match open.take() {
            Some(block) if info.trim().is_empty() => blocks.push(block),
            Some(block) => return Err(format!("line {}: a fence in a block\n{block}", index + 1)),
            None => open = Some(begun(index + 1, info)?),
        }
    }
    match open {
        Some(block) => Err(format!("a block without an end\n{block}")),
        None => Ok(blocks),
    }
}

fn begun(line: usize, info: &str) -> Result<Block, String> {
    let (language, reason) = info.trim().split_once(' ').unwrap_or((info.trim(), ""));
    let shown = match (language, reason) {
        ("text", "drawing") => Some(Shown::Drawing),
        ("sh", "make") => Some(Shown::Make),
        ("js", "mongosh") => Some(Shown::Mongosh),
        ("sh" | "js" | "python", "") => None,
        _ => {
            return Err(format!(
                "line {line}: ```{info}: blocks in sh, js and python are run, and others are `text drawing`, `sh make` \
                 or `js mongosh`"
            ));
        }
    };
    Ok(Block {
        line,
        language: language.to_owned(),
        shown,
        text: String::new(),
    })
}

/// The code within lines, such as `make test`, outside of blocks.
pub(crate) fn spans(markdown: &str) -> Vec<String> {
    let mut in_block = false;
    let mut text = String::new();
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            text.push_str(line);
            text.push(' ');
        }
    }
    let parts = text.split('`').skip(1).step_by(2);
    parts.map(ToOwned::to_owned).collect()
}

#[test]
fn blocks_are_run_unless_a_known_reason_says_otherwise() {
    let found = blocks("a\n```sh\nls\n```\n```text drawing\n─\n```\n").expect("blocks");
    let is = |line, language: &str, shown, text: &str| Block {
        line,
        language: language.to_owned(),
        shown,
        text: text.to_owned(),
    };
    assert_eq!(
        found,
        [
            is(2, "sh", None, "ls\n"),
            is(5, "text", Some(Shown::Drawing), "─\n")
        ]
    );
    for wrong in [
        "```\nls\n```\n",
        "```sh drawing\nls\n```\n",
        "```sh because\nls\n```\n",
        "```rust\n1\n```\n",
        "```sh\nls\n",
        "```sh\n```sh\n```\n",
    ] {
        assert!(blocks(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn spans_are_found_across_lines_and_not_in_blocks() {
    let text = "`make a` and `usage-ledger\nrun`\n```sh\n`no`\n```\n`make b`";
    assert_eq!(spans(text), ["make a", "usage-ledger run", "make b"]);
}
