//! The offers and answers of one call, one after the other (RFC 3264 section 8): our version number grows when and
//! only when what we say changes, streams keep their places, payload types their meaning, and keys their owner.
//!
//! Deliberately absent: whose turn it is to offer. That is the dialog's to know (glare, RFC 3261 section 14).

use super::codec::{Codec, FIRST_DYNAMIC};
use super::crypto::{CryptoSuite, MasterKey};
use super::error::SdpError;
use super::negotiate::{Agreed, COMFORT_NOISE, LocalMedia, Negotiated, Session, SrtpPolicy, negotiate, read_answer};
use super::parse::SessionDescription;
use super::write::{self, Stream};
use super::{Direction, RtcpMode};
use zeroize::Zeroizing;

/// See the module's header.
#[derive(Debug)]
pub struct Exchange {
    local: LocalMedia,
    session: Session,
    /// What we said last; it may hold keys.
    said: Option<Zeroizing<String>>,
    shape: Vec<Place>,
    /// Payload types in force, for offers of ours that follow.
    types: PayloadTypes,
    /// The stream is encrypted now.
    encrypted: bool,
}

impl Exchange {
    /// `session_id` is a number for the call, by which the other side knows our descriptions.
    pub fn new(local: LocalMedia, session_id: u64) -> Self {
        Self {
            local,
            session: Session { id: session_id, version: 0 },
            said: None,
            shape: Vec::new(),
            types: PayloadTypes::default(),
            encrypted: false,
        }
    }

    /// Answers an offer.
    ///
    /// # Errors
    /// [`SdpError`]: nothing has changed; refuse with its status.
    pub fn answer(&mut self, offer: &[u8]) -> Result<Negotiated, SdpError> {
        let offer = SessionDescription::parse(offer)?;
        let mut taken = negotiate(&offer, &self.local, self.session)?;
        taken.answer = self.say(taken.answer);
        self.settle(&taken.agreed);
        self.place(&offer, taken.agreed.stream);
        Ok(taken)
    }

    /// The text of an offer of everything we can do, in the places that the call's streams have.
    pub fn offer(&mut self) -> String {
        let mut text = write::heading(&self.local, self.session, (0, 0));
        if self.shape.is_empty() {
            self.shape.push(Place::Ours { protocol: own_protocol(self.local.srtp).to_owned() });
        }
        for place in &self.shape {
            match place {
                Place::Ours { protocol } => self.offer_stream(&mut text, protocol),
                Place::Refused { kind, protocol, formats } => write::refused(&mut text, kind, protocol, formats),
            }
        }
        self.say(text)
    }

    /// Reads the answer to [`Exchange::offer`].
    ///
    /// # Errors
    /// [`SdpError`]: nothing has changed.
    pub fn answered(&mut self, answer: &[u8]) -> Result<Agreed, SdpError> {
        let answer = SessionDescription::parse(answer)?;
        let stream = self.shape.iter().position(|place| matches!(place, Place::Ours { .. })).unwrap_or_default();
        let agreed = read_answer(&answer, stream, &self.local, self.offered_policy())?;
        self.settle(&agreed);
        Ok(agreed)
    }

    /// What we want from the next offer or answer on: less than `SendRecv` puts the other side on hold.
    pub fn want(&mut self, direction: Direction) {
        self.local.direction = direction;
    }

    /// What we do.
    pub const fn local(&self) -> &LocalMedia {
        &self.local
    }

    /// Gives a description its version: the last one if it says the same, else the next (RFC 3264 section 8).
    fn say(&mut self, text: String) -> String {
        if self.said.as_ref().is_some_and(|said| **said == text) {
            return text;
        }
        self.session.version += 1;
        let Session { id, version } = self.session;
        let text = text.replacen(&format!("o=- {id} {} ", version - 1), &format!("o=- {id} {version} "), 1);
        self.said = Some(Zeroizing::new(text.clone()));
        text
    }

    fn settle(&mut self, agreed: &Agreed) {
        self.types = PayloadTypes::of(agreed);
        self.encrypted = agreed.crypto.is_some();
        if let Some(crypto) = &agreed.crypto {
            // The suite in force stays the first choice of offers that follow.
            self.local.keys.sort_by_key(|key| key.suite != crypto.suite);
        }
    }

    fn place(&mut self, offer: &SessionDescription, ours: usize) {
        self.shape.clear();
        self.shape.extend(offer.media.iter().enumerate().map(|(index, media)| {
            let protocol = media.protocol.clone();
            match index == ours {
                true => Place::Ours { protocol },
                false => Place::Refused { kind: media.kind.clone(), protocol, formats: media.formats.clone() },
            }
        }));
    }

