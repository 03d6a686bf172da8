//! Where reading of one partition stands. Pure: it is told what was met, and says what that means.

use std::collections::VecDeque;
use std::time::Instant;

use super::topic::changed;
use crate::lane::{Fence, LastRecord, Position};
use crate::source::{Stop, StopReason};

/// Marks that are kept of a partition that is behind. Beyond, every second one is forgotten.
const MARKS: usize = 256;

/// What is known of the records that were done before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Done {
    /// The offset after them, or that of one of which only some events are done; `None`: nothing was read yet.
    pub(super) next: Option<i64>,
    /// How many events of the record there are done.
    pub(super) index: u32,
    /// The last of them.
    pub(super) last: Option<LastRecord>,
}

impl Done {
    pub(super) fn of(fence: &Fence) -> Result<Self, String> {
        let (next, index) = match &fence.position {
            None => (None, 0),
            // Where only some events of a record are done, that record is the last one, too: an index beside any other
            // is that of a record of before, which a program left that knew none.
            Some(Position::Offset { next, index }) => match fence.last {
                Some(last) if last.offset == *next => (Some(*next), *index),
                _ => (Some(*next), 0),
            },
            Some(Position::Stream { .. }) => return Err("the lane's position is not an offset".into()),
        };
        Ok(Self {
            next,
            index,
            last: fence.last,
        })
    }
}

/// Where a partition begins and ends at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// The first offset that is still there.
    pub(super) low: i64,
    /// The offset after the last record, of open transactions too.
    pub(super) high: i64,
}

/// Everything that reached the partition up to an instant lies below an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    at_ms: i64,
    end: i64,
}

/// What is to be done with a record.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Met {
    /// It is new, but for so many of its events.
    Take(u32),
    /// It is done already.
    Skip,
    /// The record at this offset is not the one that was done: the partition is another.
    Changed(Stop),
    /// Records before it may have been passed over: the lane is to be begun again where it is.
    Suspect,
}

/// Reading of one partition under one grant.
#[derive(Debug)]
pub(super) struct Track {
    /// The offset after everything that was sent.
    next: i64,
    done: Done,
    /// The last record that was done must be met before another.
    check: Option<LastRecord>,
    marks: VecDeque<Mark>,
    /// The end as it was last seen.
    end: i64,
    /// The latest time at which a record was taken in.
    latest_ms: i64,
    /// Nothing was met since the end was.
    at_end: bool,
    /// Since when a batch that was passed over may be one of this partition.
    suspect_since: Option<Instant>,
}

impl Track {
    /// Decides where to begin: at the last record that was done, where it is still there, to see that it is
    /// the same.
    ///
    /// | what was done | the partition | |
    /// |---|---|---|
    /// | nothing | | begin at its first offset |
    /// | up to `next` | ends below `next` | another topic of the same name, or one that lost records |
    /// | up to `next` | begins above `next` | records were deleted before they were read |
    /// | up to `next`, the last record known | still has its offset | begin there, and compare |
    /// | up to `next` | begins between the last record and `next` | begin at `next` |
    ///
    /// Where only some events of the record at `next` are done, that record is the last one, too.
    pub(super) fn begin(done: Done, bounds: Bounds) -> Result<(Self, i64), Box<Stop>> {
        let Bounds { low, high } = bounds;
        let next = done.next.unwrap_or(low);
        // One of which some events are done is there.
        if next + i64::from(done.index > 0) > high {
            return Err(Box::new(changed(format!(
                "the partition ends at offset {high}, and everything up to {next} was read before: the topic was \
                 recreated, or lost records"
            ))));
        }
        if next < low {
            return Err(Box::new(Stop {
                reason: StopReason::OffsetOutOfRange,
                detail: format!(
                    "the partition begins at offset {low} now: the records from {next} on were deleted before they \
                     were read"
                ),
                resumable: None,
            }));
        }
        let check = done.last.filter(|last| last.offset >= low && done.next.is_some());
        let track = Self {
            next,
            done,
            check,
            marks: VecDeque::new(),
            end: high,
            latest_ms: done.last.map_or(i64::MIN, |last| last.timestamp_ms),
            at_end: false,
            suspect_since: None,
        };
        Ok((track, check.map_or(next, |last| last.offset)))
    }

