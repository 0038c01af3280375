//! The playout queue to the sample: order, accounts, interruption and resumption.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints its figures"
)]

use std::sync::Arc;

use offhook_media::playout::{CannotResume, MarkId, Playout, PlayoutConfig, Pulled, SentenceId};
use offhook_media::{FRAME, Frame, SILENCE};
use proptest::prelude::*;

const A: SentenceId = SentenceId(1);
const B: SentenceId = SentenceId(2);
const C: SentenceId = SentenceId(3);

fn chunk(value: i16, length: usize) -> Arc<[i16]> {
    vec![value; length].into()
}

fn playout() -> Playout {
    Playout::new(PlayoutConfig::default())
}

fn pull(playout: &mut Playout) -> (Pulled, Frame) {
    let mut frame = SILENCE;
    let pulled = playout.pull(&mut frame);
    (pulled, frame)
}

#[test]
fn sentences_follow_each_other_without_a_gap_and_the_last_frame_is_padded() {
    let mut playout = playout();
    playout.push(A, chunk(100, 200), true).unwrap();
    playout.push(B, chunk(200, 50), true).unwrap();
    assert_eq!(playout.queued_ms(), 31);
    let (first, frame) = pull(&mut playout);
    assert_eq!(first, Pulled { voiced: 160, started: Some(A), ..Pulled::default() });
    assert_eq!(frame, [100; FRAME]);
    let (second, frame) = pull(&mut playout);
    assert_eq!((second.voiced, second.started, second.finished), (90, Some(B), Some(A)));
    assert_eq!(frame[..40], [100; 40]);
    assert_eq!(frame[40..90], [200; 50]);
    assert_eq!(frame[90..], [0; 70]);
    let (third, _) = pull(&mut playout);
    assert_eq!(third, Pulled { finished: Some(B), ..Pulled::default() });
    assert_eq!((playout.played(A), playout.played(B), playout.played(C)), (200, 50, 0));
    assert!(playout.is_idle() && playout.current().is_none());
}

#[test]
fn short_sentences_are_each_reported_once() {
    let mut playout = playout();
    for id in 0..20 {
        playout.push(SentenceId(id), chunk(1, 30), true).unwrap();
    }
    let (mut started, mut finished) = (vec![], vec![]);
    for _ in 0..30 {
        let (pulled, _) = pull(&mut playout);
        started.extend(pulled.started.map(|id| id.0));
        finished.extend(pulled.finished.map(|id| id.0));
    }
    assert_eq!(started, (0..20).collect::<Vec<_>>());
    assert_eq!(finished, started);
}

#[test]
fn tiny_chunks_of_one_sentence_fill_the_frame() {
    let mut playout = playout();
    playout.push(A, chunk(1, 170), true).unwrap();
    for _ in 0..100 {
        playout.push(B, chunk(2, 3), false).unwrap();
    }
    pull(&mut playout);
    let (pulled, frame) = pull(&mut playout);
    assert_eq!((pulled.voiced, pulled.finished, pulled.started), (160, Some(A), Some(B)));
    assert_eq!(frame[10..], [2; 150]);
}

#[test]
fn an_unfinished_sentence_without_audio_is_an_underrun() {
    let mut playout = playout();
    assert!(!pull(&mut playout).0.underrun);
    playout.push(A, chunk(5, 100), false).unwrap();
    assert_eq!(pull(&mut playout).0, Pulled { voiced: 100, started: Some(A), underrun: true, ..Pulled::default() });
    assert!(pull(&mut playout).0.underrun);
    playout.push(A, chunk(5, 100), false).unwrap();
    playout.push(A, chunk(5, 0), true).unwrap();
    let (pulled, _) = pull(&mut playout);
    assert_eq!((pulled.started, pulled.finished, pulled.underrun), (None, Some(A), false));
    assert!(!pull(&mut playout).0.underrun);
}

#[test]
fn silence_and_marks_keep_their_place() {
    let mut playout = playout();
    playout.push(A, chunk(9, 80), true).unwrap();
    playout.push_silence(15).unwrap();
    playout.push_mark(MarkId(4)).unwrap();
    playout.push(B, chunk(8, 200), true).unwrap();
    let (pulled, frame) = pull(&mut playout);
    assert_eq!((pulled.voiced, pulled.mark), (80, None));
    assert_eq!((frame[79], frame[80]), (9, 0));
    let (pulled, frame) = pull(&mut playout);
    assert_eq!((pulled.voiced, pulled.mark), (120, Some(MarkId(4))));
    assert_eq!((frame[39], frame[40]), (0, 8));
}

