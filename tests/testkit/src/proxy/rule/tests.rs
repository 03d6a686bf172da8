use super::super::command::Place;
use super::*;

fn seen(name: &str, statements: usize, so_far: Option<usize>) -> Seen {
    Seen {
        name: name.to_owned(),
        database: "test".to_owned(),
        collection: None,
        statements,
        transaction: so_far.map(|statements| Place {
            command: 1,
            statements,
        }),
        session: false,
        retryable: false,
        app: None,
        connection: 1,
    }
}

#[test]
fn times_are_counted_from_one() {
    let fires = |times: Times| (1..=4).filter(|number| times.fires(*number)).collect::<Vec<_>>();
    assert_eq!(fires(Times::Always), [1, 2, 3, 4]);
    assert_eq!(fires(Times::Nth(3)), [3]);
    assert_eq!(fires(Times::First(2)), [1, 2]);
    assert!(fires(Times::First(0)).is_empty());
}

#[test]
fn delays_grow_with_statements() {
    let each = Duration::from_micros(200);
    let update = seen("update", 3, Some(50));
    assert_eq!(Delay::Fixed(each).of(&update), each);
    assert_eq!(Delay::PerStatement(each).of(&update), each * 3);
    assert_eq!(Delay::PerTransactionStatement(each).of(&update), each * 50);
    assert_eq!(
        Delay::PerTransactionStatement(each).of(&seen("find", 0, None)),
        Duration::ZERO
    );
}

fn failure(form: Form) -> Failure {
    Failure {
        form,
        code: 112,
        code_name: "WriteConflict".to_owned(),
        message: "no".to_owned(),
        labels: vec!["Transient".to_owned()],
    }
}

#[test]
fn errors_of_commands_take_the_place_of_the_reply() {
    let expected = doc! {
        "ok": 0.0, "errmsg": "no", "code": 112, "codeName": "WriteConflict", "errorLabels": ["Transient"],
    };
    for real in [None, Some(doc! {"ok": 1.0, "n": 3})] {
        assert_eq!(
            failure(Form::Command).reply(&seen("update", 3, None), real),
            expected
        );
    }
}

#[test]
fn errors_of_writes_stand_beside_what_was_done() {
    let error = failure(Form::Write { statement: 2 });
    assert_eq!(
        error.reply(&seen("update", 3, None), None),
        doc! {
            "n": 0, "nModified": 0, "ok": 1.0,
            "writeErrors": [{"index": 2, "code": 112, "errmsg": "no"}], "errorLabels": ["Transient"],
        }
    );
    let concern = failure(Form::WriteConcern);
    let error = doc! {"code": 112, "codeName": "WriteConflict", "errmsg": "no"};
    assert_eq!(
        concern.reply(&seen("update", 3, None), Some(doc! {"n": 3, "ok": 1.0})),
        doc! {"n": 3, "ok": 1.0, "writeConcernError": error.clone(), "errorLabels": ["Transient"]}
    );
    assert_eq!(
        concern.reply(&seen("commitTransaction", 0, None), None),
        doc! {"ok": 1.0, "writeConcernError": error, "errorLabels": ["Transient"]}
    );
}

#[tokio::test]
async fn the_last_effect_counts_as_fired_and_a_hold_when_it_begins() {
    let armed = |effects: Effects| Armed::new(Command::any(), Times::First(1), effects);
    let update = seen("update", 1, None);
    let count = |rule: &Armed| *rule.fired.borrow();

    let counter = armed(Effects::default());
    assert!(counter.matches() && !counter.matches());
    counter.reached(Stage::Matched);
    assert_eq!((*counter.matched.borrow(), count(&counter)), (2, 1));

    let delayed = armed(Effects {
        delays: vec![Delay::Fixed(Duration::ZERO)],
        ..Effects::default()
    });
    delayed.reached(Stage::Matched);
    assert_eq!(count(&delayed), 0);
    delayed.wait(&update).await;
    assert_eq!(count(&delayed), 1);

    let refused = armed(Effects {
        delays: vec![Delay::Fixed(Duration::ZERO)],
        answer: Some(Answer::Lose),
        ..Effects::default()
    });
    refused.wait(&update).await;
    assert_eq!(count(&refused), 0);
    refused.reached(Stage::Answered);
    assert_eq!(count(&refused), 1);

    let holding = armed(Effects {
        holds: true,
        answer: Some(Answer::Lose),
        ..Effects::default()
    });
    let let_go = async {
        let mut fired = holding.fired.subscribe();
        drop(fired.wait_for(|fired| *fired == 1).await);
        holding.let_go();
    };
    tokio::join!(holding.wait(&update), let_go);
    holding.reached(Stage::Answered);
    assert_eq!(count(&holding), 1);
}
