use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::*;

/// Where tokens say what, as the table has it. The names of a pointer, not escaped.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reading {
    organizations: Vec<String>,
    admin_roles: Vec<String>,
    staff: Vec<String>,
    staff_value: String,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    reading: Option<Reading>,
    claims: Value,
    organizations: BTreeMap<String, String>,
    #[serde(default)]
    staff: bool,
}

fn pointer(names: &[String]) -> Pointer {
    let escaped = names
        .iter()
        .map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1")));
    escaped.collect::<String>().parse().expect("a pointer")
}

impl From<Reading> for Claims {
    fn from(reading: Reading) -> Self {
        Self {
            organizations: pointer(&reading.organizations),
            admin_roles: reading.admin_roles,
            staff: pointer(&reading.staff),
            staff_value: reading.staff_value,
        }
    }
}

fn read(claims: &Claims, text: &str) -> Stated {
    claims.read(&serde_json::from_str(text).expect("json"))
}

/// The table that the page reads tokens by, too.
#[test]
fn each_form_says_what_it_says_and_no_more() {
    let table = include_str!("../../../../tests/data/claims.json");
    for row in serde_json::from_str::<Vec<Row>>(table).expect("a table") {
        let claims = row.reading.map(Claims::from).unwrap_or_default();
        let stated = read(&claims, &row.claims.to_string());
        let shown: BTreeMap<String, String> = stated
            .organizations
            .into_iter()
            .map(|(id, role)| (id, format!("{role:?}").to_lowercase()))
            .collect();
        assert_eq!(
            (shown, stated.is_staff),
            (row.organizations, row.staff),
            "{}",
            row.name
        );
    }
}