    /// A record was met.
    pub(super) fn meet(&mut self, record: LastRecord) -> Met {
        self.at_end = false;
        let mut is_the_last = false;
        if let Some(expected) = self.check {
            if record.offset < expected.offset {
                return Met::Skip;
            }
            self.check = None;
            if record.offset == expected.offset && record != expected {
                let stop = changed(format!(
                    "the record at offset {} is not the one that was read there before: the topic was recreated",
                    record.offset
                ));
                return Met::Changed(stop);
            }
            is_the_last = record.offset == expected.offset;
            if record.offset > expected.offset {
                // Compaction, or the marker of a transaction, is no sign of another topic.
                tracing::warn!(
                    offset = expected.offset,
                    "the last record that was read is no longer in the partition; reading goes on behind it. A topic \
                     of events must not be compacted"
                );
            }
        }
        if record.offset < self.next {
            return Met::Skip;
        }
        if self.suspect_since.is_some() && record.offset > self.next {
            return Met::Suspect;
        }
        self.suspect_since = None;
        // Only of the very record that was begun are events done.
        let done = if is_the_last { self.done.index } else { 0 };
        self.next = record.offset + 1;
        self.done = Done {
            next: Some(self.next),
            index: 0,
            last: Some(record),
        };
        Met::Take(done)
    }

    /// The end of the partition was met: every record up to there was.
    pub(super) fn meet_end(&mut self) {
        // One of which some events are done is still to be met.
        if self.done.index == 0 {
            self.check = None;
        }
        self.at_end = true;
    }

    /// The reader is at this offset: what lies between the last record and it holds no record.
    pub(super) fn advance(&mut self, position: i64) {
        if self.check.is_none() && self.suspect_since.is_none() && position > self.next {
            self.next = position;
            self.done.next = Some(position);
            self.done.index = 0;
        }
    }

    /// librdkafka has passed over a batch, and does not say of which partition. Where it was one of this
    /// partition, the next record does not follow the last. Since when that is open.
    pub(super) fn suspect(&mut self, now: Instant) -> Instant {
        *self.suspect_since.get_or_insert(now)
    }

    /// The offset after everything that was met.
    pub(super) const fn next(&self) -> i64 {
        self.next
    }

    /// Whether the partition has more than what was met, as far as its end was looked at.
    pub(super) const fn has_more(&self) -> bool {
        self.end > self.next
    }

    /// Whether the lane stands where `next` says: not while the last record is still to be compared.
    pub(super) const fn is_placed(&self) -> bool {
        self.check.is_none()
    }

    /// Whether everything was met that the broker gives out.
    pub(super) const fn is_at_end(&self) -> bool {
        self.at_end
    }

    /// What a new start must go on from.
    pub(super) const fn done(&self) -> Done {
        self.done
    }

    /// The partition ended here, at an instant before it was asked.
    pub(super) fn mark(&mut self, at_ms: i64, end: i64) -> Result<(), Box<Stop>> {
        if end < self.end {
            return Err(Box::new(changed(format!(
                "the partition ended at offset {} before and ends at {end} now: the topic was recreated, or lost records",
                self.end
            ))));
        }
        self.end = end;
        match self.marks.back_mut() {
            Some(last) if last.end == end => last.at_ms = at_ms,
            _ => self.marks.push_back(Mark { at_ms, end }),
        }
        if self.marks.len() > MARKS {
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
        }
        Ok(())
    }

    /// The instant up to which everything that reached the partition lies below `next`, if that is news.
    pub(super) fn passed(&mut self) -> Option<i64> {
        let mut at_ms = None;
        while let Some(mark) = self.marks.front().filter(|mark| mark.end <= self.next) {
            at_ms = Some(mark.at_ms);
            self.marks.pop_front();
        }
        at_ms
    }

