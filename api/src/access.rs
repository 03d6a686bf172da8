//! Access to usage: decided here, on the server, for every question (lesson C10).

mod claims;
mod json;
mod jwks;
mod once;
mod pointer;
pub(crate) mod token;

use std::collections::BTreeMap;

pub use claims::Claims;
pub use pointer::{NoPointer, Pointer};

use crate::problem::{Kind, Problem};
use crate::rows::is_sentinel;

/// Somebody's role in an organization, the greater one last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Belongs to it, and sees no more than their own usage.
    Member,
    /// Reads it whole.
    Admin,
}

/// The sender of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Anybody, where access is not checked.
    Anybody,
    /// The bearer of a valid token.
    Person(Person),
}

/// The bearer of a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) subject: String,
    pub(crate) organizations: BTreeMap<String, Role>,
    pub(crate) staff: bool,
}

/// The right that a question needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// To be owner or admin of the organization.
    Organization,
    /// To be staff of the platform.
    Platform,
    /// To belong to the organization, and to ask for nothing but one's own usage.
    Own,
    /// To be owner or admin of the organization, or of any where none is named.
    Description,
}

/// The rows that a caller gets to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grant {
    /// Those of one organization.
    Organization(String),
    /// Those of one person in one organization.
    Own { organization: String, subject: String },
    /// Those of each of these organizations.
    Several(Vec<String>),
    /// Everybody's.
    Everybody,
}

impl Caller {
    /// Decides. All that is not granted is refused.
    pub(crate) fn grant(&self, rule: Rule, organization: Option<&str>) -> Result<Grant, Problem> {
        match (rule, organization) {
            (Rule::Organization, None) => {
                Err(Problem::parameter("organizationId", "this parameter is required"))
            }
            (Rule::Organization | Rule::Description, Some(organization)) => self.administered(organization),
            (Rule::Platform, Some(_)) => Err(Problem::parameter(
                "organizationId",
                "expected no organization: the scope `platform` is about all of them",
            )),
            (Rule::Platform, None) => self.everybody(),
            (Rule::Own, organization) => self.own(organization),
            (Rule::Description, None) => match self {
                Caller::Person(person) if !person.staff => {
                    let managed: Vec<String> = person.managed().map(str::to_owned).collect();
                    if managed.is_empty() {
                        return Err(refused("expected an owner or admin of an organization"));
                    }
                    Ok(Grant::Several(managed))
                }
                Caller::Person(_) | Caller::Anybody => Ok(Grant::Everybody),
            },
        }
    }

    fn administered(&self, organization: &str) -> Result<Grant, Problem> {
        let allowed = match self {
            Caller::Anybody => true,
            Caller::Person(person) => person.staff || person.managed().any(|managed| managed == organization),
        };
        if allowed {
            Ok(Grant::Organization(organization.to_owned()))
        } else {
            Err(refused("expected an owner or admin of this organization"))
        }
    }

    fn everybody(&self) -> Result<Grant, Problem> {
        match self {
            Caller::Person(person) if !person.staff => Err(refused("expected staff of the platform")),
            Caller::Person(_) | Caller::Anybody => Ok(Grant::Everybody),
        }
    }

    fn own(&self, organization: Option<&str>) -> Result<Grant, Problem> {
        let Caller::Person(person) = self else {
            return Err(refused("one's own usage needs a token that says who asks"));
        };
        if is_sentinel(&person.subject) {
            // Nobody's usage is not the usage of somebody who calls himself so.
            return Err(refused("this subject stands for nobody"));
        }
        let mut organizations = person.organizations.keys();
        let organization = match organization {
            Some(organization) if person.staff || person.organizations.contains_key(organization) => {
                organization
            }
            Some(_) => return Err(refused("expected a member of this organization")),
            None => match (organizations.next(), organizations.next()) {
                (Some(only), None) => only,
                (Some(_), Some(_)) | (None, _) => {
                    let detail =
                        "this parameter is required where the token does not name exactly one organization";
                    return Err(Problem::parameter("organizationId", detail));
                }
            },
        };
        Ok(Grant::Own {
            organization: organization.to_owned(),
            subject: person.subject.clone(),
        })
    }

    /// Whether the caller belongs to the platform. So does everybody where access is not checked.
    pub(crate) fn is_staff(&self) -> bool {
        match self {
            Caller::Anybody => true,
            Caller::Person(person) => person.staff,
        }
    }

    /// Under which name requests of this caller are counted; callers without one share the name of their
    /// address.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Caller::Anybody => None,
            Caller::Person(person) => Some(&person.subject),
        }
    }
}

impl Person {
    fn managed(&self) -> impl Iterator<Item = &str> {
        self.organizations
            .iter()
            .filter(|(_, role)| **role == Role::Admin)
            .map(|(organization, _)| organization.as_str())
    }
}

fn refused(detail: &str) -> Problem {
    Problem::new(Kind::Forbidden, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(roles: &[(&str, Role)], staff: bool) -> Caller {
        Caller::Person(Person {
            subject: "u1".into(),
            organizations: roles.iter().map(|(id, role)| ((*id).to_owned(), *role)).collect(),
            staff,
        })
    }

    /// Rows: who. Columns: rule and organization. `+` is granted, else the status.
    #[test]
    fn c10_membership_is_checked_for_every_rule() {
        let asked = [
            (Rule::Organization, Some("a")),
            (Rule::Organization, Some("b")),
            (Rule::Own, Some("a")),
            (Rule::Own, Some("b")),
            (Rule::Own, None),
            (Rule::Platform, None),
            (Rule::Description, None),
            (Rule::Description, Some("b")),
        ];
        for (name, caller, expected) in [
            (
                "admin",
                person(&[("a", Role::Admin)], false),
                "+ 403 + 403 + 403 + 403",
            ),
            (
                "member",
                person(&[("a", Role::Member)], false),
                "403 403 + 403 + 403 403 403",
            ),
            ("staff", person(&[], true), "+ + + + 400 + + +"),
            ("off", Caller::Anybody, "+ + 403 403 403 + + +"),
            (
                "admin of one, member of another",
                person(&[("a", Role::Member), ("b", Role::Admin)], false),
                "403 + + + 400 403 + +",
            ),
        ] {
            let shown: Vec<String> = asked
                .iter()
                .map(|(rule, organization)| match caller.grant(*rule, *organization) {
                    Ok(_) => "+".to_owned(),
                    Err(problem) => problem.status().to_string(),
                })
                .collect();
            assert_eq!(shown.join(" "), expected, "{name}");
        }
    }

    #[test]
    fn one_sees_ones_own_usage_and_nobody_elses() {
        let granted = person(&[("a", Role::Member)], false).grant(Rule::Own, None);
        let own = Grant::Own {
            organization: "a".into(),
            subject: "u1".into(),
        };
        assert_eq!(granted, Ok(own));
    }
}
