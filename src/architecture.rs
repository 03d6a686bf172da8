//! The pages that describe the program name what is there: tests, functions, files, and who depends on what.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// The pages.
const PAGES: [&str; 3] = ["src/architecture.md", "src/recipes.md", "tests/LESSONS.md"];

/// Where paths of Rust begin: crates, and binaries of tests. All others are of the program itself.
const ROOTS: [(&str, &str); 7] = [
    ("rollup", "rollup/src"),
    ("ingest", "ingest/src"),
    ("api", "api/src"),
    ("it", "tests/it"),
    ("simulation", "ingest/tests/simulation"),
    ("kafka", "ingest/tests/kafka"),
    ("driver", "ingest/tests/driver"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The code spans of a page, what is fenced left out.
fn spans(page: &str) -> Vec<&str> {
    let prose = page.split("```").step_by(2);
    prose
        .flat_map(|text| text.split('`').skip(1).step_by(2))
        .collect()
}

/// Whether this names a file or a folder of the repository.
fn is_file(span: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    span.contains('/') && !span.starts_with('/') && span.chars().all(is_plain)
}

/// Whether this is a path of Rust.
fn is_path(span: &str) -> bool {
    span.contains("::")
        && span
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_:".contains(c))
}

/// The source that holds what a path names, and its last part.
fn source_of(path: &str) -> Option<(String, &str)> {
    let mut parts: Vec<&str> = path.split("::").collect();
    let mut folder = "src";
    if let Some((_, of_root)) = ROOTS.iter().find(|(name, _)| *name == parts[0]) {
        folder = of_root;
        parts.remove(0);
    }
    let last = parts.pop()?;
    let folder = root().join(folder);
    // What is no file is a module of tests in one, or a type.
    let is_inside = |part: &&str| *part == "tests" || part.starts_with(|c: char| c.is_ascii_uppercase());
    let files = (0..=parts.len()).rev().map(|files| match parts.split_at(files) {
        ([], inside) => (vec![folder.join("lib.rs"), folder.join("main.rs")], inside),
        (files, inside) => {
            let file: PathBuf = files.iter().collect();
            (vec![folder.join(file).with_extension("rs")], inside)
        }
    });
    let mut found = files.filter(|(_, inside)| inside.iter().all(is_inside));
    found.find_map(|(files, _)| Some((files.iter().find_map(|file| read_to_string(file).ok())?, last)))
}

/// Whether a path names what is there: a function, or a type.
fn is_there(path: &str) -> bool {
    let defines = |source: &str, keyword: &str, name: &str| {
        ["(", "<", " ", ";", ":"]
            .iter()
            .any(|end| source.contains(&format!("{keyword} {name}{end}")))
    };
    source_of(path).is_some_and(|(source, name)| {
        ["fn", "struct", "enum", "trait"]
            .iter()
            .any(|keyword| defines(&source, keyword, name))
    })
}

#[test]
fn what_the_pages_name_is_there() {
    let mut missing = Vec::new();
    for page in PAGES {
        let text = read(page);
        let named: Vec<&str> = spans(&text)
            .into_iter()
            .filter(|span| is_file(span) || is_path(span))
            .collect();
        assert!(named.len() > 20, "{page} names {named:?}");
        let there = |span: &&str| match is_path(span) {
            true => is_there(span),
            false => root().join(span).exists(),
        };
        missing.extend(
            named
                .into_iter()
                .filter(|span| !there(span))
                .map(|span| format!("{page}: {span}")),
        );
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn each_invariant_and_each_lesson_has_its_test() {
    let architecture = read("src/architecture.md");
    let (_, invariants) = architecture.split_once("# Invariants").expect("a heading");
    let numbered: Vec<&str> = invariants
        .split('\n')
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    for (at, line) in numbered.iter().enumerate() {
        assert!(line.starts_with(&format!("{}. ", at + 1)), "{line}");
        let (_, rest) = invariants.split_once(line).expect("itself");
        let end = numbered
            .get(at + 1)
            .and_then(|next| rest.find(*next))
            .unwrap_or(rest.len());
        assert!(
            spans(&format!("{line}{}", &rest[..end])).into_iter().any(is_path),
            "{line}"
        );
    }
    let lessons = read("tests/LESSONS.md");
    for line in lessons
        .lines()
        .filter(|line| line.starts_with(['|']) && line.contains(|c: char| c.is_ascii_digit()))
    {
        assert!(
            line.contains("not yet") || spans(line).into_iter().any(is_path),
            "{line}"
        );
    }
}

#[test]
fn each_outside_system_is_named_where_it_belongs() {
    let depends = |package: &str, on: &str| {
        let manifest = read(format!("{package}Cargo.toml"));
        let (_, own) = manifest.split_once("\n[dependencies]\n").expect("a section");
        let own = own.split("\n[").next().unwrap_or(own);
        own.lines().any(|line| line.split(['.', ' ']).next() == Some(on))
    };
    for (package, others) in [
        (
            "rollup/",
            &[
                "api",
                "ingest",
                "axum",
                "mongodb",
                "prometheus",
                "rdkafka",
                "tokio",
                "tracing",
            ][..],
        ),
        ("ingest/", &["api", "axum"]),
        ("api/", &["ingest", "mongodb", "rdkafka"]),
        ("", &["axum", "rdkafka"]),
        // Its bench makes ledgers of any size with the code that writes them. What is right it knows from the testkit.
        ("deploy/stack/", &["api", "axum"]),
        ("tests/testkit/", &["api", "ingest", "rollup"]),
    ] {
        for other in others {
            assert!(!depends(package, other), "{package} depends on {other}");
        }
    }
    assert!(depends("ingest/", "rdkafka") && depends("api/", "axum") && depends("", "mongodb"));
}

/// Besides the door only readers of rows name their collections, what creates these, and the list of all names. (`LEDGER`
/// of `meta` is another.)
#[test]
fn rows_are_written_in_one_place() {
    const DOOR: &str = "src/store/rows/";
    const OTHERS: [&str; 4] = [
        "src/store/names.rs",
        "src/store/reader",
        "src/store/schema",
        "src/store/meta.rs",
    ];
    let is_named = |source: &str| {
        let mut words = source.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.any(|word| word == "LEDGER" || word == "ROLLUPS")
    };
    let sources = sources("src/store");
    let named: Vec<_> = sources.iter().filter(|place| is_named(&read(place))).collect();
    assert!(named.iter().any(|place| place.starts_with(DOOR)));
    for place in named {
        let is_known = |other: &&str| place.starts_with(other);
        assert!(
            is_known(&DOOR) || OTHERS.iter().any(is_known),
            "{place} names rows"
        );
    }
}

/// The sources in a folder, however deep.
fn sources(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in root().join(folder).read_dir().expect("reads") {
        let entry = entry.expect("an entry");
        let place = format!("{folder}/{}", entry.file_name().to_string_lossy());
        match entry.file_type().expect("a type").is_dir() {
            true => found.extend(sources(&place)),
            false => found.extend(place.ends_with(".rs").then_some(place)),
        }
    }
    found
}
