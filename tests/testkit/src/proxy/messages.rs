//! One connection, message by message.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bson::Document;

use super::book::{Book, Plan};
use super::command;
use super::hello;
use super::link::{Ends, Inlet, Outlet};
use super::rule::{Armed, Stage};
use super::wire::{self, Malformed, Message};

/// Carries a connection until either side ends it, a rule does, or something passes that cannot be read.
pub(super) async fn carry(ends: Ends, book: Arc<Book>) {
    let line = Line {
        number: book.connection(),
        book,
        app: OnceLock::new(),
        to_client: ends.to_client.into(),
        to_server: ends.to_server.into(),
        asked: Mutex::default(),
        own: AtomicI32::new(i32::MIN),
    };
    let end = tokio::select! {
        end = line.requests(ends.from_client) => end,
        end = line.replies(ends.from_server) => end,
    };
    if let End::Unreadable(malformed) = end {
        line.book.fault(malformed.to_string());
    }
}

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// One of both sides, the link, or a rule.
    Closed,
    Unreadable(Malformed),
}

impl From<Malformed> for End {
    fn from(malformed: Malformed) -> Self {
        Self::Unreadable(malformed)
    }
}

/// What the server was asked and has not answered yet.
#[derive(Debug)]
enum Asked {
    ByClient(Plan),
    /// By the proxy, to abort a transaction; then the client gets this.
    ByProxy(Arc<Armed>, Message),
}

/// The requests that await replies.
#[derive(Debug, Default)]
struct Waiting {
    asked: HashMap<i32, Asked>,
    /// The request whose stream of replies goes on.
    streams: Option<Plan>,
}

struct Line {
    number: u64,
    book: Arc<Book>,
    app: OnceLock<Arc<str>>,
    to_client: tokio::sync::Mutex<Outlet>,
    to_server: tokio::sync::Mutex<Outlet>,
    asked: Mutex<Waiting>,
    /// The numbers of the proxy's own requests; those of clients are positive.
    own: AtomicI32,
}

impl Line {
    async fn requests(&self, mut from: Inlet) -> End {
        loop {
            let passed = async {
                let bytes = self.book.to_server(message(&mut from).await?);
                self.request(&bytes).await
            };
            if let Err(end) = passed.await {
                return end;
            }
        }
    }

    async fn replies(&self, mut from: Inlet) -> End {
        loop {
            let passed = async {
                let bytes = message(&mut from).await?;
                self.reply(bytes).await
            };
            if let Err(end) = passed.await {
                return end;
            }
        }
    }

    async fn request(&self, bytes: &[u8]) -> Result<(), End> {
        let request = wire::decode(bytes)?;
        if let Some(app) = request.body().and_then(command::app) {
            self.app.get_or_init(|| app);
        }
        let plan = self.book.plan(&request, self.number, self.app.get().cloned())?;
        for rule in &plan.before {
            rule.wait(&plan.seen).await;
        }
        if let Some(answer) = plan.instead() {
            let reply = answer.reply(&plan.seen, None);
            return self.answer(plan, request.id, reply).await;
        }
        if !request.more_to_come() {
            self.ask(request.id, Asked::ByClient(plan));
        }
        self.pass_on(bytes).await
    }

    async fn reply(&self, bytes: Vec<u8>) -> Result<(), End> {
        let head = wire::head(&bytes)?;
        let Some(asked) = self.asked_for(head.answers) else {
            return self.tell(bytes).await;
        };
        let plan = match asked {
            Asked::ByClient(plan) => plan,
            Asked::ByProxy(rule, reply) => {
                rule.reached(Stage::Answered);
                return self.tell(reply.encode()).await;
            }
        };
        for rule in &plan.after {
            rule.wait(&plan.seen).await;
        }
        if let Some(answer) = plan.afterwards() {
            let real = wire::decode(&bytes)?.command()?;
            let reply = answer.reply(&plan.seen, Some(real));
            return self.answer(plan, head.answers, reply).await;
        }
        let bytes = self.edited(&plan, bytes)?;
        if head.more_to_come {
            self.waiting().streams = Some(plan);
        }
        self.tell(bytes).await
    }

    /// Gives the client this reply, after the transaction was aborted where the plan wants that; or ends the
    /// connection without one.
    async fn answer(&self, plan: Plan, to: i32, reply: Option<Document>) -> Result<(), End> {
        let Some(rule) = plan.answer else {
            return Ok(());
        };
        let Some(reply) = reply else {
            rule.reached(Stage::Answered);
            return Err(End::Closed);
        };
        let reply = Message::of(self.number_of_own(), to, &reply)?;
        let Some(abort) = plan.abort else {
            rule.reached(Stage::Answered);
            return self.tell(reply.encode()).await;
        };
        let abort = Message::of(self.number_of_own(), 0, &abort)?;
        self.ask(abort.id, Asked::ByProxy(rule, reply));
        self.pass_on(&abort.encode()).await
    }

    /// The reply as the client is to see it.
    fn edited(&self, plan: &Plan, bytes: Vec<u8>) -> Result<Vec<u8>, Malformed> {
        let presents = hello::presents(&plan.seen);
        if !presents && plan.edits.is_empty() {
            return Ok(bytes);
        }
        let mut message = wire::decode(&bytes)?;
        let mut reply = message.command()?;
        if presents {
            hello::present(&mut reply, self.book.address, self.book.version().as_ref());
        }
        plan.edits.iter().for_each(|rule| rule.edit(&mut reply));
        message.set_body(&reply)?;
        Ok(message.encode())
    }

    async fn pass_on(&self, bytes: &[u8]) -> Result<(), End> {
        self.to_server.lock().await.write(bytes).await.ok_or(End::Closed)
    }

    async fn tell(&self, bytes: Vec<u8>) -> Result<(), End> {
        let bytes = self.book.to_client(bytes);
        self.to_client.lock().await.write(&bytes).await.ok_or(End::Closed)
    }

    fn ask(&self, number: i32, asked: Asked) {
        self.waiting().asked.insert(number, asked);
    }

    /// What a reply is the answer to. The next reply of a stream answers the one before it.
    fn asked_for(&self, number: i32) -> Option<Asked> {
        let mut waiting = self.waiting();
        let streams = waiting.streams.take();
        let asked = waiting.asked.remove(&number);
        asked.or(streams.map(Asked::ByClient))
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number_of_own(&self) -> i32 {
        self.own.fetch_add(1, Ordering::Relaxed)
    }
}

/// The bytes of the next message.
async fn message(from: &mut Inlet) -> Result<Vec<u8>, End> {
    let mut start = [0; 4];
    from.fill(&mut start).await.ok_or(End::Closed)?;
    let mut bytes = vec![0; wire::length(start)?];
    let (told, rest) = bytes.split_at_mut(start.len());
    told.copy_from_slice(&start);
    from.fill(rest).await.ok_or(End::Closed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
