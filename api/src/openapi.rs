//! The OpenAPI 3.1 document, made from the same tables and types that parse and answer.

use rollup::event::MAX_TEXT_CHARS;
use utoipa::ToSchema;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{AllOfBuilder, ArrayBuilder, KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, PathsBuilder, Ref,
    RefOr, Required, ResponseBuilder, Schema, Server, header::HeaderBuilder,
};

use crate::envelope::{Fresh, Head};
use crate::parameter::{Form, MAX_VALUES, Parameter};
use crate::problem;
use crate::rejected::Rejections;
use crate::route::{Route, Tells};
use crate::settings::{Access, Settings};

const BEARER: &str = "bearer";

/// The description of a route.
pub(crate) struct Described {
    pub(crate) path: &'static str,
    title: &'static str,
    parameters: &'static [&'static [&'static Parameter]],
    answer: String,
    tells_rejected: bool,
    schemas: Vec<(String, RefOr<Schema>)>,
}

impl Described {
    pub(crate) fn of<Q: Route>() -> Self {
        Self {
            path: Q::PATH,
            title: Q::TITLE,
            parameters: Q::PARAMETERS,
            answer: Q::Answer::name().into_owned(),
            tells_rejected: Q::REJECTED != Tells::Nothing,
            schemas: all_of::<Q::Answer>(),
        }
    }
}

fn all_of<T: ToSchema>() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    schemas
}

/// The document of these routes, for a ledger with these settings.
pub(crate) fn document<'a>(routes: impl Iterator<Item = &'a Described>, settings: &Settings) -> OpenApi {
    let zone = settings.calendar.zone_name();
    let is_open = matches!(settings.access, Access::Off);
    let mut paths = PathsBuilder::new();
    let mut components = ComponentsBuilder::new()
        .schemas_from_iter(all_of::<Head<'_>>())
        .schemas_from_iter(all_of::<Fresh>())
        .schemas_from_iter(all_of::<Rejections>())
        .schemas_from_iter(all_of::<problem::Body<'_>>())
        .security_scheme(
            BEARER,
            SecurityScheme::Http(
                HttpBuilder::new()
                    .scheme(HttpAuthScheme::Bearer)
                    .bearer_format("JWT")
                    .build(),
            ),
        );
    for route in routes {
        components = components.schemas_from_iter(route.schemas.clone());
        paths = paths.path(route.path, PathItem::new(HttpMethod::Get, operation(route, zone)));
    }
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("usage-ledger")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(
                    "Exact usage of an AI platform. Totals are whole, money is exact, and every answer says how \
                     fresh it is.",
                ))
                .build(),
        )
        // Where the document is, behind whatever path that is seen from outside.
        .servers(Some([Server::new(".")]))
        .paths(paths)
        .components(Some(components.build()))
        .security((!is_open).then(|| [SecurityRequirement::new(BEARER, Vec::<String>::new())]))
        .build()
}

fn operation(route: &Described, zone: &str) -> OperationBuilder {
    let id = route.path.rsplit('/').next().unwrap_or(route.path);
    let mut operation = OperationBuilder::new()
        .operation_id(Some(id))
        .summary(Some(route.title))
        .response("200", answered(route))
        .response(
            "304",
            fresh_headers(ResponseBuilder::new().description("The caller has this answer already.")),
        );
    for parameter in route.parameters.iter().copied().flatten() {
        operation = operation.parameter(described(parameter, zone));
    }
    for (status, description) in [
        (
            "400",
            "A parameter is malformed, unknown, or there too often. `parameter` names it.",
        ),
        ("401", "There is no valid token."),
        ("403", "The token does not allow this."),
        ("406", "Answers are JSON or CSV."),
        ("413", "A question has no body."),
        (
            "422",
            "Too much for one answer; `detail` says how to narrow the question.",
        ),
        (
            "429",
            "Too many requests, or too many answers under way; `Retry-After` says when to come again.",
        ),
        ("500", "The question could not be answered."),
        (
            "503",
            "The ledger cannot be read at the moment, or not in time, or too many answers wait to be read.",
        ),
    ] {
        let problem = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Problem")))
            .build();
        let response = ResponseBuilder::new()
            .description(description)
            .content("application/problem+json", problem);
        operation = operation.response(status, response.build());
    }
    operation
}

