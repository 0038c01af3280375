//! Transfers: they succeed only when the far side says so, and a caller whom nobody takes is told and is back in the
//! flow.

use offhook::call::core::CallInput;
use offhook::call::transfer::{Impossible, Order, TargetEvent, TransferEvent};
use offhook::dialog::{TransferMode, TransferPlan, TransferTo};
use offhook::store::record::EndReason;

use crate::harness::{Outcome, Script, at, ms, script};

const DESK: &str = "
name: desk
steps:
  hello:
    say: Hello.
    goto: desk
  desk:
    transfer:
      to: front_desk
      mode: MODE
      ring_timeout_s: 20
      say: I am passing you on.
      on_busy: engaged
      on_no_answer: nobody
      on_failed: broken
  engaged: {say: You may call again later., goto: bye}
  nobody: {say: Nobody is there at this hour., goto: bye}
  broken: {say: That did not work., goto: bye}
  bye: {hangup: Goodbye.}
";

/// Seconds from the asking, and what happens then.
type Events<'a, T> = &'a [(f64, T)];

fn blind(events: Events<'_, TransferEvent>) -> Script {
    let events = events.iter().map(|(after, event)| (at(*after), event.clone())).collect();
    script("blind").flow(&DESK.replace("MODE", "blind")).far_side(events)
}

fn attended(events: Events<'_, TargetEvent>) -> Script {
    let events = events.iter().map(|(after, event)| (at(*after), TransferEvent::Target(event.clone()))).collect();
    let flow =
        DESK.replace("MODE", "attended").replace("      on_busy", "      announce: A caller for you.\n      on_busy");
    script("attended").flow(&flow).far_side(events)
}

fn asked_at(call: &Outcome) -> f64 {
    call.event_at("transfer").expect("a transfer").as_secs_f64()
}

#[test]
fn it_succeeds_only_when_the_far_side_says_so() {
    let accepted = TransferEvent::Accepted;
    let call = blind(&[(0.1, accepted), (0.3, TransferEvent::Progress(180)), (6.0, TransferEvent::Finished(200))]);
    let call = call.run(at(60.0));
    call.expect_end(&EndReason::Transferred);
    assert!((call.end.as_ref().unwrap().0.as_secs_f64() - asked_at(&call) - 6.0).abs() < 0.05);
    assert_eq!(call.orders.len(), 1);
    assert_eq!(call.counts.transfer, Some("ok"));
    let spoken: Vec<_> = call.turns.iter().filter_map(|(_, turn)| turn.heard.as_ref()).collect();
    assert!(spoken.iter().any(|words| words.expose().ends_with("I am passing you on.")), "{spoken:?}");
}

#[test]
fn whoever_waits_hears_it_ring() {
    let call = blind(&[(0.1, TransferEvent::Accepted), (18.0, TransferEvent::Finished(200))]).run(at(60.0));
    let (silence, since) = call.longest_silence(at(asked_at(&call)), call.end.as_ref().unwrap().0);
    assert!(silence <= ms(3300), "{silence:?} from {since:?}");
}

