//! From a query to an aggregation. Values are always values here: a caller's text ends up as a string to be compared
//! with, never as a part of the query's structure.

use std::ops::Range;

use api::reader::{Key, Query, Scope, Span};
use api::rows::{Dimension, Rows, dimensions};
use mongodb::bson::{Bson, Document, doc};
use rollup::counters::Counter;
use rollup::fold::Marginal;
use rollup::key;
use rollup::period::Period;

/// Of how many rows a group is made.
pub(super) const ROWS: &str = "rows";
/// The granularity of a group's period.
pub(super) const GRANULARITY: &str = "g";
/// The key of a group's period.
pub(super) const PERIOD: &str = "p";
/// Up to so many rows are fetched by their `_id`; more are scanned.
const MOST_IDS: usize = 4_000;
/// Up to so many questions are asked one after the other in place of a longer one.
const MOST_QUESTIONS: usize = 200;

/// The name of a part of a group's key.
pub(super) fn part(at: usize) -> String {
    format!("k{at}")
}

/// How a query is answered.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// By the rows that these filters find: each is a group.
    Rows(Vec<Document>),
    /// By the rows that these filters find: they are few, and become groups when they are summed.
    Few(Vec<Document>),
    /// By sums that the server makes.
    Sums(Vec<Document>),
}

/// How a query is answered in the least time.
pub(super) fn plan(query: &Query) -> Plan {
    if query.order.is_some() {
        return Plan::Sums(of(query));
    }
    if let Some(ids) = ids(query) {
        return Plan::Few(vec![doc! {"_id": {"$in": ids}}]);
    }
    if query.rows_are_groups() {
        return Plan::Rows(by_span(query, &query.scope, &others(query)).collect());
    }
    users(query).map_or_else(|| Plan::Sums(of(query)), Plan::Few)
}

/// The rows of the users that a query is about: one question for each of them, which every server answers from an
/// index. `None`: it is not about a few users.
fn users(query: &Query) -> Option<Vec<Document>> {
    let Scope::Organizations(organizations) = &query.scope else {
        return None;
    };
    let users = query.filters.get(&Dimension::User)?;
    if query.rows != Rows::Ledger || users.len() * organizations.len() * query.cover.len() > MOST_QUESTIONS {
        return None;
    }
    let mut filters = Vec::new();
    for organization in organizations {
        let scope = Scope::Organizations(vec![organization.clone()]);
        for user in users {
            let mut other = others(query);
            other.insert(field(query.rows, Dimension::User), user);
            filters.extend(by_span(query, &scope, &other));
        }
    }
    Some(filters)
}

/// A filter for each span of a query, of the rows of these owners that also fit `other`.
fn by_span(query: &Query, scope: &Scope, other: &Document) -> impl Iterator<Item = Document> {
    let spans = query.cover.iter().map(std::slice::from_ref);
    spans.map(move |span| rows_in(query.rows, scope, span, other))
}

/// The fields of a group's key.
pub(super) fn fields(query: &Query) -> Vec<&'static str> {
    let dimensions = query.group_by.iter();
    dimensions
        .map(|dimension| field(query.rows, *dimension))
        .collect()
}

/// The aggregation that answers a query.
pub(super) fn of(query: &Query) -> Vec<Document> {
    let limit = i64::try_from(query.row_limit).unwrap_or(i64::MAX - 1) + 1;
    let mut id = Document::new();
    for (at, dimension) in query.group_by.iter().enumerate() {
        id.insert(part(at), format!("${}", field(query.rows, *dimension)));
    }
    if query.by_period {
        id.insert(GRANULARITY, "$granularity");
        id.insert(PERIOD, "$periodKey");
    }
    let id = if id.is_empty() { Bson::Null } else { id.into() };
    let mut group = doc! {"_id": id, ROWS: {"$sum": 1_i64}};
    for counter in &query.counters {
        group.insert(counter.name(), doc! {"$sum": format!("${}", counter.name())});
    }
    let mut stages = vec![
        doc! {"$match": selected(query)},
        doc! {"$limit": limit},
        doc! {"$group": group},
    ];
    if let Some(order) = query.order {
        stages.push(doc! {"$sort": {order.0.name(): -1, Counter::TotalTokens.name(): -1, "_id": 1}});
    }
    stages
}

