//! Whatever happens, in whatever order: a call speaks, waits with a clock, or is over; and the same seed is the same call.

use offhook::call::TurnId;
use offhook::call::core::CallInput;
use offhook::providers::SttEvent;
use offhook::safety::said::clear;
use offhook_media::playout::SentenceId;
use proptest::prelude::*;

use crate::harness::sound::{Colour, PHRASES, noise};
use crate::harness::vendors::error;
use crate::harness::{Model, Moment, Outcome, Script, Voice, at, ms, script};

/// Every kind of step, with short waits; a silent caller is out of it within a minute.
const ROUND: &str = "
name: round
defaults: {no_input_ms: 1500, max_tries: 2}
steps:
  hello:
    say: Hello there. Nice of you to call.
    goto: pick
  pick:
    menu:
      prompt: Say sales or repairs.
      choices:
        - {key: 1, words: [sales], goto: number}
        - {key: 2, words: [repairs], goto: talk}
        - {key: 3, goto: notice}
      give_up: number
  notice:
    say: This has to be heard.
    barge_in: \"off\"
    goto: talk
  number:
    collect: {prompt: Your number?, into: n, min: 2, max: 6, give_up: talk}
    barge_in: digits
    goto: talk
  talk:
    ask:
      prompt: What is it?
      system_text: Be brief.
      keys: {\"0\": bye, \"9\": pick}
      unheard: Press zero.
      without_model: Press zero.
      max_turns: 3
      give_up: tone
    barge_in: words
    goto: tone
  tone:
    play:
      tone: {hz: 440, ms: 800}
    goto: bye
  bye:
    hangup: Goodbye then.
";

#[derive(Clone, Debug)]
enum Act {
    Says(usize),
    Noise(u64),
    Key(char),
    Words(&'static str),
    Interim(&'static str),
    SttFails,
    Reconnects,
    Connects,
    Strays(u32, u32),
    LineDies,
    HangsUp,
}

fn act() -> impl Strategy<Value = Act> {
    let words = prop::sample::select(vec!["sales", "repairs", "one two three", "", "what are your hours", "no"]);
    prop_oneof![
        6 => (0..PHRASES.len()).prop_map(Act::Says),
        2 => any::<u64>().prop_map(Act::Noise),
        6 => prop::sample::select("0123456789*#A".chars().collect::<Vec<_>>()).prop_map(Act::Key),
        6 => words.clone().prop_map(Act::Words),
        3 => words.prop_map(Act::Interim),
        1 => Just(Act::SttFails),
        1 => Just(Act::Reconnects),
        1 => Just(Act::Connects),
        3 => (0_u32..12, 0_u32..12).prop_map(|(turn, sentence)| Act::Strays(turn, sentence)),
        1 => Just(Act::LineDies),
        1 => Just(Act::HangsUp),
    ]
}

fn a_voice() -> impl Strategy<Value = Voice> {
    prop_oneof![
        6 => (50_u64..1500).prop_map(|wait| Voice::Speaks(ms(wait))),
        1 => Just(Voice::Speaks(ms(7000))),
        1 => (0_u64..900).prop_map(|wait| Voice::Fails(ms(wait))),
        1 => (50_u64..900).prop_map(|wait| Voice::Breaks(ms(wait))),
        1 => Just(Voice::Stalls),
        1 => (50_u64..900).prop_map(|wait| Voice::Mute(ms(wait))),
        1 => (50_u64..900).prop_map(|wait| Voice::Hangs(ms(wait))),
    ]
}

fn a_model() -> impl Strategy<Value = Model> {
    let said =
        prop::collection::vec((0_u64..6000, prop::sample::select(vec!["Yes.", "", "That is so, I think."])), 0..3);
    let said = said.prop_map(|mut said| {
        said.sort_by_key(|(at, _)| *at);
        said.into_iter().map(|(at, text)| (ms(at), text)).collect::<Vec<_>>()
    });
    prop_oneof![
        4 => said.clone().prop_map(Model::Says),
        1 => said.clone().prop_map(Model::SaysAndStalls),
        1 => said.prop_map(Model::SaysAndFails),
    ]
}

fn play(script: Script, at: Moment, act: &Act) -> Script {
    match act {
        Act::Says(phrase) => script.caller_says(at.max(ms(300)), PHRASES[*phrase]),
        Act::Noise(seed) => script.caller_makes(at, noise(Colour::Pink, 400, -20.0, *seed)),
        Act::Key(key) => script.key(at, *key),
        Act::Words(words) => script.words(at, words),
        Act::Interim(words) => script.interim(at, words),
        Act::SttFails => script.input(at, CallInput::Heard(SttEvent::Failed(error("ears")))),
        Act::Reconnects => script.input(at, CallInput::Heard(SttEvent::Reconnecting)),
        Act::Connects => script.input(at, CallInput::Connected),
        Act::LineDies => script.line_dies(at),
        Act::HangsUp => script.hangs_up(at),
        Act::Strays(turn, sentence) => {
            let (turn, sentence) = (TurnId(*turn), SentenceId(*sentence));
            script
                .input(at, CallInput::Speech { turn, sentence, samples: vec![5000; 400].into() })
                .input(at, CallInput::SpeechEnded { turn, sentence })
                .input(at, CallInput::Answer { turn, sentence: clear("Stray.") })
                .input(at, CallInput::AnswerEnded { turn })
                .input(at, CallInput::SpeechFailed { turn, sentence, error: error("stray") })
        }
    }
}

#[derive(Clone, Debug)]
struct Plan {
    seed: u64,
    late_vendors: bool,
    deaf: bool,
    voice: Voice,
    voices: Vec<(usize, Voice)>,
    models: Vec<Model>,
    acts: Vec<(u64, Act)>,
}

impl Plan {
    fn run(&self) -> Outcome {
        let mut script =
            script("anything").flow(ROUND).network("loss=3%,jitter=20ms,reorder=1%,duplicate=1%", self.seed);
        script = script.voice(self.voice.clone()).no_media(at(15.0));
        if self.late_vendors {
            script = script.late_vendors();
        }
        if self.deaf {
            script = script.deaf();
        }
        for (sentence, voice) in &self.voices {
            script = script.voice_of(*sentence, voice.clone());
        }
        for model in &self.models {
            script = script.model(model.clone());
        }
        for (when, act) in &self.acts {
            script = play(script, ms(*when), act);
        }
        script.run(LIMIT)
    }
}

fn plan() -> impl Strategy<Value = Plan> {
    let voices = prop::collection::vec((0_usize..12, a_voice()), 0..5);
    let models = prop::collection::vec(a_model(), 0..4);
    let acts = prop::collection::vec((0_u64..25_000, act()), 0..14);
    (any::<u64>(), any::<bool>(), prop::bool::weighted(0.2), a_voice(), voices, models, acts).prop_map(
        |(seed, late_vendors, deaf, voice, voices, models, acts)| Plan {
            seed,
            late_vendors,
            deaf,
            voice,
            voices,
            models,
            acts,
        },
    )
}

/// By then a caller who does nothing more has been let go.
const LIMIT: Moment = std::time::Duration::from_secs(180);

/// A caller who made a sound without words is waited for this long at most (15 s), and a voice that stalls thereafter.
const LONGEST_SILENCE: Moment = std::time::Duration::from_secs(20);

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_state_is_left_by_the_clock(plan in plan()) {
        let call = plan.run();
        prop_assert!(call.end.is_some(), "still there after {LIMIT:?}\n{}", call.story());
        let end = call.end.as_ref().map_or(LIMIT, |(end, _)| *end);
        // The longest phrase lasts less than 4 s.
        let acts: Vec<Moment> = plan.acts.iter().flat_map(|(when, _)| [ms(*when), ms(*when + 4000)]).collect();
        let (silence, since) = call.longest_silence_of_both(at(0.0), end, &acts);
        prop_assert!(silence <= LONGEST_SILENCE, "{silence:?} from {since:?}\n{}", call.story());
    }
}

#[test]
fn the_same_seed_is_the_same_call_bit_for_bit() {
    let call = |seed| {
        script("twice")
            .network("loss=5%,jitter=30ms,reorder=2%,duplicate=2%", seed)
            .caller_says(at(1.5), "hello")
            .words(at(2.2), "opening hours")
            .caller_says(at(6.0), "im-sorry")
            .key(at(9.0), '1')
            .run(at(14.0))
    };
    let (one, two, other) = (call(7), call(7), call(8));
    assert_eq!(one.log, two.log);
    assert_eq!(one.audio_hash(), two.audio_hash());
    assert_eq!(one.heard, two.heard);
    assert_ne!(one.heard, other.heard);
}
