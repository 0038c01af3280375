//! Opus (RFC 6716, RFC 7587) at 8 kHz: libopus, decoding straight to the house's rate.
//!
//! The encoder also serves recordings: [`OpusEncoder::stereo`] takes two callers' sides interleaved, and
//! [`OpusEncoder::pre_skip`] is what an Ogg file's header asks for (RFC 7845). Files, packets' timestamps and jitter
//! are others' work. No call allocates once a value is built.

use opus::{Application, Bitrate, Channels, Decoder, Encoder};

use super::CodecError;

/// What the far side's `a=fmtp` asks of our encoder (RFC 7587 section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpusSettings {
    /// `useinbandfec=1`: each packet also carries the one before it, more coarsely (LBRR).
    pub inband_fec: bool,
    /// `usedtx=1`: nothing is sent in silence but a packet every 400 ms.
    pub dtx: bool,
    /// At most `maxaveragebitrate`; bits per second, 6000 to 510000.
    pub bitrate_bps: u32,
}

impl OpusSettings {
    /// Error correction on, no gaps in silence, 24 kb/s.
    pub const STANDARD: Self = Self { inband_fec: true, dtx: false, bitrate_bps: 24_000 };
}

impl Default for OpusSettings {
    fn default() -> Self {
        Self::STANDARD
    }
}

/// 8 kHz samples to packets.
#[derive(Debug)]
pub struct OpusEncoder {
    coder: Option<Encoder>,
}

impl OpusEncoder {
    /// For one voice.
    pub fn mono(settings: OpusSettings) -> Self {
        Self::with(Channels::Mono, settings)
    }

    /// For two voices, whose samples alternate: left, right, left.
    pub fn stereo(settings: OpusSettings) -> Self {
        Self::with(Channels::Stereo, settings)
    }

    /// Encodes 10, 20, 40 or 60 ms (80, 160, 320 or 480 samples of each voice) and returns the packet's length.
    /// With [`OpusSettings::dtx`] a packet of one or two octets need not be sent.
    ///
    /// # Errors
    /// [`CodecError::FrameLength`] for other lengths, [`CodecError::NoMemory`] if the state could not be made.
    pub fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        let coder = self.coder.as_mut().ok_or(CodecError::NoMemory { codec: NAME })?;
        coder.encode(pcm, out).map_err(|_| CodecError::FrameLength { codec: NAME, samples: pcm.len() })
    }

    /// Tells the encoder how many packets the far side loses, percent: more of each packet goes to the one before it.
    pub fn expect_loss(&mut self, percent: u8) {
        if let Some(coder) = self.coder.as_mut() {
            // Refused only beyond 100.
            let _ = coder.set_packet_loss_perc(i32::from(percent.min(100)));
        }
    }

    /// Samples of 48 kHz that a decoder puts before the first sample: `pre-skip` of an Ogg file (RFC 7845 section 4.2).
    pub fn pre_skip(&mut self) -> u16 {
        let ours = self.coder.as_mut().and_then(|coder| coder.get_lookahead().ok()).unwrap_or_default();
        u16::try_from(ours * 6).unwrap_or_default()
    }

    fn with(channels: Channels, settings: OpusSettings) -> Self {
        let mut coder = Encoder::new(8000, channels, Application::Voip).ok();
        if let Some(coder) = coder.as_mut() {
            let bitrate = i32::try_from(settings.bitrate_bps.clamp(LEAST_BPS, MOST_BPS)).unwrap_or(DEFAULT_BPS);
            // None of these is refused: the values are within the ranges of libopus.
            let _ = coder.set_bitrate(Bitrate::Bits(bitrate));
            let _ = coder.set_complexity(COMPLEXITY);
            let _ = coder.set_inband_fec(settings.inband_fec);
            let _ = coder.set_packet_loss_perc(if settings.inband_fec { EXPECTED_LOSS } else { 0 });
            let _ = coder.set_dtx(settings.dtx);
        }
        Self { coder }
    }
}

/// Packets to 8 kHz samples.
#[derive(Debug)]
pub struct OpusDecoder {
    coder: Option<Decoder>,
}

impl OpusDecoder {
    /// A decoder that has heard nothing; stereo packets are mixed to one voice.
    pub fn new() -> Self {
        Self { coder: Decoder::new(8000, Channels::Mono).ok() }
    }

