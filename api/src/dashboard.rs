//! The dashboard's files, where they were there when the program was built.

use std::borrow::Cow;

use rust_embed::Embed;

#[derive(Embed)]
#[folder = "dashboard/dist"]
#[allow_missing = true]
struct Files;

/// A file of the dashboard.
pub(crate) struct File {
    pub(crate) content_type: String,
    pub(crate) bytes: Cow<'static, [u8]>,
}

/// The file at a path.
pub(crate) fn file(path: &str) -> Option<File> {
    let file = Files::get(path)?;
    Some(File {
        content_type: file.metadata.mimetype().to_owned(),
        bytes: file.data,
    })
}