/// The rows of these periods that also fit `other`. Each branch has all of it, so that each finds its index.
pub(super) fn rows_in(rows: Rows, scope: &Scope, cover: &[Span], other: &Document) -> Document {
    let spans = cover.iter().map(|span| {
        let (first, last) = (span.first.to_string(), span.last.to_string());
        let mut branch = owner(scope);
        branch.insert("granularity", span.first.granularity().name());
        if let Rows::Rollups(marginal) = rows {
            branch.insert("set", marginal.name());
        }
        let keys = if first == last {
            first.into()
        } else {
            Bson::from(doc! {"$gte": first, "$lte": last})
        };
        branch.insert("periodKey", keys);
        branch.extend(other.clone());
        branch
    });
    any_of(spans)
}

/// What fits one of these filters.
fn any_of(filters: impl IntoIterator<Item = Document>) -> Document {
    let mut filters: Vec<Document> = filters.into_iter().collect();
    match filters.len() {
        0 => doc! {"_id": {"$in": []}},
        1 => filters.remove(0),
        _ => doc! {"$or": filters},
    }
}

/// The rows of the ledger that a query is about, by ranges of their `_id`: where it is about few agents and periods,
/// each has its own. `None`: it is about users, who have an index, or about everybody.
fn neighbours(query: &Query) -> Option<Vec<Document>> {
    let Scope::Organizations(organizations) = &query.scope else {
        return None;
    };
    if query.rows != Rows::Ledger || query.filters.contains_key(&Dimension::User) {
        return None;
    }
    let mut other = others(query);
    let periods = || query.cover.iter().flat_map(|span| span.periods());
    let agents = query.filters.get(&Dimension::Agent).filter(|agents| {
        let limit = MOST_QUESTIONS / (organizations.len() * agents.len()).max(1);
        periods().nth(limit).is_none()
    });
    let mut ranges = Vec::new();
    for organization in organizations {
        match agents {
            Some(agents) => ranges.extend(periods().flat_map(|period| {
                agents
                    .iter()
                    .map(move |agent| key::of_agent(organization, period, agent))
            })),
            None => ranges.extend(
                query
                    .cover
                    .iter()
                    .map(|span| key::span(organization, span.first, span.last)),
            ),
        }
    }
    if agents.is_some() {
        other.remove(field(query.rows, Dimension::Agent));
    }
    let filter = |Range { start, end }: Range<String>| {
        let mut filter = doc! {"_id": {"$gte": start, "$lt": end}};
        filter.extend(other.clone());
        filter
    };
    Some(ranges.into_iter().map(filter).collect())
}

/// The rows of these owners.
pub(super) fn owner(scope: &Scope) -> Document {
    match scope {
        Scope::Organizations(these) => doc! {"organizationId": among(these)},
        Scope::AllExcept(none) if none.is_empty() => Document::new(),
        // An expression, and no `$nin`: to leave some out is nothing that an index of organizations is good for.
        Scope::AllExcept(these) => {
            doc! {"$expr": {"$not": [{"$in": ["$organizationId", {"$literal": these}]}]}}
        }
    }
}

/// One of these values. One alone is a plain equality: not every server finds an index for `$eq` or `$in`. A
/// string is never taken for an operator.
fn among(values: &[String]) -> Bson {
    match values {
        [one] => one.into(),
        several => doc! {"$in": several}.into(),
    }
}

fn selected(query: &Query) -> Document {
    if let Some(ids) = ids(query) {
        return doc! {"_id": {"$in": ids}};
    }
    neighbours(query).map_or_else(
        || rows_in(query.rows, &query.scope, &query.cover, &others(query)),
        any_of,
    )
}

/// What rows must be besides being of these owners and periods.
fn others(query: &Query) -> Document {
    let filters = query.filters.iter();
    let mut other: Document = filters
        .map(|(dimension, values)| (field(query.rows, *dimension).to_owned(), among(values)))
        .collect();
    if let Some(keys) = &query.keys {
        let named = |key: &Key| -> Document {
            let parts = query.group_by.iter().zip(key);
            parts
                .map(|(dimension, value)| (field(query.rows, *dimension).to_owned(), Bson::from(&**value)))
                .collect()
        };
        other.insert("$or", keys.iter().map(named).collect::<Vec<_>>());
    }
    other
}

/// The `_id`s of the rows, where the query names each of them.
fn ids(query: &Query) -> Option<Vec<String>> {
    let (Rows::Rollups(marginal), Scope::Organizations(organizations)) = (query.rows, &query.scope) else {
        return None;
    };
    let values = values(marginal, query)?;
    let periods: Vec<Period> = query.cover.iter().flat_map(|span| span.periods()).collect();
    if organizations.len() * periods.len() * values.len() > MOST_IDS {
        return None;
    }
    let mut ids = Vec::with_capacity(organizations.len() * periods.len() * values.len());
    for organization in organizations {
        for period in &periods {
            for (value, provider) in &values {
                ids.push(key::rollup(organization, *period, marginal, value, *provider));
            }
        }
    }
    Some(ids)
}

