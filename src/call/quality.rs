//! How a call was heard: what becomes of a leg's figures at its end, and of a leg that hears nothing at its beginning.

use serde_json::json;

use super::leg::{LegStats, NoAudio, NoAudioCause};
use crate::store::record::{CallEvent, Quality};
use crate::telemetry::metrics::{BadInput, Metrics};
use crate::telemetry::pii::Pii;

/// What the record keeps of a leg's quality.
pub fn quality(stats: &LegStats) -> Quality {
    Quality {
        loss_percent: stats.loss_percent,
        far_loss_percent: stats.far_loss_percent,
        round_trip_ms: stats.round_trip_ms,
        r_factor: stats.r_factor,
        mos: stats.mos,
        codec: stats.codec.map(str::to_owned),
        srtp: stats.srtp.map(str::to_owned),
    }
}

/// Counts a leg's figures at its end.
pub fn measure(metrics: &Metrics, stats: &LegStats) {
    metrics.rtp_packets_lost.inc_by(stats.packets_lost);
    metrics.concealed_ms.inc_by(stats.concealed_ms);
    metrics.rtp_unauthentic.inc_by(stats.unauthentic_packets);
    if let Some(codec) = stats.codec {
        metrics.call_spoke(codec, stats.srtp.unwrap_or("none"));
    }
    // Nothing was heard: nothing can be judged.
    if let Some(mos) = stats.mos {
        metrics.call_mos.observe(mos);
        metrics.call_jitter_ms.observe(stats.jitter_ms);
    }
    if let Some(loss) = stats.loss_percent {
        metrics.call_loss_percent.observe(loss);
    }
    if let Some(taken) = stats.round_trip_ms {
        metrics.call_round_trip_ms.observe(taken);
    }
    let bad = [
        (stats.strange_packets, BadInput::StrangeMedia),
        (stats.malformed_packets, BadInput::Rtp),
        (stats.malformed_reports, BadInput::Rtcp),
        (stats.unauthentic_packets, BadInput::Srtp),
    ];
    bad.into_iter().filter(|(packets, _)| *packets > 0).for_each(|(_, kind)| metrics.bad_input(kind));
}

/// The event of a call that hears nothing: `no_audio`, with address, port, codec and cause.
pub fn no_audio(told: &NoAudio, at_ms: f64) -> CallEvent {
    let mut detail = json!({
        "expected": told.expected.map(|address| address.to_string()),
        "port": told.port,
        "codec": told.codec,
        "payload_type": told.payload_type,
        "cause": told.cause.as_str(),
    });
    let more = match told.cause {
        NoAudioCause::Nothing => None,
        NoAudioCause::OtherAddress { from, packets } => Some(json!({"from": from.to_string(), "packets": packets})),
        NoAudioCause::WrongKey { packets } => Some(json!({ "packets": packets })),
        NoAudioCause::OtherCodec { payload_type } => Some(json!({ "found_payload_type": payload_type })),
    };
    if let (Some(detail), Some(serde_json::Value::Object(more))) = (detail.as_object_mut(), more) {
        detail.extend(more);
    }
    CallEvent { kind: "no_audio", at_ms, detail: Some(Pii::new(detail)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_call_is_told_in_words_and_as_data() {
        let told = NoAudio {
            expected: "192.0.2.1:4000".parse().ok(),
            port: 20_000,
            codec: "PCMU",
            payload_type: 0,
            cause: NoAudioCause::OtherAddress { from: "203.0.113.9:6000".parse().unwrap(), packets: 3 },
        };
        assert_eq!(
            told.to_string(),
            "no audio for 2 s on port 20000, PCMU as payload type 0, expected from 192.0.2.1:4000: \
             3 packets came from 203.0.113.9:6000 instead"
        );
        let event = no_audio(&told, 2000.0);
        let detail = event.detail.unwrap();
        assert_eq!(detail.expose()["cause"], "other_address");
        assert_eq!((&detail.expose()["from"], &detail.expose()["port"]), (&json!("203.0.113.9:6000"), &json!(20_000)));
    }
}
