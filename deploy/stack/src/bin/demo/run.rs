//! The course of the demo: start, send and watch, catch up, compare, end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use testkit::feed::{self, Feed};
use testkit::sink::Sink;
use testkit::traffic::Truth;
use testkit::{Error, Result};
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::Arguments;
use crate::environment::Environment;
use crate::screen::{self, Screen};
use crate::watch::Answers;

/// How often events are sent, the screen is drawn, and the comparison is tried.
const SEND: Duration = Duration::from_millis(50);
const DRAW: Duration = Duration::from_secs(1);
const COMPARE: Duration = Duration::from_millis(250);
/// How long the ledger may take to catch up after the last event.
const CATCH_UP: Duration = Duration::from_secs(120);

/// How a demo ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Equal,
    Different,
    /// Stopped before anything was sent.
    NotStarted,
}

pub(crate) async fn run(arguments: &Arguments, mut stop: Receiver<bool>) -> Result<End> {
    let feed = arguments.feed.open("demo")?;
    let mut environment = tokio::select! {
        environment = Environment::start(arguments) => environment?,
        _ = stop.wait_for(|stop| *stop) => return Ok(End::NotStarted),
    };
    let outcome = match compared(arguments, &mut environment, feed, stop).await {
        Ok(end) => environment.drain().await.map(|()| end),
        Err(error) => Err(error),
    };
    let ended = environment.end().await;
    // What went wrong first matters more.
    let end = outcome?;
    ended?;
    println!("everything that was started has ended");
    Ok(end)
}

async fn compared(
    arguments: &Arguments,
    environment: &mut Environment,
    feed: Feed,
    stop: Receiver<bool>,
) -> Result<End> {
    let organizations = arguments.feed.organizations();
    let rate = environment.rate(arguments.rate);
    let mut screen = Screen::open(environment, rate)?;
    let truth = Arc::new(Mutex::new(Truth::default()));
    let sink = environment.sink().await?;
    let start = Instant::now();
    let mut sending = JoinSet::new();
    sending.spawn(send(
        feed,
        sink,
        rate,
        arguments.duration,
        Arc::clone(&truth),
        stop,
    ));
    let mut drawing = tokio::time::interval(DRAW);
    drawing.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            Some(sent) = sending.join_next() => {
                sent.map_err(|error| Error::Other(error.to_string()))??;
                break;
            }
            _ = drawing.tick() => {
                environment.product.process().check()?;
                // Asked before the truth is read: what the ledger shows was sent by then.
                let days = known(&truth).clone();
                match Answers::ask(&environment.product, &organizations, &days).await {
                    Ok(answers) => screen.draw(start.elapsed(), &known(&truth).clone(), &answers),
                    Err(error) => screen.say(&format!("demo: {error}")),
                }
            }
        }
    }
    let truth = known(&truth).clone();
    println!("\nstopped sending; waiting until the ledger has caught up …");
    let caught = caught_up(environment, &organizations, &truth).await?;
    println!("\n{}", screen::table(&truth, &caught.answers));
    let own = caught.arrived.saturating_sub(truth.read);
    if caught.differences.is_empty() {
        println!("exact: every total of every organization equals the truth");
        if own > 0 {
            println!("events of your own: {own}, each of them counted, or kept as what it is");
        }
        return Ok(End::Equal);
    }
    println!("NOT equal after {} s:", CATCH_UP.as_secs());
    for difference in &caught.differences {
        println!("  {difference}");
    }
    if own > 0 {
        println!(
            "({own} events are not the demo's own: where they name one of its organizations, they are the difference)"
        );
    }
    Ok(End::Different)
}

fn known(truth: &Mutex<Truth>) -> MutexGuard<'_, Truth> {
    truth.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends at a steady rate until told to stop, the time is over, or the events are.
async fn send(
    mut feed: Feed,
    mut sink: Sink,
    rate: u32,
    duration: Option<Duration>,
    truth: Arc<Mutex<Truth>>,
    stop: Receiver<bool>,
) -> Result<()> {
    let start = Instant::now();
    let mut ticks = tokio::time::interval(SEND);
    // After a pause of the machine, or of the server, the rate goes on: it is not made up for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = 0;
    while !*stop.borrow() && duration.is_none_or(|duration| start.elapsed() < duration) {
        ticks.tick().await;
        let due = feed::due(rate, start.elapsed()).saturating_sub(sent);
        let count = usize::try_from(due).unwrap_or(usize::MAX).min(10_000);
        let items = feed.take(count, testkit::now());
        if items.len() < count {
            known(&truth).extend(&items);
            sink.send(&items).await?;
            break;
        }
        sent += due;
        known(&truth).extend(&items);
        sink.send(&items).await?;
    }
    sink.close().await
}

/// The ledger when everything was equal, or the deadline over.
struct Caught {
    answers: Answers,
    /// How many records the source was given.
    arrived: u64,
    differences: Vec<String>,
}

async fn caught_up(environment: &mut Environment, organizations: &[String], truth: &Truth) -> Result<Caught> {
    let start = Instant::now();
    loop {
        environment.product.process().check()?;
        let last = start.elapsed() >= CATCH_UP;
        let arrived = environment.arrived().await?;
        match Answers::ask(&environment.product, organizations, truth).await {
            Err(error) if last => return Err(error),
            Err(_) => {}
            Ok(answers) => {
                let differences = answers.differences(truth, arrived);
                if differences.is_empty() || last {
                    return Ok(Caught {
                        answers,
                        arrived,
                        differences,
                    });
                }
            }
        }
        tokio::time::sleep(COMPARE).await;
    }
}