    /// How long a packet lasts, samples of 8 kHz, by its first octets.
    ///
    /// # Errors
    /// [`CodecError::Corrupt`] if it is empty, malformed or longer than 120 ms.
    pub fn duration(packet: &[u8]) -> Result<usize, CodecError> {
        let corrupt = CodecError::Corrupt { codec: NAME, octets: packet.len() };
        if packet.is_empty() {
            return Err(corrupt);
        }
        opus::packet::get_nb_samples(packet, 8000).map_err(|_| corrupt)
    }

    /// Decodes a packet.
    ///
    /// # Errors
    /// [`CodecError`]; the decoder stays usable.
    pub fn decode(&mut self, packet: &[u8], pcm: &mut [i16]) -> Result<usize, CodecError> {
        let samples = Self::duration(packet)?;
        let too_long = CodecError::TooLong { codec: NAME, octets: packet.len(), limit: pcm.len() };
        let pcm = pcm.get_mut(..samples).ok_or(too_long)?;
        self.run(packet, pcm, false)
    }

    /// Decodes what `packet` says about the `pcm.len()` samples before it (in-band FEC); where it says nothing, the
    /// decoder makes them up.
    ///
    /// # Errors
    /// [`CodecError`]; the length must be a multiple of 2.5 ms.
    pub fn recover(&mut self, packet: &[u8], pcm: &mut [i16]) -> Result<usize, CodecError> {
        Self::duration(packet)?;
        self.run(packet, pcm, true)
    }

    /// Makes up `pcm.len()` samples for a packet that is lost.
    ///
    /// # Errors
    /// [`CodecError`]; the length must be a multiple of 2.5 ms.
    pub fn conceal(&mut self, pcm: &mut [i16]) -> Result<usize, CodecError> {
        self.run(&[], pcm, false)
    }

    fn run(&mut self, packet: &[u8], pcm: &mut [i16], fec: bool) -> Result<usize, CodecError> {
        let coder = self.coder.as_mut().ok_or(CodecError::NoMemory { codec: NAME })?;
        coder.decode(packet, pcm, fec).map_err(|_| CodecError::Corrupt { codec: NAME, octets: packet.len() })
    }
}

impl Default for OpusDecoder {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether the packet carries a coarse copy of the audio before it: the LBRR flag of its first frame's SILK layer, which
/// follows a flag for each 20 ms (RFC 6716 section 4.2.3). Packets of many frames (code 3) count as without.
pub fn has_lbrr(packet: &[u8]) -> bool {
    let Some((&toc, rest)) = packet.split_first() else { return false };
    let (config, stereo) = (toc >> 3, toc & 4 != 0);
    let frame = match (toc & 3, rest) {
        (0 | 1, frame) => frame,
        (2, [252..=255, _, frame @ ..] | [0..=251, frame @ ..]) => frame,
        _ => return false,
    };
    let blocks = match config {
        // SILK alone: 10, 20, 40, 60 ms in each of three bandwidths. Hybrid: 10 or 20 ms.
        0..12 => [1, 1, 2, 3][usize::from(config & 3)],
        12..16 => 1,
        _ => return false,
    };
    let flag = |bit: u8| frame.first().is_some_and(|octet| octet >> bit & 1 == 1);
    flag(7 - blocks) || stereo && flag(6 - 2 * blocks)
}

const NAME: &str = "Opus";
const LEAST_BPS: u32 = 6000;
const MOST_BPS: u32 = 510_000;
const DEFAULT_BPS: i32 = 24_000;
/// Of 10: twice the time buys little at this rate (docs/decisions/0007).
const COMPLEXITY: i32 = 5;
/// Percent, until a receiver report says better: enough for libopus to send redundancy at 16 kb/s and up.
const EXPECTED_LOSS: i32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FRAME;
    use crate::level::rms_dbfs;

    /// The beginning of a recorded voice.
    fn voice(count: usize) -> Vec<i16> {
        let wav = crate::wav::Wav::parse(include_bytes!("../../../fixtures/audio/human/invalid.wav")).unwrap();
        wav.samples[..count].to_vec()
    }

    fn packets(settings: OpusSettings, pcm: &[i16]) -> Vec<Vec<u8>> {
        let (mut encoder, mut room) = (OpusEncoder::mono(settings), [0; 1000]);
        let encode = |frame| {
            let length = encoder.encode(frame, &mut room).unwrap();
            room[..length].to_vec()
        };
        pcm.chunks_exact(FRAME).map(encode).collect()
    }

