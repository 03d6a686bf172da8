//! Content types: of a Kafka record, and of the data in a CloudEvent.

/// The content type of a whole CloudEvent as JSON.
pub(super) const CLOUD_EVENT: &str = "application/cloudevents+json";

/// What a content type says of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// An event, or the data of one.
    Json,
    /// A whole CloudEvent as JSON.
    CloudEvent,
    /// An array of CloudEvents as JSON.
    CloudEventBatch,
    /// Nothing that is read here.
    Unsupported,
}

impl Format {
    pub(super) fn of(content_type: &str) -> Self {
        let mut parts = content_type.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let other_charset = parts
            .filter_map(|parameter| parameter.split_once('='))
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
            .any(|(_, charset)| {
                let charset = charset.trim().trim_matches('"');
                !["utf-8", "utf8", "us-ascii"]
                    .iter()
                    .any(|known| charset.eq_ignore_ascii_case(known))
            });
        match media_type.as_str() {
            _ if other_charset => Format::Unsupported,
            CLOUD_EVENT => Format::CloudEvent,
            "application/cloudevents-batch+json" => Format::CloudEventBatch,
            name if name.starts_with("application/cloudevents") => Format::Unsupported,
            "application/json" | "text/json" => Format::Json,
            name if name.starts_with("application/") && name.ends_with("+json") => Format::Json,
            _ => Format::Unsupported,
        }
    }
}
