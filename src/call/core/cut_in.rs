//! A caller who had only paused when we began to answer: we cut in. The answer is withdrawn as if it had never been begun,
//! what they said before and what they say now become one turn, and they are given more time from then on.
//!
//! Deliberately absent: how it is noticed that they speak. Until that is sure the bot is only held.

use std::time::Duration;

use serde_json::json;

use super::Call;
use crate::call::Moment;
use crate::call::latency::TurnClock;
use crate::call::mouth::Cut;
use crate::dialog::{Dialog, DialogOutput};
use crate::telemetry::pii::Pii;

/// A turn that was taken to be over, as long as that can be taken back.
pub(super) struct TakenTurn {
    /// The dialog before it was told.
    dialog: Dialog,
    words: Option<Pii<String>>,
    speech_ended: Moment,
    /// When the answer could first be heard.
    began: Option<Moment>,
}

impl Call {
    /// A turn is about to be taken to be over.
    pub(super) fn may_be_taken_back(&mut self, speech_ended: Moment) {
        self.taken = self.dialog.can_be_taken_back().then(|| {
            let words = self.words.so_far();
            Box::new(TakenTurn { dialog: self.dialog.clone(), words, speech_ended, began: None })
        });
    }

    /// What the dialog asks for cannot always be undone.
    pub(super) fn commits_to(&mut self, output: &DialogOutput) {
        let done = matches!(
            output,
            DialogOutput::Recording(_) | DialogOutput::Transfer(_) | DialogOutput::Hook(_) | DialogOutput::HangUp
        );
        if done {
            self.taken = None;
        }
    }

    /// The answer can be heard.
    pub(super) fn answer_began(&mut self, now: Moment) {
        if let Some(taken) = &mut self.taken {
            taken.began.get_or_insert(now);
        }
    }

    /// The caller speaks again since `onset`, and `cut` is what they have heard of the answer: takes the turn back if we cut
    /// in. `false`: we did not, they interrupt us.
    pub(super) fn take_back(&mut self, onset: Moment, cut: &Cut, now: Moment) -> bool {
        let Some(taken) = self.taken.take() else { return false };
        let TakenTurn { dialog, words, speech_ended, began } = *taken;
        let pause = onset.saturating_sub(speech_ended);
        let early = began.is_none_or(|began| onset <= began + EARLY) && pause <= LONGEST;
        let enough = cut.heard.split_whitespace().count() >= ENOUGH_HEARD || self.taken_back >= MOST;
        if !early || enough {
            return false;
        }
        self.taken_back += 1;
        self.dialog = dialog;
        self.words.put_back(words.as_ref(), now);
        self.speculation.consider(self.words.revision());
        let own = self.own_time(now);
        let heard = self.report(&cut.heard);
        self.dialog.goes_on(&heard, *self.ears.step != *self.dialog.step_name(), own);
        self.exchange.heard(&cut.heard, "");
        self.exchange.clock = TurnClock::default();
        self.counts.turns = self.counts.turns.saturating_sub(1);
        self.counts.cut_ins += 1;
        self.floor.cut_in(pause);
        // These words were said before the pause: those of now are still owed.
        self.tell_wording(speech_ended);
        self.event("cut_in", Some(Pii::new(json!({ "pause_ms": pause.as_millis() }))), now);
        true
    }
}

/// Speech that begins so soon after our answer was begun before it was heard: nobody answers in that time.
const EARLY: Duration = Duration::from_millis(400);
/// A caller who says nothing for longer has said all that they wanted to.
const LONGEST: Duration = Duration::from_secs(5);
/// So often in a row it was no pause: our own echo, it may be, and the turn would never end.
const MOST: u32 = 3;
/// Words of an answer of which so many were heard was no cut-in.
const ENOUGH_HEARD: usize = 2;