#[test]
fn what_is_left_out_has_a_reason() {
    for (text, expected) in [
        (
            r#"{"organizations": {"a": "admin"}, "platformRole": "staff"}"#,
            vec![],
        ),
        ("{}", vec![]),
        (r#"{"organizations": null, "platformRole": null}"#, vec![]),
        (r#"{"organizations": "a"}"#, vec![Flaw::Form]),
        (r#"{"organizations": [7, {"a": "admin"}]}"#, vec![Flaw::Item]),
        (r#"{"organizations": ["", ":admin", "__none__"]}"#, vec![Flaw::Id]),
        (
            r#"{"organizations": {"a": 7, "b": {"roles": 7}}}"#,
            vec![Flaw::Role],
        ),
        (r#"{"organizations": ["urn:org:5", "org:5"]}"#, vec![Flaw::Colon]),
        (
            r#"{"organizations": {"a": "member", "a": "member"}}"#,
            vec![Flaw::Twice],
        ),
        (r#"{"platformRole": 7}"#, vec![Flaw::Staff]),
        (
            r#"{"organizations": {"": "admin", "b": null}, "platformRole": {"staff": true}}"#,
            vec![Flaw::Id, Flaw::Role, Flaw::Staff],
        ),
    ] {
        let flaws: Vec<Flaw> = read(&Claims::default(), text).flaws.into_iter().collect();
        assert_eq!(flaws, expected, "{text}");
    }
    let shown: BTreeSet<&str> = Flaw::ALL.map(Flaw::in_words).into();
    assert_eq!(shown.len(), Flaw::ALL.len());
    for (place, flaw) in Flaw::ALL.into_iter().enumerate() {
        assert_eq!(flaw as usize, place, "{flaw:?}");
    }
}

/// Parsers differ in which of two members they take; nobody may choose one by choosing the other's order.
#[test]
fn of_what_is_there_twice_nothing_is_taken() {
    for (text, organizations) in [
        (
            r#"{"organizations": {"a": "member", "a": "admin", "b": "admin"}}"#,
            &["b"][..],
        ),
        (
            r#"{"organizations": {"a": "admin", "a": 7, "b": "admin"}}"#,
            &["b"],
        ),
        (
            r#"{"organizations": {"a": {"roles": ["admin"], "roles": []}, "b": "admin"}}"#,
            &["b"],
        ),
        (
            r#"{"organizations": {"b": "admin"}, "organizations": {"a": "admin"}}"#,
            &[],
        ),
        (
            r#"{"organizations": {"b": "admin"}, "platformRole": "staff", "platformRole": "staff"}"#,
            &["b"],
        ),
    ] {
        let stated = read(&Claims::default(), text);
        let ids: Vec<&str> = stated.organizations.keys().map(String::as_str).collect();
        assert_eq!(
            (ids.as_slice(), stated.is_staff),
            (organizations, false),
            "{text}"
        );
    }
}

#[test]
fn ids_are_as_long_as_events_may_have_them() {
    for (length, is_read) in [(1, true), (MAX_TEXT_CHARS, true), (MAX_TEXT_CHARS + 1, false)] {
        let id = "ü".repeat(length);
        let stated = read(&Claims::default(), &format!(r#"{{"organizations": ["{id}"]}}"#));
        assert_eq!(stated.organizations.contains_key(&id), is_read, "{length}");
    }
}

/// Entries of lists and objects: good ones, and odd ones.
fn entry() -> impl Strategy<Value = Json> {
    let text = prop_oneof!["[ab:]{0,5}", "[ab]{1,2}:(admin|owner|member|x)", "admin|staff"];
    let leaf = prop_oneof![
        Just(Json::Null),
        Just(Json::Truth),
        Just(Json::Number(7.0)),
        text.prop_map(Json::Text),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let name = "[ab]{1,2}|roles|organizations|platformRole";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::List),
            prop::collection::vec((name, inner), 0..4).prop_map(Json::Object),
        ]
    })
}

fn token(organizations: Json) -> Json {
    Json::Object(vec![("organizations".to_owned(), organizations)])
}

/// Every text in a value, names of members too.
fn words(value: &Json, found: &mut Vec<String>) {
    match value {
        Json::Null | Json::Truth | Json::Number(_) => {}
        Json::Text(text) => found.push(text.clone()),
        Json::List(items) => items.iter().for_each(|item| words(item, found)),
        Json::Object(members) => members.iter().for_each(|(name, value)| {
            found.push(name.clone());
            words(value, found);
        }),
    }
}

proptest! {
    #[test]
    fn nobody_is_taken_for_more_than_the_token_says(claims in entry()) {
        let stated = Claims::default().read(&claims);
        let mut said = Vec::new();
        words(&claims, &mut said);
        let ends = |text: &str| said.iter().any(|word| word == text || word.ends_with(&format!(":{text}")));
        prop_assert!(!stated.is_staff || said.iter().any(|word| word == "staff"));
        for (id, role) in &stated.organizations {
            let begins = |word: &String| word == id || word.rsplit_once(':').is_some_and(|(begin, _)| begin == id);
            prop_assert!(said.iter().any(begins), "{id} of {claims:?}");
            prop_assert!(*role == Role::Member || ends("admin") || ends("owner"), "{id} of {claims:?}");
        }
    }

    /// Each entry is read by itself: what is odd beside it changes nothing of it.
    #[test]
    fn items_of_a_list_do_not_disturb_each_other(items in prop::collection::vec(entry(), 0..5)) {
        let claims = Claims::default();
        let mut expected = BTreeMap::new();
        for item in &items {
            for (id, role) in claims.read(&token(Json::List(vec![item.clone()]))).organizations {
                let known = expected.entry(id).or_insert(role);
                *known = role.max(*known);
            }
        }
        prop_assert_eq!(claims.read(&token(Json::List(items))).organizations, expected);
    }

    #[test]
    fn members_of_an_object_do_not_disturb_each_other(values in prop::collection::vec(entry(), 0..5)) {
        let claims = Claims::default();
        let entries: Vec<(String, Json)> =
            values.into_iter().enumerate().map(|(n, value)| (format!("o{n}"), value)).collect();
        let alone = entries.iter().flat_map(|entry| {
            claims.read(&token(Json::Object(vec![entry.clone()]))).organizations
        });
        let expected: BTreeMap<String, Role> = alone.collect();
        prop_assert_eq!(claims.read(&token(Json::Object(entries))).organizations, expected);
    }

    /// Who takes a role away from those that administer gives nobody more.
    #[test]
    fn fewer_roles_give_less(claims in entry()) {
        let none = Claims { admin_roles: vec!["nobody's".to_owned()], ..Claims::default() };
        let (less, more) = (none.read(&claims), Claims::default().read(&claims));
        for (id, role) in &less.organizations {
            prop_assert_eq!(*role, Role::Member);
            prop_assert!(more.organizations.contains_key(id), "{} of {:?}", id, claims);
        }
    }
}
