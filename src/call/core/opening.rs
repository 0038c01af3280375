//! How a call begins and how it is closed from outside: placed, ringing, answered, greeted; and the server's goodbye.

use std::sync::Arc;
use std::time::Duration;

use offhook_media::Frame;
use offhook_media::speech::SpeechEdge;

use super::{Call, Phase};
use crate::call::Moment;
use crate::call::timers::Timer;
use crate::dialog::{DialogInput, LastWords, Utterance};
use crate::store::record::EndReason;
use crate::telemetry::pii::Pii;
use crate::turn::{Endpoint, Interrupt, Rules};

/// Who called whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    Inbound,
    Outbound {
        /// The person who answers says the first word, if they say it within 2 s.
        wait_for_hello: bool,
    },
}

impl Call {
    /// The call is being placed: it ends by itself when nobody answers.
    pub(super) fn placed(&mut self, ring_timeout: Duration, trunk: Option<Arc<str>>, now: Moment) {
        if self.phase != Phase::Connecting {
            return;
        }
        self.timers.set(Timer::Ring, Some(now + ring_timeout));
        if let Some(trunk) = trunk {
            self.event("placed", Some(Pii::new(serde_json::json!({ "trunk": &*trunk }))), now);
            self.trunk = Some(trunk);
        }
    }

    pub(super) fn ringing(&mut self, now: Moment) {
        if self.phase == Phase::Connecting && !self.rang {
            self.rang = true;
            self.event("ringing", None, now);
        }
    }

    /// Kept in the record: an announcement in place of an answer explains many a call that nobody took.
    pub(super) fn early_media(&mut self, now: Moment) {
        if self.phase == Phase::Connecting && !std::mem::replace(&mut self.early_media, true) {
            self.event("early_media", None, now);
        }
    }

    pub(super) fn connected(&mut self, now: Moment) {
        if self.phase != Phase::Connecting {
            return;
        }
        self.phase = Phase::Connected;
        self.connected_at = now;
        self.heard_something(now);
        let wait = match self.opening {
            Opening::Inbound => GREETING_WAIT,
            Opening::Outbound { .. } => CALLEE_WAIT,
        };
        self.timers.set(Timer::Ring, None);
        self.timers.set(Timer::Greeting, Some(now + wait));
        self.timers.set(Timer::NoMedia, Some(now + self.no_media));
        self.timers.set(Timer::TooLong, Some(now + self.longest));
    }

    /// The first audio of the far side: the path is set up.
    pub(super) fn first_audio(&mut self, now: Moment) {
        if self.opening == (Opening::Outbound { wait_for_hello: true }) {
            self.phase = Phase::Hello;
            self.timers.set(Timer::Greeting, Some(now + HELLO));
        } else {
            self.begin(now);
        }
    }

    /// The person whom we called speaks first, or it is our turn after all.
    pub(super) fn hello(&mut self, frame: &Frame, arrival: Moment, now: Moment) {
        match self.hearing.heard(frame, arrival).edge {
            Some(SpeechEdge::Onset { .. }) => self.timers.set(Timer::Greeting, Some(now + HELLO)),
            Some(SpeechEdge::Offset { .. }) => {
                self.event("hello", None, now);
                self.begin(now);
            }
            None => {}
        }
    }

    /// The greeting waits for the first audio of the caller's side, so that its first words are not lost while the
    /// far side still sets its path up, but not for long.
    pub(super) fn begin(&mut self, now: Moment) {
        self.timers.set(Timer::Greeting, None);
        self.phase = Phase::Talking;
        self.hearing.begin_again();
        self.event("answered", None, now);
        let own = self.own_time(now);
        self.dialog.handle(DialogInput::Started, own);
        self.settle(now);
    }

    /// The server goes down: its last words, if this call can hear them, and the end.
    pub(super) fn close(&mut self, words: Option<LastWords>, now: Moment) {
        let words = words.filter(|_| self.phase == Phase::Talking && !self.hold.is_by_them());
        let Some((text, language)) = words.and_then(|words| words.spoken_in(&self.ears.language)) else {
            return self.end(EndReason::Drained, now);
        };
        self.parked(false, now);
        self.leave_transfer(now);
        let own = self.own_time(now);
        self.dialog.handle(DialogInput::Closed, own);
        self.settle(now);
        self.floor.set_rules(Rules {
            interrupt: Interrupt::Never,
            endpoint: Endpoint::Silence(Duration::from_millis(700)),
            finish: false,
        });
        self.ears.language = language;
        self.timers.set(Timer::HangUp, None);
        self.ending = Some(EndReason::Drained);
        let _ = self.mouth.say(Utterance::Sentence { text, voice: None, rate: 1.0 });
        self.timers.set(Timer::TooLong, Some(now + LONGEST_GOODBYE));
        self.settle(now);
    }
}

/// How long the greeting waits for the first audio of the caller's side.
const GREETING_WAIT: Duration = Duration::from_millis(250);

/// The same where we called: the far side has only now opened its microphone.
const CALLEE_WAIT: Duration = Duration::from_millis(500);

/// How long whoever answers may take to begin to speak, and to say who they are.
const HELLO: Duration = Duration::from_secs(2);

/// The server's last words are a sentence or two.
const LONGEST_GOODBYE: Duration = Duration::from_secs(15);
