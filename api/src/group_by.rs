//! The dimensions that rows may be grouped by, and the names of the parts of their keys.

use std::str::FromStr;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::reader::Key;
use crate::rows::Dimension;
use crate::totals::Totals;

/// A kind of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum GroupBy {
    Agent,
    Model,
    User,
    Team,
    ApiKey,
    Source,
    Kind,
    Organization,
}

impl GroupBy {
    /// The groups of a breakdown.
    pub(crate) const BREAKDOWN: [&'static str; 7] =
        ["agent", "model", "user", "team", "apiKey", "source", "kind"];
    /// The groups of a series.
    pub(crate) const SERIES: [&'static str; 4] = ["agent", "model", "user", "source"];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            GroupBy::Agent => "agent",
            GroupBy::Model => "model",
            GroupBy::User => "user",
            GroupBy::Team => "team",
            GroupBy::ApiKey => "apiKey",
            GroupBy::Source => "source",
            GroupBy::Kind => "kind",
            GroupBy::Organization => "organization",
        }
    }

    /// The dimensions of the key. The first decides the order of names.
    pub(crate) const fn dimensions(self) -> &'static [Dimension] {
        match self {
            GroupBy::Agent => &[Dimension::Agent],
            GroupBy::Model => &[Dimension::Model, Dimension::Provider],
            GroupBy::User => &[Dimension::User],
            GroupBy::Team => &[Dimension::Team],
            GroupBy::ApiKey => &[Dimension::ApiKey],
            GroupBy::Source => &[Dimension::Source],
            GroupBy::Kind => &[Dimension::Kind],
            GroupBy::Organization => &[Dimension::Organization],
        }
    }
}

impl FromStr for GroupBy {
    type Err = ();
    fn from_str(name: &str) -> Result<Self, ()> {
        [
            GroupBy::Agent,
            GroupBy::Model,
            GroupBy::User,
            GroupBy::Team,
            GroupBy::ApiKey,
            GroupBy::Source,
            GroupBy::Kind,
            GroupBy::Organization,
        ]
        .into_iter()
        .find(|by| by.name() == name)
        .ok_or(())
    }
}

/// One group of an answer: its key under the names of its dimensions, and its totals.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) by: GroupBy,
    pub(crate) key: Key,
    pub(crate) totals: Totals,
}

impl Row {
    /// Adds the key's parts to a map under the names of their dimensions.
    pub(crate) fn serialize_key<M: SerializeMap>(
        by: GroupBy,
        key: &Key,
        map: &mut M,
    ) -> Result<(), M::Error> {
        for (dimension, value) in by.dimensions().iter().zip(key).rev() {
            map.serialize_entry(dimension.name(), value)?;
        }
        Ok(())
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        Row::serialize_key(self.by, &self.key, &mut map)?;
        map.serialize_entry("totals", &self.totals)?;
        map.end()
    }
}

/// An object that has the key of a group among its properties.
pub(crate) fn keyed_object() -> ObjectBuilder {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    Dimension::ALL.into_iter().fold(
        ObjectBuilder::new().schema_type(Type::Object),
        |object, dimension| object.property(dimension.name(), text()),
    )
}

impl PartialSchema for Row {
    fn schema() -> RefOr<Schema> {
        keyed_object()
            .property("totals", Ref::from_schema_name(Totals::name()))
            .required("totals")
            .description(Some(
                "One group. Its key is under the names of its dimensions: `agentSlug`, `provider` and `model`, \
                 `userId`, `teamId`, `apiKeyId`, `source` or `kind`.",
            ))
            .into()
    }
}

impl ToSchema for Row {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Totals::name().into_owned(), Totals::schema()));
        Totals::schemas(schemas);
    }
}