#[test]
fn stopping_fades_for_10_ms_and_accounts_to_the_sample() {
    let mut playout = playout();
    playout.push(A, chunk(1000, 160), true).unwrap();
    playout.push(B, chunk(1000, 8000), false).unwrap();
    playout.push(C, chunk(1000, 8000), true).unwrap();
    for _ in 0..3 {
        pull(&mut playout);
    }
    let account: Vec<_> =
        playout.stop().map(|entry| (entry.sentence, entry.played, entry.pushed, entry.complete)).collect();
    assert_eq!(account, [(A, 160, 160, true), (B, 320 + 80, 8000, false), (C, 0, 8000, true)]);
    let (pulled, frame) = pull(&mut playout);
    assert_eq!(pulled, Pulled { voiced: 80, ..Pulled::default() });
    assert!(frame[..80].windows(2).all(|pair| pair[1] <= pair[0]) && frame[0] > 950 && frame[79] < 30);
    assert_eq!(frame[80..], [0; 80]);
    assert_eq!(pull(&mut playout), (Pulled::default(), SILENCE));
    assert_eq!((playout.queued_ms(), playout.is_idle()), (0, true));
}

#[test]
fn stopping_an_empty_queue_is_silent() {
    let mut playout = playout();
    assert_eq!(playout.stop().len(), 0);
    assert_eq!(pull(&mut playout), (Pulled::default(), SILENCE));
}

#[test]
fn a_pause_holds_the_place_and_resuming_fades_in() {
    let mut playout = playout();
    let counting: Vec<i16> = (0..4000).map(|n| 1000 + n).collect();
    playout.push(A, counting.into(), true).unwrap();
    pull(&mut playout);
    playout.pause();
    assert_eq!(pull(&mut playout).0.voiced, 80);
    for _ in 0..10 {
        assert_eq!(pull(&mut playout), (Pulled::default(), SILENCE));
    }
    assert!(playout.is_paused() && playout.played(A) == 240);
    playout.resume();
    let (pulled, frame) = pull(&mut playout);
    assert_eq!((pulled.voiced, pulled.started), (160, None));
    assert!(frame[0] == 0 && frame[80] < frame[159] && frame[159] < 1000 + 240 + 160);
    assert_eq!(pull(&mut playout).1[0], 1000 + 400);
}

#[test]
fn a_sentence_resumes_at_any_sample_that_was_pushed() {
    let mut playout = playout();
    playout.push(A, chunk(7, 160), true).unwrap();
    let halves: Vec<i16> = (0..2000).collect();
    playout.push(B, halves[..900].into(), false).unwrap();
    playout.push(B, halves[900..].into(), true).unwrap();
    for _ in 0..8 {
        pull(&mut playout);
    }
    playout.pause();
    assert_eq!(playout.resume_at(C, 0), Err(CannotResume { sentence: C, offset: 0 }));
    assert_eq!(playout.resume_at(B, 2000), Err(CannotResume { sentence: B, offset: 2000 }));
    assert!(playout.is_paused());
    playout.resume_at(B, 850).unwrap();
    assert_eq!(playout.queued_ms(), 1150 / 8);
    pull(&mut playout);
    let (pulled, frame) = pull(&mut playout);
    assert_eq!((pulled.started, frame[0]), (None, 1010));
    assert_eq!(playout.played(B), 850 + 320);
}

#[test]
fn the_queue_is_bounded_by_items_and_by_time() {
    let mut playout = Playout::new(PlayoutConfig { items: 3, queued_ms: 100 });
    assert_eq!(playout.push(A, chunk(1, 801), true).unwrap_err().items, 0);
    playout.push(A, chunk(1, 400), true).unwrap();
    assert_eq!(playout.push(B, chunk(1, 401), true).unwrap_err().to_string(), "playout queue is full: 1 items, 50 ms");
    playout.push(B, chunk(1, 10), true).unwrap();
    playout.push_mark(MarkId(1)).unwrap();
    assert!(playout.push_mark(MarkId(2)).is_err());
}

proptest! {
    #[test]
    fn every_pushed_sample_is_played_once_and_accounted(
        sentences in proptest::collection::vec(proptest::collection::vec(0usize..700, 1..5), 1..12),
        silences in proptest::collection::vec(0u32..50, 12),
    ) {
        let mut playout = playout();
        let (mut expected, mut next) = (vec![], 1i16);
        for (id, chunks) in sentences.iter().enumerate() {
            for (index, &length) in chunks.iter().enumerate() {
                let samples: Vec<i16> = (0..length).map(|_| { next = next % 30_000 + 1; next }).collect();
                expected.extend_from_slice(&samples);
                playout.push(SentenceId(id as u32), samples.into(), index + 1 == chunks.len()).unwrap();
            }
            playout.push_silence(silences[id]).unwrap();
        }
        let (mut heard, mut voiced, mut frames) = (vec![], 0, 0);
        while !playout.is_idle() && frames < 5000 {
            let (pulled, frame) = pull(&mut playout);
            heard.extend(frame.into_iter().filter(|&sample| sample != 0));
            voiced += pulled.voiced;
            frames += 1;
        }
        prop_assert_eq!(&heard, &expected);
        prop_assert_eq!(voiced, expected.len());
        for (id, chunks) in sentences.iter().enumerate() {
            prop_assert_eq!(playout.played(SentenceId(id as u32)), chunks.iter().sum::<usize>() as u64);
        }
    }
}