fn answered(route: &Described) -> ResponseBuilder {
    let mut body = AllOfBuilder::new()
        .item(Ref::from_schema_name(Head::name()))
        .item(Ref::from_schema_name(Fresh::name()));
    if route.tells_rejected {
        body = body.item(Ref::from_schema_name(Rejections::name()));
    }
    let body = body.item(Ref::from_schema_name(route.answer.clone()));
    let csv = ObjectBuilder::new().schema_type(Type::String).description(Some(
        "The whole answer, one line per row, with a line of column names first.",
    ));
    let response = ResponseBuilder::new()
        .description("The answer.")
        .content(
            "application/json",
            ContentBuilder::new().schema(Some(body)).build(),
        )
        .content("text/csv", ContentBuilder::new().schema(Some(csv)).build())
        .header(
            "Content-Disposition",
            HeaderBuilder::new()
                .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
                .description(Some("Of answers with `format=csv`: the name of the file."))
                .build(),
        );
    fresh_headers(response)
}

fn fresh_headers(response: ResponseBuilder) -> ResponseBuilder {
    let text = |format: Option<KnownFormat>| {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(format.map(SchemaFormat::KnownFormat))
    };
    response
        .header(
            "Usage-Data-As-Of",
            HeaderBuilder::new()
                .schema(Some(text(Some(KnownFormat::DateTime))))
                .description(Some("`dataAsOf`, where it is known."))
                .build(),
        )
        .header(
            "ETag",
            HeaderBuilder::new()
                .schema(Some(text(None)))
                .description(Some(
                    "Of JSON answers; changes when anything but the freshness does.",
                ))
                .build(),
        )
}

fn described(parameter: &Parameter, zone: &str) -> utoipa::openapi::path::Parameter {
    let schema = form(parameter.form, zone);
    let schema: RefOr<Schema> = if parameter.repeatable {
        ArrayBuilder::new()
            .items(schema)
            .max_items(Some(MAX_VALUES))
            .into()
    } else {
        schema.into()
    };
    let required = if parameter.required {
        Required::True
    } else {
        Required::False
    };
    ParameterBuilder::new()
        .name(parameter.name)
        .parameter_in(ParameterIn::Query)
        .required(required)
        .description(Some(parameter.description))
        .explode(parameter.repeatable.then_some(true))
        .schema(Some(schema))
        .build()
}

fn form(form: Form, zone: &str) -> ObjectBuilder {
    let text = ObjectBuilder::new().schema_type(Type::String);
    match form {
        Form::Text => text
            .min_length(Some(1))
            .max_length(Some(MAX_TEXT_CHARS))
            .pattern(Some(r"^[^\x00-\x1F\x7F-\x9F]+$")),
        Form::Service => text.pattern(Some("^[a-z0-9-]{1,32}$")),
        Form::Zone => text.enum_values(Some([zone])),
        Form::Date => text.format(Some(SchemaFormat::KnownFormat(KnownFormat::Date))),
        Form::Choice(words) => text.enum_values(Some(words.iter().copied())),
        Form::Number { min, max } => ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(f64::from(min)))
            .maximum(Some(f64::from(max))),
        Form::Cursor => text.min_length(Some(1)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::fake::FakeReader;
    use crate::router::entries;

    #[test]
    fn two_schemas_do_not_share_a_name() {
        let mut known: HashMap<String, RefOr<Schema>> = HashMap::new();
        let routes = entries::<FakeReader>();
        let own = routes.iter().flat_map(|entry| entry.described.schemas.clone());
        let shared = [
            all_of::<Head<'_>>(),
            all_of::<Fresh>(),
            all_of::<Rejections>(),
            all_of::<problem::Body<'_>>(),
        ];
        for (name, schema) in own.chain(shared.into_iter().flatten()) {
            if let Some(other) = known.insert(name.clone(), schema.clone()) {
                assert!(other == schema, "{name}");
            }
        }
    }
}
