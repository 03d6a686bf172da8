//! How a lane is asked for, until it is ours or the source no longer wants it.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::health::{Concern, Health, LaneHealth, Trouble};
use crate::hold::{HOLD, Reminder, while_away};
use crate::lane::LaneId;
use crate::ledger::{Acquired, FenceError, Granted, Ledger};
use crate::source::Grant;

/// How often, at least, a lane is asked for again while another process holds it: a leader that stops in good
/// order gives its lane back at once.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How often a lane that stopped is looked at: somebody may have said how it goes on.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How often at most.
const SOON: Duration = Duration::from_millis(50);

/// Whether the source still wants a lane that it asked for.
pub(super) struct Wanted<'a> {
    pub(super) reply: &'a mut oneshot::Sender<Grant>,
    pub(super) unwanted: &'a CancellationToken,
}

impl Wanted<'_> {
    fn is_over(&self) -> bool {
        self.reply.is_closed() || self.unwanted.is_cancelled()
    }

    async fn over(&mut self) {
        tokio::select! {
            () = self.reply.closed() => {}
            () = self.unwanted.cancelled() => {}
        }
    }
}

/// Waits until somebody has said how a lane goes on that stopped here; or until the source no longer wants it. Whoever
/// took it again before would only stop again.
pub(super) async fn until_resumed<L: Ledger>(
    ledger: &L,
    lane: &LaneId,
    health: &Health,
    wanted: &mut Wanted<'_>,
    noted: CancellationToken,
) {
    tokio::select! {
        biased;
        () = wanted.over() => return,
        () = noted.cancelled() => {}
    }
    let (mut in_trouble, mut reminder) = (false, Reminder::default());
    loop {
        let looked = ledger.is_stopped(lane).await;
        ledger.alive();
        if let Err(error) = &looked {
            in_trouble = true;
            health.trouble(Concern::Lanes, Some(Trouble::from(error)));
        } else if std::mem::take(&mut in_trouble) {
            health.trouble(Concern::Lanes, None);
        }
        let pause = match looked {
            Ok(true) => LOOK_AGAIN,
            Ok(false) => return,
            Err(FenceError::Away(why)) => {
                tracing::warn!(%lane, error = why, "the ledger is away; looking at the stopped lane again");
                LOOK_AGAIN
            }
            Err(FenceError::Refused { reason, why }) => {
                reminder.refused("a stopped lane cannot be looked at", reason, &why);
                HOLD
            }
        };
        tokio::select! {
            biased;
            () = wanted.over() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Asks for a lane until it is ours; `None`: the source no longer wants it.
pub(super) async fn acquire<L: Ledger>(
    ledger: &L,
    lane: &LaneId,
    health: &Health,
    mut wanted: Wanted<'_>,
) -> Option<Granted> {
    let (mut waited, mut reminder) = (while_away(), Reminder::default());
    let mut standby = false;
    health.waits(lane, LaneHealth::Acquiring);
    loop {
        if wanted.is_over() {
            return None;
        }
        let asked = ledger.acquire(lane).await;
        ledger.alive();
        let pause = match asked {
            Ok(Acquired::Granted(granted)) => {
                health.trouble(Concern::Lanes, None);
                return Some(granted);
            }
            Ok(Acquired::LeasedTo { owner, ask_in }) => {
                health.trouble(Concern::Lanes, None);
                health.waits(lane, LaneHealth::Standby);
                if !standby {
                    tracing::info!(%lane, owner, "another process has this lane; waiting for it");
                    standby = true;
                }
                ask_in.clamp(SOON, ASK_AGAIN)
            }
            Err(FenceError::Away(why)) => {
                tracing::warn!(%lane, error = why, "the ledger is away; asking for the lane again");
                health.trouble(Concern::Lanes, Some(Trouble::Away));
                waited.next().unwrap_or(ASK_AGAIN)
            }
            Err(FenceError::Refused { reason, why }) => {
                reminder.refused("the lane cannot be acquired", reason, &why);
                health.trouble(Concern::Lanes, Some(Trouble::Refused(reason)));
                HOLD
            }
        };
        tokio::select! {
            biased;
            () = wanted.over() => return None,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
