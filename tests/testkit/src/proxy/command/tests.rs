use bson::{Binary, doc, spec::BinarySubtype};

use super::*;

fn seen_by(transactions: &mut Transactions, command: &Document) -> Seen {
    let message = Message::of(1, 0, command).expect("a message");
    read(&message, 3, Some("app".into()), transactions).expect("a command")
}

fn seen(command: Document) -> Seen {
    seen_by(&mut Transactions::default(), &command)
}

fn session(number: u8) -> Document {
    doc! {"id": Binary { subtype: BinarySubtype::Uuid, bytes: vec![number; 16] }}
}

fn in_transaction(session_number: u8, transaction: i64, mut command: Document) -> Document {
    command.extend(
        doc! {"$db": "test", "lsid": session(session_number), "txnNumber": transaction, "autocommit": false},
    );
    command
}

#[test]
fn commands_are_told_apart() {
    let update = seen(doc! {"update": "notes", "updates": [{"q": {}}, {"q": {}}], "$db": "test"});
    let expected = Seen {
        name: "update".to_owned(),
        database: "test".to_owned(),
        collection: Some("notes".to_owned()),
        statements: 2,
        transaction: None,
        session: false,
        retryable: false,
        app: Some("app".into()),
        connection: 3,
    };
    assert_eq!(update, expected);
    let more = seen(doc! {"getMore": 7_i64, "collection": "notes", "$db": "test"});
    assert_eq!((more.collection.as_deref(), more.statements), (Some("notes"), 0));
    let whole = seen(doc! {"aggregate": 1, "$db": "admin"});
    assert_eq!((whole.collection, whole.database.as_str()), (None, "admin"));
    let retryable = seen(doc! {"insert": "notes", "documents": [{}], "lsid": session(1), "txnNumber": 1_i64});
    assert!(retryable.session && retryable.retryable && retryable.transaction.is_none());
}

#[test]
fn places_are_counted_by_session_and_transaction() {
    let mut transactions = Transactions::default();
    let mut place = |session: u8, number: i64, statements: usize| {
        let updates = vec![doc! {}; statements];
        let command = in_transaction(session, number, doc! {"update": "notes", "updates": updates});
        let place = seen_by(&mut transactions, &command).transaction.expect("a place");
        (place.command, place.statements)
    };
    assert_eq!(place(1, 1, 2), (1, 2));
    assert_eq!(place(2, 1, 5), (1, 5));
    assert_eq!(place(1, 1, 3), (2, 5));
    assert_eq!(place(1, 2, 1), (1, 1));
    assert_eq!(place(2, 1, 0), (2, 5));
}

#[test]
fn all_conditions_must_hold() {
    let mut transactions = Transactions::default();
    let update = doc! {"update": "notes", "updates": [{"q": {"_id": 7}}, {"q": {}}]};
    let first = seen_by(&mut transactions, &in_transaction(1, 1, update.clone()));
    let second = seen_by(&mut transactions, &in_transaction(1, 1, update.clone()));
    let outside = seen(update.clone());
    let holds = |command: &Command| [&first, &second, &outside].map(|seen| command.may_be(seen));
    let update_of = |name: &str| Command::named("update").collection(name);
    assert_eq!(holds(&Command::any()), [true, true, true]);
    assert_eq!(holds(&Command::named("insert")), [false, false, false]);
    assert_eq!(holds(&update_of("notes")), [true, true, true]);
    assert_eq!(holds(&update_of("others")), [false, false, false]);
    assert_eq!(holds(&Command::any().database("test")), [true, true, false]);
    assert_eq!(holds(&Command::any().in_transaction()), [true, true, false]);
    assert_eq!(
        holds(&Command::any().outside_transactions()),
        [false, false, true]
    );
    assert_eq!(
        holds(&Command::any().first_in_transaction()),
        [true, false, false]
    );
    assert_eq!(holds(&Command::any().nth_in_transaction(2)), [false, true, false]);
    assert_eq!(holds(&Command::any().statements(2..)), [true, true, true]);
    assert_eq!(holds(&Command::any().statements(3..)), [false, false, false]);
    assert_eq!(
        holds(&Command::any().transaction_statements(3..=4)),
        [false, true, false]
    );
    assert_eq!(holds(&Command::any().in_session()), [true, true, false]);
    assert_eq!(holds(&Command::any().retryable()), [false, false, false]);
    assert_eq!(holds(&Command::any().from_app("app")), [true, true, true]);
    assert_eq!(holds(&Command::any().from_app("other")), [false, false, false]);
    assert_eq!(holds(&Command::any().on_connection(4)), [false, false, false]);
    let seventh = Command::any().matching(|command| {
        let updates = command.get_array("updates").into_iter().flatten();
        updates
            .filter_map(bson::Bson::as_document)
            .any(|update| update.get_document("q").ok() == Some(&doc! {"_id": 7}))
    });
    assert!(seventh.looks_inside() && seventh.is_inside(&update) && !seventh.is_inside(&doc! {}));
}

#[test]
fn hellos_are_matched_by_name_only() {
    for name in ["hello", "isMaster", "ismaster"] {
        let hello = seen(doc! {name: 1, "$db": "admin"});
        assert!(!Command::any().may_be(&hello) && Command::named(name).may_be(&hello));
    }
}

#[test]
fn clients_say_their_name() {
    let raw = |document: Document| bson::RawDocumentBuf::try_from(&document).expect("a document");
    let hello = raw(doc! {"hello": 1, "client": {"application": {"name": "worker"}}});
    assert_eq!(app(&hello).as_deref(), Some("worker"));
    assert_eq!(app(&raw(doc! {"hello": 1, "client": {}})), None);
}
