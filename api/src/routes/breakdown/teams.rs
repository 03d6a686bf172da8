//! The teams under which the users of a page have usage.

use std::collections::{BTreeSet, HashMap};

use rollup::event::NONE;

use crate::csv_table::text_cell;
use crate::problem::Problem;
use crate::query::{GroupQuery, QueryContext};
use crate::ranking::Ranked;
use crate::reader::{Key, Snapshot};
use crate::route::Common;
use crate::rows::Dimension;

/// How many teams of one user are named.
pub(super) const NAMED: usize = 5;

/// Up to so many users are asked for one by one.
const MOST_ONE_BY_ONE: usize = 200;

/// The teams under which one user has usage. What came without a team is none of them.
#[derive(Debug, Default)]
pub(super) struct Teams {
    /// The first of them by name.
    pub(super) named: BTreeSet<Box<str>>,
    /// How many there are, named or not.
    pub(super) count: u64,
}

/// The teams of several users.
pub(super) struct OfUsers(HashMap<Box<str>, Teams>);

impl Teams {
    pub(super) const COLUMNS: [&'static str; 2] = ["teams", "teamCount"];

    fn add(&mut self, team: &str) {
        self.count += 1;
        self.named.insert(team.into());
        if self.named.len() > NAMED {
            self.named.pop_last();
        }
    }

    /// Two cells of CSV. The names are a JSON list, since they may hold whatever could part them.
    pub(super) fn cells(&self) -> Result<[String; 2], Problem> {
        let named = serde_json::to_string(&self.named)?;
        Ok([text_cell(&named), self.count.to_string()])
    }
}

impl OfUsers {
    /// Takes out the teams of one user.
    pub(super) fn of(&mut self, user: &Key) -> Teams {
        let [user] = &**user else {
            return Teams::default();
        };
        self.0.remove(user).unwrap_or_default()
    }
}

/// Reads the teams of these users from the state of the ledger that they come from: one by one where somebody
/// may ask for some of them again, and otherwise at once.
pub(super) async fn read<S: Snapshot>(
    common: &Common,
    context: &QueryContext<S>,
    users: &[Ranked],
    again: bool,
) -> Result<OfUsers, Problem> {
    let users = users.iter().map(|ranked| &ranked.position.key);
    let users: Vec<String> = users.flatten().map(ToString::to_string).collect();
    let mut teams: HashMap<Box<str>, Teams> = HashMap::new();
    let one_by_one = again && users.len() <= MOST_ONE_BY_ONE;
    for users in users.chunks(if one_by_one { 1 } else { users.len().max(1) }) {
        let mut filters = common.filters.clone();
        filters.insert(Dimension::User, users.to_vec());
        let group_query = GroupQuery {
            is_worth_remembering: one_by_one,
            ..GroupQuery::groups(&filters, &[Dimension::User, Dimension::Team])
        };
        context
            .each(common.days.range, &group_query, |key, _, sums| {
                if let [user, team] = &**key
                    && **team != *NONE
                    && !sums.is_zero()
                {
                    teams.entry(user.clone()).or_default().add(team);
                }
                Ok(())
            })
            .await?;
    }
    Ok(OfUsers(teams))
}
