//! What a token says of its bearer, in any of the forms that identity providers write: values in, values out.
//!
//! An entry that cannot be read is left out, and the others stand: nobody is taken for more than a token says, nor for
//! less because of something else in it.

use std::collections::{BTreeMap, BTreeSet};

use rollup::event::MAX_TEXT_CHARS;

use super::Role;
use super::json::Json;
use super::pointer::Pointer;

/// The role that says no more than that one belongs.
const MEMBER: &str = "member";
/// Where an entry that is an object has its roles.
const ROLES: &str = "roles";

/// Where tokens say to which organizations somebody belongs, and who is staff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The claim that names organizations, with roles in them.
    pub organizations: Pointer,
    /// The roles that read a whole organization. With any other role one is a member.
    pub admin_roles: Vec<String>,
    /// The claim that says who is staff of the platform.
    pub staff: Pointer,
    /// What it then says, or holds.
    pub staff_value: String,
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            organizations: Pointer::to("organizations"),
            admin_roles: vec!["owner".to_owned(), "admin".to_owned()],
            staff: Pointer::to("platformRole"),
            staff_value: "staff".to_owned(),
        }
    }
}

/// What could be read of a token, and why some of it could not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stated {
    pub(super) organizations: BTreeMap<String, Role>,
    pub(super) is_staff: bool,
    pub(super) flaws: BTreeSet<Flaw>,
}

/// Why something in a token is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Flaw {
    Form,
    Item,
    Id,
    Role,
    Colon,
    Twice,
    Staff,
}

impl Flaw {
    pub(super) const ALL: [Self; 7] = [
        Flaw::Form,
        Flaw::Item,
        Flaw::Id,
        Flaw::Role,
        Flaw::Colon,
        Flaw::Twice,
        Flaw::Staff,
    ];

    pub(super) const fn in_words(self) -> &'static str {
        match self {
            Flaw::Form => "it is neither an object by organization nor a list",
            Flaw::Item => "an item of the list is no text `<id>` or `<id>:<role>`",
            Flaw::Id => "an id is none that an organization can have",
            Flaw::Role => "a role is neither a text nor a list of texts, nor an object with such `roles`",
            Flaw::Colon => {
                "what follows the last colon of an item is no known role: an id with colons needs its role behind \
                 it, such as `<id>:member`"
            }
            Flaw::Twice => "one object names an organization twice",
            Flaw::Staff => "it is neither a text nor a list of texts",
        }
    }
}

impl Claims {
    /// Reads a token whose signature was checked.
    pub(super) fn read(&self, token: &Json) -> Stated {
        let mut stated = Stated::default();
        match token.at(&self.organizations) {
            None | Some(Json::Null) => {}
            Some(Json::Object(entries)) => self.by_organization(entries, &mut stated),
            Some(Json::List(items)) => self.listed(items, &mut stated),
            Some(_) => {
                stated.flaws.insert(Flaw::Form);
            }
        }
        match token.at(&self.staff).map(texts) {
            None => {}
            Some(Some(texts)) => stated.is_staff = texts.contains(&self.staff_value.as_str()),
            Some(None) => {
                stated.flaws.insert(Flaw::Staff);
            }
        }
        stated
    }

    /// `{"<id>": <role>}`. Of an id that is there twice nobody knows which of the two is meant.
    fn by_organization(&self, entries: &[(String, Json)], stated: &mut Stated) {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for (id, _) in entries {
            *times.entry(id).or_default() += 1;
        }
        for (id, value) in entries {
            let entry = match self.role_in(value) {
                _ if times[id.as_str()] > 1 => Err(Flaw::Twice),
                None => Err(Flaw::Role),
                Some(role) => Ok((id.as_str(), role)),
            };
            stated.take(entry);
        }
    }

    /// `["<id>", "<id>:<role>"]`. Where two items name one organization, both are said: the greater role holds.
    fn listed(&self, items: &[Json], stated: &mut Stated) {
        for item in items {
            stated.take(item.text().ok_or(Flaw::Item).and_then(|text| self.item(text)));
        }
    }

    /// Splits an item at its last colon. Ids may have colons, too: where what follows is no known role, and may be a part
    /// of the id, it is not guessed.
    fn item<'a>(&self, text: &'a str) -> Result<(&'a str, Role), Flaw> {
        match text.rsplit_once(':') {
            None => Ok((text, Role::Member)),
            Some((id, role)) if role == MEMBER || self.is_admin(role) => Ok((id, self.role(role))),
            Some((id, role)) if !id.contains(':') && may_be_role(role) => Ok((id, Role::Member)),
            Some(_) => Err(Flaw::Colon),
        }
    }

    /// The role that an entry states: itself, or as its `roles`. Without any, one belongs.
    fn role_in(&self, value: &Json) -> Option<Role> {
        let stated = match value {
            Json::Null => return None,
            Json::Object(_) if !value.has(ROLES) => return Some(Role::Member),
            Json::Object(_) => value.member(ROLES)?,
            other => other,
        };
        let roles = texts(stated).filter(|roles| roles.iter().all(|role| !role.is_empty()))?;
        let greatest = roles.into_iter().map(|role| self.role(role)).max();
        Some(greatest.unwrap_or(Role::Member))
    }

    fn role(&self, name: &str) -> Role {
        if self.is_admin(name) {
            Role::Admin
        } else {
            Role::Member
        }
    }

    fn is_admin(&self, name: &str) -> bool {
        self.admin_roles.iter().any(|role| role == name)
    }
}

impl Stated {
    fn take(&mut self, entry: Result<(&str, Role), Flaw>) {
        match entry {
            Ok((id, role)) if is_organization(id) => {
                let known = self.organizations.entry(id.to_owned()).or_insert(role);
                *known = role.max(*known);
            }
            Ok(_) => {
                self.flaws.insert(Flaw::Id);
            }
            Err(flaw) => {
                self.flaws.insert(flaw);
            }
        }
    }
}

/// A text, or a list of nothing but texts; `null` is an empty one.
fn texts(value: &Json) -> Option<Vec<&str>> {
    match value {
        Json::Null => Some(Vec::new()),
        Json::Text(text) => Some(vec![text]),
        Json::List(items) => items.iter().map(Json::text).collect(),
        Json::Truth | Json::Number(_) | Json::Object(_) => None,
    }
}

/// Whether this may be the name of a role that we do not know, and is no part of an id: a word, without digits.
fn may_be_role(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphabetic() || matches!(c, '-' | '_'))
}

/// Whether an event can name an organization so.
fn is_organization(id: &str) -> bool {
    let is_reserved = id.len() >= 4 && id.starts_with("__") && id.ends_with("__");
    !id.is_empty()
        && !is_reserved
        && id.chars().count() <= MAX_TEXT_CHARS
        && !id.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