    fn decode(decoder: &mut OpusDecoder, packet: &[u8]) -> [i16; FRAME] {
        let mut frame = [0; FRAME];
        assert_eq!(decoder.decode(packet, &mut frame), Ok(FRAME));
        frame
    }

    #[test]
    fn a_voice_comes_back_at_its_level_and_rate() {
        let pcm = voice(80 * FRAME);
        let packets = packets(OpusSettings { bitrate_bps: 16_000, ..OpusSettings::default() }, &pcm);
        let mut decoder = OpusDecoder::new();
        let heard: Vec<i16> = packets.iter().flat_map(|packet| decode(&mut decoder, packet)).collect();
        let gain = rms_dbfs(&heard[2000..]) - rms_dbfs(&pcm[2000..]);
        assert!(gain.abs() < 1.0, "{gain} dB");
        let bps = packets.iter().map(Vec::len).sum::<usize>() * 8 * 50 / packets.len();
        assert!((12_000..20_000).contains(&bps), "{bps}");
    }

    #[test]
    fn the_next_packet_brings_a_lost_one_back_better_than_a_guess() {
        let pcm = voice(200 * FRAME);
        let packets = packets(OpusSettings::default(), &pcm);
        let redundant = packets.iter().filter(|packet| has_lbrr(packet)).count();
        assert!(redundant > 80, "{redundant} of 200");
        let (mut recovered, mut guessed) = (0.0, 0.0);
        for lost in (30..190).step_by(3).filter(|&lost| has_lbrr(&packets[lost + 1])) {
            let [mut whole, mut fec, mut plc] = [(); 3].map(|()| OpusDecoder::new());
            for packet in &packets[..lost] {
                for decoder in [&mut whole, &mut fec, &mut plc] {
                    decode(decoder, packet);
                }
            }
            let (truth, mut by_fec, mut by_plc) = (decode(&mut whole, &packets[lost]), [0; FRAME], [0; FRAME]);
            assert_eq!(fec.recover(&packets[lost + 1], &mut by_fec), Ok(FRAME));
            assert_eq!(plc.conceal(&mut by_plc), Ok(FRAME));
            let error = |got: &[i16; FRAME]| {
                let sum: i64 = truth.iter().zip(got).map(|(a, b)| (i64::from(*a) - i64::from(*b)).pow(2)).sum();
                sum as f64
            };
            recovered += error(&by_fec);
            guessed += error(&by_plc);
        }
        assert!(recovered * 2.0 < guessed, "{recovered} against {guessed}");
    }

    #[test]
    fn silence_is_not_sent_under_dtx() {
        let settings = OpusSettings { dtx: true, ..OpusSettings::default() };
        let packets = packets(settings, &[0; 100 * FRAME]);
        let sent = packets[50..].iter().filter(|packet| packet.len() > 2).count();
        assert!(sent <= 4, "{sent} of 50");
        assert!(!has_lbrr(&packets[60]));
    }

    #[test]
    fn corrupt_packets_are_errors_and_the_decoder_goes_on() {
        let good = packets(OpusSettings::default(), &voice(4 * FRAME));
        let (mut decoder, mut pcm) = (OpusDecoder::new(), [0; 960]);
        let corrupt = |octets| Err(CodecError::Corrupt { codec: NAME, octets });
        assert_eq!(decoder.decode(&[], &mut pcm), corrupt(0));
        assert_eq!(decoder.decode(&[0x03, 0], &mut pcm), corrupt(2));
        assert_eq!(decoder.recover(&[0x02, 252], &mut pcm[..160]), corrupt(2));
        let short = CodecError::TooLong { codec: NAME, octets: good[1].len(), limit: 80 };
        assert_eq!(decoder.decode(&good[1], &mut pcm[..80]), Err(short));
        assert_eq!(decoder.decode(&good[2], &mut pcm), Ok(FRAME));
    }

    #[test]
    fn recordings_have_two_voices() {
        let mut encoder = OpusEncoder::stereo(OpusSettings::default());
        let (mut room, left) = ([0; 1000], voice(FRAME));
        let both: Vec<i16> = left.iter().flat_map(|&sample| [sample, 0]).collect();
        let length = encoder.encode(&both, &mut room).unwrap();
        assert_eq!(OpusDecoder::duration(&room[..length]), Ok(FRAME));
        assert!((120..1000).contains(&encoder.pre_skip()), "{}", encoder.pre_skip());
        let odd = CodecError::FrameLength { codec: NAME, samples: 200 };
        assert_eq!(encoder.encode(&both[..200], &mut room), Err(odd));
    }
}
