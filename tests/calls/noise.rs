//! Bangs, clicks and hisses are not speech: they never stop the bot.

use crate::harness::sound::{Colour, noise};
use crate::harness::{at, ms, script};

const RECITAL: &str = "
name: recital
steps:
  talk:
    say:
      - The clinic is open from Monday to Friday, from eight in the morning to five in the afternoon.
      - The laboratory takes samples on weekday mornings, and the pharmacy is open whenever the clinic is.
      - Vaccinations for children are given on Tuesday and Thursday afternoons without an appointment.
      - If you need a doctor at night, the district hospital in the next town is open at all hours.
    goto: hangup
";

/// 20 bursts of 120 ms, each at another place of the frame.
fn bursts(colour: Colour, dbfs: f64) {
    let mut call = script("bursts").flow(RECITAL);
    for burst in 0..20_u64 {
        let begins = ms(1000 + burst * 973);
        call = call.caller_makes(begins, noise(colour, 120, dbfs, burst));
    }
    let call = call.run(at(21.5));
    assert_eq!(call.counts.barge_ins, 0, "{colour:?} at {dbfs} dBFS: {:?}", call.event_at("barge_in"));
    call.expect_speaking(at(0.4), at(21.5));
}

#[test]
fn white_noise_never_stops_the_bot() {
    [-10.0, -20.0, -30.0, -40.0].into_iter().for_each(|dbfs| bursts(Colour::White, dbfs));
}

#[test]
fn pink_noise_never_stops_the_bot() {
    [-10.0, -20.0, -30.0, -40.0].into_iter().for_each(|dbfs| bursts(Colour::Pink, dbfs));
}

#[test]
fn brown_noise_never_stops_the_bot() {
    [-10.0, -20.0, -30.0, -40.0].into_iter().for_each(|dbfs| bursts(Colour::Brown, dbfs));
}
