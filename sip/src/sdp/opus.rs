//! What the receiver of Opus asks for in `a=fmtp` (RFC 7587 section 6.1). Parameters that say what a sender will do
//! (`sprop-..`) change nothing here and are not kept.

/// What the far side asks of the Opus that it receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpusParameters {
    /// Highest rate it can play, Hz: more bandwidth is wasted.
    pub max_playback_hz: u32,
    /// Highest average rate it wants, bit/s; 6000 to 510000.
    pub max_average_bps: Option<u32>,
    /// It wants in-band forward error correction.
    pub inband_fec: bool,
    /// It wants discontinuous transmission.
    pub dtx: bool,
    /// It wants a constant bit rate.
    pub constant_rate: bool,
}

impl Default for OpusParameters {
    /// Without `a=fmtp`.
    fn default() -> Self {
        Self { max_playback_hz: 48_000, max_average_bps: None, inband_fec: false, dtx: false, constant_rate: false }
    }
}

impl OpusParameters {
    /// Reads the value of `a=fmtp` behind the payload type. `None` where a known parameter has no lawful value;
    /// unknown ones are skipped, as RFC 8866 section 6.15 asks.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let mut parameters = Self::default();
        for pair in value.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').map_or((pair, ""), |(name, value)| (name.trim(), value.trim()));
            match name {
                "maxplaybackrate" => parameters.max_playback_hz = number(value, 8000, 48_000)?,
                "maxaveragebitrate" => parameters.max_average_bps = Some(number(value, 6000, 510_000)?),
                "useinbandfec" => parameters.inband_fec = flag(value)?,
                "usedtx" => parameters.dtx = flag(value)?,
                "cbr" => parameters.constant_rate = flag(value)?,
                _ => {}
            }
        }
        Some(parameters)
    }
}

/// What we ask for: calls are carried at 8 kHz inside, so that anything above 4 kHz of audio is wasted.
pub(super) const WANTED: &str = "maxplaybackrate=8000;sprop-maxcapturerate=8000;useinbandfec=1";

fn number(text: &str, least: u32, most: u32) -> Option<u32> {
    // The registered range ends where values stop making sense; what lies beyond is read as its end.
    text.parse::<u32>().ok().map(|number| number.clamp(least, most))
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_browsers_and_phones_write() {
        let read = OpusParameters::parse("minptime=10;useinbandfec=1").unwrap();
        assert_eq!(read, OpusParameters { inband_fec: true, ..OpusParameters::default() });
        let read = OpusParameters::parse("maxplaybackrate=16000; sprop-maxcapturerate=16000; cbr=1; usedtx=1").unwrap();
        assert_eq!((read.max_playback_hz, read.constant_rate, read.dtx), (16_000, true, true));
        assert_eq!(OpusParameters::parse("maxaveragebitrate=20000").unwrap().max_average_bps, Some(20_000));
        assert_eq!(OpusParameters::parse("maxaveragebitrate=9999999").unwrap().max_average_bps, Some(510_000));
        assert_eq!(OpusParameters::parse("").unwrap(), OpusParameters::default());
        for bad in ["useinbandfec=2", "maxplaybackrate=-1", "maxaveragebitrate=4294967296", "cbr"] {
            assert_eq!(OpusParameters::parse(bad), None, "{bad}");
        }
        assert_eq!(OpusParameters::parse(WANTED).unwrap().max_playback_hz, 8000);
    }
}