/// The values of a marginal, with the provider where it belongs to the value.
fn values(marginal: Marginal, query: &Query) -> Option<Vec<(&str, Option<&str>)>> {
    let of = |dimension| {
        query
            .filters
            .get(&dimension)
            .map(|values| values.iter().map(String::as_str))
    };
    if let Some(keys) = &query.keys {
        // Keys and filters at once are rare: then rows are scanned.
        let at = |dimension| query.group_by.iter().position(|grouped| *grouped == dimension);
        let provider = at(Dimension::Provider);
        let value = at(*dimensions(marginal).first()?)?;
        let whole = query.filters.is_empty() && (marginal == Marginal::Model) == provider.is_some();
        return whole.then(|| {
            keys.iter()
                .map(|key| (&*key[value], provider.map(|at| &*key[at])))
                .collect()
        });
    }
    match marginal {
        Marginal::Organization => None,
        Marginal::Model => {
            let (models, providers) = (of(Dimension::Model)?, of(Dimension::Provider)?);
            Some(
                models
                    .flat_map(|model| providers.clone().map(move |provider| (model, Some(provider))))
                    .collect(),
            )
        }
        Marginal::Agent | Marginal::User | Marginal::Source => Some(
            of(*dimensions(marginal).first()?)?
                .map(|value| (value, None))
                .collect(),
        ),
    }
}