    /// When the broker took a record in. Producers may stamp records themselves; but a record was taken in
    /// after the one before it, and before now.
    pub(super) fn source_time_ms(&mut self, timestamp_ms: Option<i64>, now_ms: i64) -> i64 {
        let latest = timestamp_ms.unwrap_or(now_ms).max(self.latest_ms).min(now_ms);
        self.latest_ms = latest;
        latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::JournalId;
    use crate::outcome::Tally;

    fn record(offset: i64) -> LastRecord {
        LastRecord {
            offset,
            timestamp_ms: 1_000 + offset,
            hash: offset * 7,
        }
    }

    fn begin(next: Option<i64>, last: Option<i64>, low: i64, high: i64) -> Result<(Track, i64), StopReason> {
        let done = Done {
            next,
            index: 0,
            last: last.map(record),
        };
        Track::begin(done, Bounds { low, high }).map_err(|stop| stop.reason)
    }

    fn offset(next: Option<i64>, last: Option<i64>, low: i64, high: i64) -> Result<i64, StopReason> {
        begin(next, last, low, high).map(|(_, offset)| offset)
    }

    /// Lessons D7 and D10: the earliest where nothing was read, and offset 0 is an offset.
    #[test]
    fn d7_d10_one_test_per_row_of_where_to_begin() {
        assert_eq!(offset(None, None, 0, 0), Ok(0));
        assert_eq!(offset(None, None, 5, 9), Ok(5));
        assert_eq!(offset(Some(0), None, 0, 9), Ok(0));
        assert_eq!(offset(Some(10), Some(9), 0, 9), Err(StopReason::TopicChanged));
        assert_eq!(
            offset(Some(10), Some(9), 11, 20),
            Err(StopReason::OffsetOutOfRange)
        );
        assert_eq!(offset(Some(1), Some(0), 0, 1), Ok(0));
        assert_eq!(offset(Some(10), Some(7), 7, 20), Ok(7));
        assert_eq!(offset(Some(10), Some(7), 8, 20), Ok(10));
        assert_eq!(offset(Some(10), Some(7), 10, 10), Ok(10));
    }

    #[test]
    fn the_last_record_is_compared_and_not_sent_again() {
        let (mut track, _) = begin(Some(10), Some(7), 0, 20).expect("begins");
        assert!(!track.is_placed());
        assert_eq!(track.meet(record(7)), Met::Skip);
        assert!(track.is_placed());
        assert_eq!(
            track.meet(record(9)),
            Met::Skip,
            "below `next` everything is done"
        );
        assert_eq!(track.meet(record(10)), Met::Take(0));
        assert_eq!(track.next(), 11);
        assert_eq!(
            track.done(),
            Done {
                next: Some(11),
                index: 0,
                last: Some(record(10))
            }
        );
    }

    #[test]
    fn a_record_that_is_begun_is_met_again_and_the_rest_of_it_is_taken() {
        let done = Done {
            next: Some(7),
            index: 2,
            last: Some(record(7)),
        };
        let bounds = Bounds { low: 0, high: 20 };
        let (mut track, offset) = Track::begin(done, bounds).expect("begins");
        assert_eq!((offset, track.meet(record(7))), (7, Met::Take(2)));
        assert_eq!(
            track.meet(record(8)),
            Met::Take(0),
            "that was of the record before"
        );
        let (mut track, _) = Track::begin(done, bounds).expect("begins");
        assert_eq!(track.meet(record(9)), Met::Take(0), "it was compacted away");
        let (mut track, _) = Track::begin(done, bounds).expect("begins");
        let other = LastRecord { hash: 1, ..record(7) };
        assert!(matches!(track.meet(other), Met::Changed(_)));
        // The same offset of another topic: nothing of that record is done.
        let ended = Track::begin(done, Bounds { low: 0, high: 7 });
        assert!(ended.is_err_and(|stop| stop.reason == StopReason::TopicChanged));
        let (mut track, _) = Track::begin(done, bounds).expect("begins");
        track.meet_end();
        assert!(!track.is_placed(), "the record is still to be compared");
        assert!(matches!(track.meet(other), Met::Changed(_)));
        let trimmed = Track::begin(done, Bounds { low: 8, high: 20 });
        assert!(trimmed.is_err_and(|stop| stop.reason == StopReason::OffsetOutOfRange));
    }

    #[test]
    fn an_index_that_is_of_no_record_that_was_begun_says_nothing() {
        let fence = |next: i64| Fence {
            epoch: 1,
            seq: 1,
            position: Some(Position::Offset { next, index: 2 }),
            last: Some(record(7)),
            generation: 0,
            journal: None,
            merged_up_to: JournalId::default(),
            tally: Tally::default(),
            ends_accepted_until: None,
        };
        assert_eq!(Done::of(&fence(7)).expect("an offset").index, 2);
        assert_eq!(Done::of(&fence(12)).expect("an offset").index, 0);
    }

    #[test]
    fn another_record_at_the_same_offset_is_another_topic() {
        for different in [
            LastRecord {
                timestamp_ms: 0,
                ..record(7)
            },
            LastRecord { hash: 0, ..record(7) },
        ] {
            let (mut track, _) = begin(Some(8), Some(7), 0, 20).expect("begins");
            assert!(
                matches!(track.meet(different), Met::Changed(stop) if stop.reason == StopReason::TopicChanged)
            );
        }
    }

    #[test]
    fn a_last_record_that_was_compacted_away_is_no_reason_to_stop() {
        let (mut track, _) = begin(Some(8), Some(7), 0, 20).expect("begins");
        assert_eq!(track.meet(record(12)), Met::Take(0));
        let (mut track, _) = begin(Some(8), Some(7), 0, 20).expect("begins");
        track.meet_end();
        assert!(track.is_placed());
    }

    #[test]
    fn the_position_never_moves_before_the_last_record_was_compared() {
        let (mut track, _) = begin(Some(8), Some(7), 0, 20).expect("begins");
        track.advance(15);
        assert_eq!(track.next(), 8);
        track.meet_end();
        track.advance(15);
        assert_eq!((track.next(), track.done().next), (15, Some(15)));
        track.advance(3);
        assert_eq!(track.next(), 15);
    }

    #[test]
    fn a_batch_that_was_passed_over_is_never_stepped_across() {
        let (mut track, _) = begin(Some(8), None, 0, 20).expect("begins");
        track.suspect(Instant::now());
        assert_eq!(
            track.meet(record(8)),
            Met::Take(0),
            "it follows: the damaged batch was another partition's"
        );
        assert_eq!(track.meet(record(12)), Met::Take(0));
        track.suspect(Instant::now());
        track.advance(20);
        assert_eq!(track.meet(record(15)), Met::Suspect);
        assert_eq!((track.next(), track.done().next), (13, Some(13)));
        assert!(track.has_more());
    }

    /// Only a partition that has more can be the one of which something was passed over.
    #[test]
    fn a_partition_that_is_read_to_its_end_has_nothing_more() {
        let (mut track, _) = begin(Some(8), None, 0, 9).expect("begins");
        assert!(track.has_more());
        track.meet(record(8));
        assert!(!track.has_more());
        track.mark(100, 10).expect("grows");
        assert!(track.has_more());
    }

    #[test]
    fn everything_up_to_a_mark_is_read_when_its_end_is_passed() {
        let (mut track, _) = begin(None, None, 0, 3).expect("begins");
        track.mark(100, 3).expect("grows");
        track.mark(200, 3).expect("stays");
        track.mark(300, 5).expect("grows");
        assert_eq!(track.passed(), None);
        for offset in 0..4 {
            track.meet(record(offset));
        }
        assert_eq!(track.passed(), Some(200), "the latest of those with the same end");
        assert_eq!(track.passed(), None);
        track.advance(5);
        assert_eq!(track.passed(), Some(300));
        assert!(
            track
                .mark(400, 4)
                .is_err_and(|stop| stop.reason == StopReason::TopicChanged)
        );
    }

    #[test]
    fn marks_of_a_partition_that_is_far_behind_are_bounded() {
        let (mut track, _) = begin(None, None, 0, 0).expect("begins");
        for step in 0..10_000 {
            track.mark(step * 1_000, step + 1).expect("grows");
            assert!(track.marks.len() <= MARKS);
        }
        track.advance(10_000);
        assert!(track.passed().is_some_and(|at_ms| at_ms >= 9_900_000));
    }

    #[test]
    fn source_times_never_run_backwards_nor_ahead_of_the_clock() {
        let (mut track, _) = begin(Some(8), Some(7), 0, 20).expect("begins");
        assert_eq!(
            track.source_time_ms(Some(500), 5_000),
            1_007,
            "after the record before it"
        );
        assert_eq!(track.source_time_ms(Some(2_000), 5_000), 2_000);
        assert_eq!(
            track.source_time_ms(Some(9_000), 5_000),
            5_000,
            "a producer's clock is wrong"
        );
        assert_eq!(track.source_time_ms(None, 6_000), 6_000);
    }
}