    /// Whether an offer of ours brings keys: one that would take them away from an encrypted call does.
    const fn offered_policy(&self) -> SrtpPolicy {
        match self.local.srtp {
            SrtpPolicy::Allowed if self.encrypted => SrtpPolicy::Optional,
            policy => policy,
        }
    }

    fn offer_stream(&self, text: &mut String, protocol: &str) {
        let formats = self.types.formats(&self.local);
        let secure = matches!(self.offered_policy(), SrtpPolicy::Optional | SrtpPolicy::Required);
        let keys = self.local.keys.iter().filter(|_| secure);
        let crypto: Vec<(u32, CryptoSuite, &MasterKey)> = (1..).zip(keys).map(|(n, k)| (n, k.suite, &k.key)).collect();
        let stream = Stream {
            protocol,
            codecs: &formats.codecs,
            comfort_noise: formats.comfort_noise,
            events: &formats.events,
            ptime_ms: Codec::Pcmu.packet_time(self.local.ptime_ms),
            direction: self.local.direction,
            rtcp_mux: self.local.rtcp == RtcpMode::Mux,
            crypto: &crypto,
        };
        write::stream(text, &self.local, &stream);
    }
}

/// One stream of the call.
#[derive(Debug)]
enum Place {
    Ours { protocol: String },
    Refused { kind: String, protocol: String, formats: Vec<String> },
}

/// What payload types mean in this call (RFC 3264 section 8.3.2: never anything else).
#[derive(Debug, Default)]
struct PayloadTypes {
    codec: Option<(Codec, u8)>,
    events: Option<(u8, u32)>,
    comfort_noise: Option<u8>,
}

impl PayloadTypes {
    fn of(agreed: &Agreed) -> Self {
        Self {
            codec: Some((agreed.codec, agreed.payload_type)),
            events: agreed.telephone_event.map(|event| (event.payload_type, event.clock_hz)),
            comfort_noise: agreed.comfort_noise_payload_type,
        }
    }

    /// What an offer of ours lists: what is in force under its payload types, first; the rest under numbers that mean
    /// nothing else.
    fn formats(&self, local: &LocalMedia) -> Formats {
        let mut used: Vec<u8> = self.codec.iter().map(|(_, number)| *number).collect();
        used.extend(self.events.iter().map(|(number, _)| *number).chain(self.comfort_noise));
        let others = local.codecs.iter().filter(|ours| self.codec.is_none_or(|(current, _)| current != **ours));
        let others = others.map(|codec| (*codec, free(&mut used, codec.payload_type())));
        let codecs: Vec<(Codec, u8)> = self.codec.into_iter().chain(others.collect::<Vec<_>>()).collect();
        let has = |clock_hz| codecs.iter().any(|(codec, _)| codec.clock_hz() == clock_hz);
        let clocks = [(EVENTS, 8000), (EVENTS_48, 48_000)];
        let clocks = clocks.into_iter().filter(|&(_, clock_hz)| local.telephone_event && has(clock_hz));
        let events = clocks.map(|(number, clock_hz)| match self.events.filter(|&(_, agreed)| agreed == clock_hz) {
            Some(agreed) => agreed,
            None => (free(&mut used, number), clock_hz),
        });
        let events = events.collect();
        let comfort_noise = (local.comfort_noise && has(8000))
            .then(|| self.comfort_noise.unwrap_or_else(|| free(&mut used, COMFORT_NOISE)));
        Formats { codecs, events, comfort_noise }
    }
}

/// The formats of an offer with their payload types.
struct Formats {
    codecs: Vec<(Codec, u8)>,
    events: Vec<(u8, u32)>,
    comfort_noise: Option<u8>,
}

/// `wanted`, or, where that has another meaning, the first dynamic number that has none.
fn free(used: &mut Vec<u8>, wanted: u8) -> u8 {
    let ours = [Codec::Opus.payload_type(), EVENTS, EVENTS_48];
    let spare = || (FIRST_DYNAMIC..128).find(|number| !used.contains(number) && !ours.contains(number));
    let number = if used.contains(&wanted) { spare().unwrap_or(wanted) } else { wanted };
    used.push(number);
    number
}

const fn own_protocol(policy: SrtpPolicy) -> &'static str {
    match policy {
        SrtpPolicy::Off | SrtpPolicy::Allowed | SrtpPolicy::Optional => "RTP/AVP",
        SrtpPolicy::Required => "RTP/SAVP",
    }
}

/// Payload type of telephone-event at 8000 Hz in our offers.
const EVENTS: u8 = 101;

/// Payload type of telephone-event at 48000 Hz in our offers.
const EVENTS_48: u8 = 110;

#[cfg(test)]
mod tests;