/// The field that holds a dimension.
fn field(rows: Rows, named: Dimension) -> &'static str {
    match rows {
        Rows::Rollups(marginal) if dimensions(marginal).first() == Some(&named) => "value",
        Rows::Rollups(_) | Rows::Ledger => named.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use rollup::period::Granularity;

    fn query(rows: Rows) -> Query {
        let day = |key: &str| Period::parse(Granularity::Daily, key).expect(key);
        Query {
            rows,
            scope: Scope::Organizations(vec!["acme".into()]),
            cover: vec![Span {
                first: day("2026-01-05"),
                last: day("2026-01-06"),
            }],
            filters: BTreeMap::new(),
            group_by: Vec::new(),
            by_period: false,
            keys: None,
            counters: vec![Counter::Requests],
            order: None,
            row_limit: 7,
        }
    }

    #[test]
    fn a_total_is_one_group_of_a_scan() {
        let expected = vec![
            doc! {"$match": {
                "organizationId": "acme", "granularity": "daily", "set": "organization",
                "periodKey": {"$gte": "2026-01-05", "$lte": "2026-01-06"},
            }},
            doc! {"$limit": 8_i64},
            doc! {"$group": {"_id": null, "rows": {"$sum": 1_i64}, "requests": {"$sum": "$requests"}}},
        ];
        assert_eq!(of(&query(Rows::Rollups(Marginal::Organization))), expected);
    }

    #[test]
    fn rows_that_are_all_named_are_fetched_by_their_ids() {
        let mut one = query(Rows::Rollups(Marginal::User));
        one.filters.insert(Dimension::User, vec!["u/1".into()]);
        let ids = [
            "v1/acme/daily/2026-01-05/user/u%2F1",
            "v1/acme/daily/2026-01-06/user/u%2F1",
        ];
        assert_eq!(selected(&one), doc! {"_id": {"$in": ids.as_slice()}});

        let mut models = query(Rows::Rollups(Marginal::Model));
        models.group_by = vec![Dimension::Model, Dimension::Provider];
        models.keys = Some(vec![Box::new(["m".into(), "p".into()])]);
        let ids = [
            "v1/acme/daily/2026-01-05/model/m/p",
            "v1/acme/daily/2026-01-06/model/m/p",
        ];
        assert_eq!(selected(&models), doc! {"_id": {"$in": ids.as_slice()}});

        models.keys = None;
        models.filters.insert(Dimension::Model, vec!["m".into()]);
        assert_eq!(
            super::ids(&models),
            None,
            "a model without its provider is no whole key"
        );
    }

    #[test]
    fn rows_that_are_groups_are_found_span_by_span() {
        let mut agents = query(Rows::Rollups(Marginal::Agent));
        agents.group_by = vec![Dimension::Agent];
        assert!(
            matches!(plan(&agents), Plan::Sums(_)),
            "several days of one group"
        );
        agents.by_period = true;
        let week = Period::parse(Granularity::Weekly, "2026-W03").expect("a week");
        agents.cover.push(Span {
            first: week,
            last: week,
        });
        let days = doc! {
            "organizationId": "acme", "granularity": "daily", "set": "agent",
            "periodKey": {"$gte": "2026-01-05", "$lte": "2026-01-06"},
        };
        let week = doc! {
            "organizationId": "acme", "granularity": "weekly", "set": "agent", "periodKey": "2026-W03",
        };
        assert_eq!(plan(&agents), Plan::Rows(vec![days, week]));
        agents.scope = Scope::AllExcept(Vec::new());
        assert!(
            matches!(plan(&agents), Plan::Sums(_)),
            "an agent of several organizations"
        );
    }

    #[test]
    fn a_model_is_a_group_only_together_with_its_provider() {
        let mut models = query(Rows::Rollups(Marginal::Model));
        models.by_period = true;
        models.group_by = vec![Dimension::Model];
        assert!(matches!(plan(&models), Plan::Sums(_)));
        models.group_by.push(Dimension::Provider);
        assert!(matches!(plan(&models), Plan::Rows(_)));
        models.order = Some(api::reader::Order(Counter::CostNanos));
        assert!(matches!(plan(&models), Plan::Sums(_)), "the server ranks");
    }

    #[test]
    fn a_few_users_are_asked_for_one_by_one_and_many_at_once() {
        let mut ledger = query(Rows::Ledger);
        let users = |count: usize| (0..count).map(|n| format!("u{n}")).collect();
        ledger.filters.insert(Dimension::User, users(2));
        ledger.filters.insert(Dimension::Team, vec!["t".into()]);
        let of = |user: &str| {
            doc! {
                "organizationId": "acme", "granularity": "daily",
                "periodKey": {"$gte": "2026-01-05", "$lte": "2026-01-06"}, "userId": user, "teamId": "t",
            }
        };
        assert_eq!(plan(&ledger), Plan::Few(vec![of("u0"), of("u1")]));
        ledger.filters.insert(Dimension::User, users(MOST_QUESTIONS + 1));
        assert!(matches!(plan(&ledger), Plan::Sums(_)));
        ledger.filters.remove(&Dimension::User);
        assert!(matches!(plan(&ledger), Plan::Sums(_)));
    }

    #[test]
    fn rows_of_the_ledger_are_found_by_ranges_of_their_ids() {
        let range = |from: &str, to: &str| doc! {"_id": {"$gte": from, "$lt": to}};
        let mut ledger = query(Rows::Ledger);
        let span = range("v1/acme/daily/2026-01-05/", "v1/acme/daily/2026-01-060");
        assert_eq!(selected(&ledger), span);
        ledger.filters.insert(Dimension::Kind, vec!["llm".into()]);
        let mut of_kind = span;
        of_kind.insert("kind", "llm");
        assert_eq!(selected(&ledger), of_kind);

        ledger.filters = BTreeMap::from([(Dimension::Agent, vec!["a/b".into()])]);
        let days = ["05", "06"].map(|day| {
            let begin = format!("v1/acme/daily/2026-01-{day}/a%2Fb");
            range(&format!("{begin}/"), &format!("{begin}0"))
        });
        assert_eq!(selected(&ledger), doc! {"$or": days.to_vec()});
        let many = (0..=MOST_QUESTIONS / 2).map(|agent| agent.to_string()).collect();
        ledger.filters = BTreeMap::from([(Dimension::Agent, many)]);
        let whole = selected(&ledger);
        assert_eq!(
            whole.get("_id"),
            of_kind.get("_id"),
            "the agents of a span at once"
        );
        assert!(whole.contains_key("agentSlug"));
    }

    #[test]
    fn a_filter_is_values_to_compare_with_whatever_they_look_like() {
        let mut ledger = query(Rows::Ledger);
        let several = vec![r#"{"$ne": null}"#.into(), "$where".into()];
        ledger.filters.insert(Dimension::Team, several);
        ledger
            .filters
            .insert(Dimension::User, vec![r#"{"$ne": null}"#.into()]);
        let selected = selected(&ledger);
        assert_eq!(
            selected.get("teamId"),
            Some(&doc! {"$in": [r#"{"$ne": null}"#, "$where"]}.into())
        );
        assert_eq!(selected.get("userId"), Some(&r#"{"$ne": null}"#.into()));
        assert!(!selected.contains_key("set"));
    }
}
