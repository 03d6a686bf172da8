//! What is said of tokens, once each: they come with every request, and whoever makes them must not fill the log.

use std::sync::atomic::{AtomicBool, Ordering};

use super::claims::{Claims, Flaw};

/// What was said since the process started.
#[derive(Default)]
pub(super) struct Once {
    flaws: [AtomicBool; Flaw::ALL.len()],
    refused: AtomicBool,
}

impl Once {
    /// Something in a token is left out. Names the claim, and nothing of what it holds.
    pub(super) fn left_out(&self, flaw: Flaw, claims: &Claims) {
        let claim = match flaw {
            Flaw::Staff => &claims.staff,
            _ => &claims.organizations,
        };
        if is_first(&self.flaws[flaw as usize]) {
            let why = flaw.in_words();
            tracing::warn!(%claim, why, "a part of a token's claim is left out; this is said once");
        }
    }

    /// A token with a good signature says nothing that could be read.
    pub(super) fn refused(&self, claims: &Claims) {
        if is_first(&self.refused) {
            tracing::warn!(
                claim = %claims.organizations,
                "a token is refused with 403: this claim of it names no organization that can be read \
                 (USAGE_LEDGER_JWT_ORGANIZATIONS_CLAIM says where it is); this is said once"
            );
        }
    }
}

fn is_first(said: &AtomicBool) -> bool {
    !said.swap(true, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flaw_is_said_once_and_none_instead_of_another() {
        let once = Once::default();
        for flaw in Flaw::ALL {
            assert!(!once.flaws[flaw as usize].load(Ordering::Relaxed), "{flaw:?}");
            once.left_out(flaw, &Claims::default());
            assert!(!is_first(&once.flaws[flaw as usize]), "{flaw:?}");
        }
    }
}