/// A ramp, so that every sample says where it comes from.
fn ramp(from: i16, length: usize) -> Arc<[i16]> {
    (0..length).map(|n| from + n as i16).collect()
}

#[test]
fn what_did_not_arrive_is_played_again_over_the_end_of_a_sentence() {
    let mut playout = playout();
    playout.push(A, ramp(1, 400), true).unwrap();
    playout.push_silence(10).unwrap();
    playout.push(B, ramp(1001, 400), true).unwrap();
    for _ in 0..4 {
        pull(&mut playout);
    }
    assert_eq!((playout.played(A), playout.played(B)), (400, 160));
    playout.pause();
    playout.rewind(160 + 80 + 50);
    assert_eq!((playout.played(A), playout.played(B)), (350, 0), "the fade of 10 ms was never heard either");
    assert_eq!(playout.current(), Some(A));
    assert_eq!(pull(&mut playout).1, SILENCE, "it still rests");
    playout.resume();
    let (pulled, frame) = pull(&mut playout);
    assert_eq!((pulled.voiced, pulled.finished), (80, Some(A)));
    assert!((frame[49] - 122).abs() <= 1, "fades in: {}", frame[49]);
    assert_eq!(frame[50..130], [0; 80]);
    let (_, frame) = pull(&mut playout);
    assert_eq!(frame, *ramp(1031, 160));
}

#[test]
fn going_back_ends_where_nothing_is_held_any_more() {
    let mut playout = playout();
    for id in 0..40 {
        playout.push(SentenceId(id), chunk(5, 1600), true).unwrap();
    }
    (0..390).for_each(|_| {
        pull(&mut playout);
    });
    playout.pause();
    playout.rewind(100_000);
    let back = (0..40).map(|id| 1600 - playout.played(SentenceId(id))).take_while(|left| *left == 0).count();
    let gone = SentenceId(20);
    assert_eq!(playout.resume_at(gone, 0), Err(CannotResume { sentence: gone, offset: 0 }));
    assert!((33..=34).contains(&back), "{back} sentences of 200 ms stay said, the last second of 39 does not");
}

#[test]
fn being_quieter_is_12_db_and_makes_no_click() {
    let mut playout = playout();
    playout.push(A, chunk(8000, 16_000), true).unwrap();
    let mut heard = Vec::new();
    for frame in 0..30 {
        match frame {
            10 => playout.duck(true),
            20 => playout.duck(false),
            _ => {}
        }
        heard.extend(pull(&mut playout).1);
    }
    assert_eq!((heard[1599], heard[12 * FRAME], heard[25 * FRAME]), (8000, 2000, 8000));
    let step = heard.windows(2).map(|pair| (pair[1] - pair[0]).abs()).max().unwrap();
    assert!(step <= 40, "{step}");
}

#[test]
fn a_queue_that_rests_is_stopped_without_a_sound() {
    let mut playout = playout();
    playout.push(A, chunk(8000, 1600), true).unwrap();
    pull(&mut playout);
    playout.pause();
    pull(&mut playout);
    assert_eq!(playout.stop().count(), 1);
    assert_eq!(pull(&mut playout).1, SILENCE);
}

#[test]
fn the_quietest_place_is_found_across_chunks() {
    let mut playout = playout();
    playout.push(A, chunk(900, 400), false).unwrap();
    playout.push(A, chunk(3, 160), false).unwrap();
    playout.push(A, chunk(900, 400), true).unwrap();
    assert_eq!(playout.quietest(A, 0, 900), Some(440));
    assert_eq!(playout.quietest(A, 2000, 2100), None);
    assert_eq!(playout.quietest(B, 0, 100), None);
}

#[test]
fn of_a_sentence_that_is_held_in_part_the_rest_is_found() {
    let mut playout = playout();
    for part in 0..10 {
        playout.push(A, ramp(part * 1600, 1600), part == 9).unwrap();
    }
    playout.push(B, chunk(5, 1600), true).unwrap();
    (0..105).for_each(|_| {
        pull(&mut playout);
    });
    playout.pause();
    pull(&mut playout);
    assert!(playout.resume_at(A, 100).is_err(), "more than a second before the end of it");
    playout.resume_at(A, 15_000).unwrap();
    pull(&mut playout);
    assert_eq!(pull(&mut playout).1[0], 15_160);
}