#[test]
fn each_failure_is_spoken_and_has_its_way_back_into_the_flow() {
    let cases: [(Events<'_, TransferEvent>, &str, &str, &str); 6] = [
        (&[(0.1, TransferEvent::Accepted), (2.0, TransferEvent::Finished(486))], "line is busy", "engaged", "busy"),
        (
            &[(0.1, TransferEvent::Accepted), (0.2, TransferEvent::Progress(180)), (9.0, TransferEvent::Finished(480))],
            "nobody answers",
            "nobody",
            "no_answer",
        ),
        (
            &[(0.1, TransferEvent::Accepted), (0.2, TransferEvent::Progress(180))],
            "nobody answers",
            "nobody",
            "no_answer",
        ),
        (&[(0.1, TransferEvent::Refused(603))], "could not connect you", "broken", "refused"),
        (&[(0.1, TransferEvent::Accepted)], "could not connect you", "broken", "no_report"),
        (&[(0.0, TransferEvent::Impossible(Impossible::ThisLine))], "could not connect", "broken", "not_on_this_line"),
    ];
    for (events, words, step, outcome) in cases {
        let call = blind(events).run(at(90.0));
        call.expect_steps(&["hello", "desk", step, "bye"]).expect_end(&EndReason::FlowHungUp);
        assert!(call.asked_for(words).is_some(), "{outcome}: {}", call.story());
        assert_eq!(call.counts.transfer, Some(outcome));
        let (silence, since) = call.longest_silence(at(1.0), call.end.as_ref().unwrap().0);
        assert!(silence <= ms(3300), "{outcome}: {silence:?} from {since:?}");
    }
}

#[test]
fn a_success_that_comes_late_is_one_all_the_same() {
    // We gave it up after 20 s and talk again; then the far side has reached the target.
    let call = blind(&[(0.1, TransferEvent::Accepted), (20.5, TransferEvent::Finished(200))]).run(at(90.0));
    call.expect_end(&EndReason::Transferred);
}

#[test]
fn a_caller_who_hangs_up_meanwhile_was_not_transferred() {
    let call = blind(&[(0.1, TransferEvent::Accepted)]).hangs_up(at(9.0)).run(at(20.0));
    call.expect_end(&EndReason::CallerHungUp);
    assert_eq!(call.counts.transfer, Some("abandoned"));
}

#[test]
fn keys_and_words_do_not_disturb_a_transfer() {
    let call = blind(&[(0.1, TransferEvent::Accepted), (10.0, TransferEvent::Finished(200))]);
    let call = call.key(at(6.0), '1').caller_says(at(8.0), "hello").words(at(8.6), "hello").run(at(40.0));
    call.expect_end(&EndReason::Transferred).expect_steps(&["hello", "desk"]);
}

#[test]
fn a_side_that_holds_while_it_tries_is_still_told_the_outcome() {
    let call = blind(&[(0.1, TransferEvent::Accepted), (5.0, TransferEvent::Finished(486))]);
    let call = call.input(at(5.0), CallInput::Held(true)).input(at(20.0), CallInput::Held(false)).run(at(60.0));
    call.expect_steps(&["hello", "desk", "engaged", "bye"]);
    call.expect_silence(at(9.5), at(20.0)).expect_speaking(at(20.3), at(22.0));
}

#[test]
fn an_attended_transfer_calls_briefs_and_joins() {
    let call = attended(&[(1.0, TargetEvent::Ringing), (5.0, TargetEvent::Answered), (8.0, TargetEvent::Briefed)]);
    let call = call.input(at(20.0), CallInput::Transfer(TransferEvent::Finished(200))).run(at(60.0));
    call.expect_end(&EndReason::Transferred);
    let orders: Vec<_> = call.orders.iter().map(|(_, order)| order).collect();
    assert_eq!(orders, [&Order::Call, &Order::Join, &Order::Leave]);
    assert!((call.orders[1].0.as_secs_f64() - asked_at(&call) - 8.0).abs() < 0.05);
}

#[test]
fn a_target_that_does_not_hang_up_after_the_transfer_is_hung_up_on() {
    let flow = "name: f\nendless: true\nsteps:\n  a: {say: A caller for you., wait_ms: 30000, goto: self}\n";
    let joined = |script: Script| script.flow(flow).input(at(20.0), CallInput::Joined);
    let call = joined(script("stays")).run(at(60.0));
    call.expect_end(&EndReason::Transferred);
    assert_eq!(call.end.as_ref().unwrap().0, at(30.0));
    let call = joined(script("held")).input(at(15.0), CallInput::Held(true)).run(at(60.0));
    assert_eq!(call.end.as_ref().unwrap().0, at(30.0), "on hold as well");
    let call = joined(script("goes")).hangs_up(at(21.0)).run(at(60.0));
    call.expect_end(&EndReason::CallerHungUp);
}

#[test]
fn a_target_that_does_not_come_is_let_go_and_the_caller_is_back() {
    let cases: [(Events<'_, TargetEvent>, &str, &str, bool); 4] = [
        (&[(2.0, TargetEvent::Gone(EndReason::Busy))], "engaged", "busy", false),
        (&[(1.0, TargetEvent::Ringing)], "nobody", "no_answer", true),
        (
            &[(2.0, TargetEvent::Answered), (4.0, TargetEvent::Gone(EndReason::CalleeHungUp))],
            "broken",
            "declined",
            false,
        ),
        (&[(2.0, TargetEvent::Answered), (4.0, TargetEvent::Briefed)], "broken", "no_report", true),
    ];
    for (events, step, outcome, dropped) in cases {
        let call = attended(events).run(at(90.0));
        call.expect_steps(&["hello", "desk", step, "bye"]);
        assert_eq!(call.counts.transfer, Some(outcome));
        let drops = call.orders.iter().filter(|(_, order)| *order == Order::Drop).count();
        assert_eq!(drops, usize::from(dropped), "{outcome}: {:?}", call.orders);
    }
}

#[test]
fn a_caller_who_hangs_up_lets_the_target_go() {
    let call = attended(&[(1.0, TargetEvent::Ringing), (3.0, TargetEvent::Answered)]).hangs_up(at(9.0)).run(at(20.0));
    call.expect_end(&EndReason::CallerHungUp);
    assert_eq!(call.orders.last().unwrap().1, Order::Drop);
}

#[test]
fn an_operator_hands_a_call_over_and_it_comes_back_where_it_was() {
    let plan = TransferPlan {
        to: TransferTo::Name("front_desk".into()),
        mode: TransferMode::Blind,
        ring_timeout: at(20.0),
        brief: Vec::new(),
    };
    let ask = CallInput::TransferTo(Box::new(plan));
    let call = script("operator")
        .far_side(vec![(ms(100), TransferEvent::Accepted), (at(4.0), TransferEvent::Finished(486))])
        .input(at(10.0), ask)
        .run(at(20.0));
    assert_eq!(call.step(), "main");
    assert!(call.asked_for("line is busy").is_some(), "{}", call.story());
    assert_eq!(call.orders.len(), 1);
}

#[test]
fn the_clinic_takes_a_caller_back_whom_nobody_answers() {
    let far = vec![(ms(100), TransferEvent::Accepted), (at(3.0), TransferEvent::Finished(480))];
    let call = script("clinic").far_side(far).key(at(3.0), '0').run(at(25.0));
    assert_eq!(call.step(), "instead", "{}", call.story());
    assert!(call.asked_for("To be called back, press 1").is_some());
}
