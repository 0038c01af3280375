//! The `rtp:` section: where audio of SIP calls arrives, and what calls may agree on.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, de::Error as _};

use super::kinds::{self, PortRange};
use super::sip::{CodecName, SrtpMode};

/// Audio of SIP calls.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RtpConfig {
    pub ports: PortRange,
    /// None takes the address of `sip.listen`.
    #[serde(deserialize_with = "kinds::optional_ip")]
    pub listen: Option<IpAddr>,
    /// In order of preference for our own offers; an answer follows the caller's order.
    #[serde(deserialize_with = "codecs")]
    pub codecs: Vec<CodecName>,
    /// Length of a packet where the far side asks for none, in ms: 10, 20, 30, 40 or 60.
    #[serde(deserialize_with = "packet_time")]
    pub ptime_ms: u32,
    /// Whether audio is encrypted (SDES).
    pub srtp: SrtpMode,
    pub dtmf: DtmfMode,
    /// Comfort noise in place of the far side's silence (RFC 3389).
    pub comfort_noise: bool,
    /// We stop sending in silence: with G.711 and G.722 where comfort noise was agreed, with Opus always. Otherwise only
    /// Opus does so, where the far side asks for it (`usedtx=1`).
    pub dtx: bool,
    pub rtcp: RtcpSetting,
}

impl Default for RtpConfig {
    fn default() -> Self {
        Self {
            ports: PortRange::default(),
            listen: None,
            codecs: vec![CodecName::Pcmu, CodecName::Pcma, CodecName::G722, CodecName::Opus],
            ptime_ms: 20,
            srtp: SrtpMode::Allowed,
            dtmf: DtmfMode::Rfc4733,
            comfort_noise: true,
            dtx: false,
            rtcp: RtcpSetting::Mux,
        }
    }
}

/// How keys come beside SIP INFO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DtmfMode {
    /// As telephone events, where the far side has them.
    #[default]
    Rfc4733,
    /// Events are neither offered nor taken.
    Off,
}

/// How RTCP goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RtcpSetting {
    /// On the RTP port where the far side can, on the port above otherwise.
    #[default]
    Mux,
    /// Always on the port above.
    Separate,
    Off,
}

fn codecs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<CodecName>, D::Error> {
    let codecs = Vec::<CodecName>::deserialize(deserializer)?;
    let twice = codecs.iter().enumerate().any(|(place, codec)| codecs.iter().skip(place + 1).any(|next| next == codec));
    if codecs.is_empty() || twice {
        return Err(D::Error::custom("expected at least one of pcmu, pcma, g722 and opus, each once"));
    }
    Ok(codecs)
}

fn packet_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let ms = u32::deserialize(deserializer)?;
    if [10, 20, 30, 40, 60].contains(&ms) { Ok(ms) } else { Err(D::Error::custom("expected 10, 20, 30, 40 or 60")) }
}
