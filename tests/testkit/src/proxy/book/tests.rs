use std::time::Duration;

use bson::spec::BinarySubtype;
use bson::{Binary, doc};

use super::super::rule::Rule;
use super::super::{Command, When};
use super::*;
use crate::net;

fn book() -> Arc<Book> {
    Arc::new(Book::new(net::loopback(1)))
}

fn when(book: &Arc<Book>, command: Command) -> When {
    When::new(Arc::clone(book), command)
}

fn planned(book: &Book, command: &Document) -> Plan {
    let message = Message::of(1, 0, command).expect("a message");
    book.plan(&message, 1, None).expect("a plan")
}

fn counts(rule: &Rule) -> (u64, u64) {
    (rule.matched(), rule.fired())
}

fn update() -> Document {
    doc! {"update": "notes", "updates": [{"q": {"_id": 1}}], "$db": "test"}
}

#[test]
fn the_first_rule_with_an_answer_gives_it_and_all_others_act() {
    let book = book();
    let named = || Command::named("update");
    let slow = when(&book, named()).delay(Duration::from_secs(1)).arm();
    let second = when(&book, named()).nth(2).reply_error(1, "Second").arm();
    let every = when(&book, named()).reply_error(2, "Every").after_server().arm();
    let edit = when(&book, named()).edit_reply(drop_nothing).arm();
    let counter = when(&book, named()).arm();
    let other = when(&book, Command::named("insert")).arm();

    let first = planned(&book, &update());
    assert!(first.instead().is_none() && first.afterwards().is_some());
    assert_eq!((first.before.len(), first.edits.len()), (1, 1));
    let next = planned(&book, &update());
    assert!(next.instead().is_some() && next.afterwards().is_none());
    assert_eq!(
        [&slow, &second, &every, &edit, &counter, &other].map(counts),
        [(2, 0), (2, 0), (2, 0), (2, 0), (2, 2), (0, 0)]
    );
}

fn drop_nothing(_: &mut Document) {}

#[test]
fn a_rule_begins_with_the_end_of_its_statement_and_ends_when_told() {
    let book = book();
    when(&book, Command::named("update")).reply_error(1, "Whole");
    assert!(planned(&book, &update()).instead().is_some());
    book.clear();
    assert!(planned(&book, &update()).instead().is_none());
    let rule = when(&book, Command::named("update"))
        .reply_error(1, "Until")
        .arm();
    assert!(planned(&book, &update()).instead().is_some());
    rule.stop();
    assert!(planned(&book, &update()).instead().is_none());
    assert_eq!(rule.matched(), 1);
}

#[test]
fn documents_are_looked_into() {
    let book = book();
    let with = |id: i32| {
        Command::named("update").matching(move |command| {
            let updates = command.get_array("updates").expect("updates");
            updates[0].as_document().expect("one").get_document("q").ok() == Some(&doc! {"_id": id})
        })
    };
    let (one, two) = (when(&book, with(1)).arm(), when(&book, with(2)).arm());
    planned(&book, &update());
    assert_eq!((one.matched(), two.matched()), (1, 0));
}

#[test]
fn a_transaction_is_aborted_where_there_is_one() {
    let book = book();
    when(&book, Command::any())
        .reply_error(112, "WriteConflict")
        .aborting_transaction();
    assert_eq!(planned(&book, &update()).abort, None);
    let lsid = doc! {"id": Binary { subtype: BinarySubtype::Uuid, bytes: vec![1; 16] }};
    let mut command = update();
    command.extend(doc! {"lsid": lsid.clone(), "txnNumber": 5_i64, "autocommit": false});
    assert_eq!(
        planned(&book, &command).abort,
        Some(
            doc! {"abortTransaction": 1, "lsid": lsid, "txnNumber": 5_i64, "autocommit": false, "$db": "admin"}
        )
    );
}

#[test]
fn commands_are_taken_down_but_hellos_are_not() {
    let book = book();
    for command in [doc! {"hello": 1}, update(), doc! {"ping": 1}] {
        planned(&book, &command);
    }
    let names = |book: &Book| book.seen().into_iter().map(|seen| seen.name).collect::<Vec<_>>();
    assert_eq!(names(&book), ["update", "ping"]);
    book.forget();
    assert!(names(&book).is_empty());
}

#[test]
#[should_panic(expected = "choose the error first")]
fn labels_need_an_error() {
    drop(when(&book(), Command::any()).labels(["Label"]));
}

#[test]
#[should_panic(expected = "answered once")]
fn a_rule_has_one_answer() {
    drop(when(&book(), Command::any()).reply_error(1, "One").lose_request());
}
