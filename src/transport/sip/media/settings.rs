//! What calls may agree on, from the configuration: the server's own, and what a trunk says instead.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use offhook_sip::Flow;
use offhook_sip::sdp::{Codec, LocalMedia, RtcpMode, SrtpPolicy};

use crate::config::{CodecName, DtmfMode, RtcpSetting, RtpConfig, SrtpMode};

/// What every call may agree on.
#[derive(Clone, Debug)]
pub struct MediaSettings {
    /// What the far sides beyond our NAT are told of us; who was reached by it is told nothing else.
    pub external: Option<IpAddr>,
    profile: MediaProfile,
    ptime_ms: u32,
    telephone_event: bool,
    comfort_noise: bool,
    /// Whether we stop sending in silence where the far side can bear it.
    pub(super) dtx: bool,
    rtcp: RtcpMode,
}

/// What one trunk's calls agree on in place of the server's own.
#[derive(Clone, Debug)]
pub struct MediaProfile {
    /// In order of preference; empty takes the server's.
    pub codecs: Arc<[Codec]>,
    pub srtp: SrtpPolicy,
}

impl MediaProfile {
    pub fn new(codecs: &[CodecName], srtp: SrtpMode) -> Self {
        Self { codecs: codecs.iter().copied().map(codec).collect(), srtp: policy(srtp) }
    }
}

impl MediaSettings {
    pub fn new(config: &RtpConfig, external: Option<IpAddr>) -> Self {
        Self {
            external,
            profile: MediaProfile::new(&config.codecs, config.srtp),
            ptime_ms: config.ptime_ms,
            telephone_event: config.dtmf == DtmfMode::Rfc4733,
            comfort_noise: config.comfort_noise,
            dtx: config.dtx,
            rtcp: match config.rtcp {
                RtcpSetting::Off => RtcpMode::Off,
                RtcpSetting::Separate => RtcpMode::Separate,
                RtcpSetting::Mux => RtcpMode::Mux,
            },
        }
    }

    /// Writes the settings into what a call states.
    pub(super) fn describe(&self, profile: Option<&MediaProfile>, local: &mut LocalMedia) {
        let chosen = profile.unwrap_or(&self.profile);
        local.codecs = if chosen.codecs.is_empty() { &self.profile.codecs } else { &chosen.codecs }.clone();
        local.srtp = chosen.srtp;
        local.ptime_ms = self.ptime_ms;
        local.telephone_event = self.telephone_event;
        local.comfort_noise = self.comfort_noise;
        local.rtcp = self.rtcp;
    }
}

/// How the far side of a call is reached.
#[derive(Clone, Debug)]
pub struct Reach {
    /// The address of ours that the signalling goes over.
    pub local: IpAddr,
    /// Where the signalling comes from, as far as it is known.
    pub remote: Option<IpAddr>,
    /// The trunk's own settings.
    pub profile: Option<MediaProfile>,
}

impl Reach {
    /// The same, by a trunk's settings.
    #[must_use]
    pub fn by(self, profile: MediaProfile) -> Self {
        Self { profile: Some(profile), ..self }
    }
}

impl From<IpAddr> for Reach {
    fn from(local: IpAddr) -> Self {
        Self { local, remote: None, profile: None }
    }
}

impl From<&Flow> for Reach {
    fn from(flow: &Flow) -> Self {
        Self { local: flow.local.ip(), remote: Some(flow.remote.ip().to_canonical()), profile: None }
    }
}

/// Whether a media address means nothing here although its host does: one of a private network behind a public
/// signalling address, or one of the far host alone.
pub(super) fn is_beyond(media: IpAddr, signalling: IpAddr) -> bool {
    reach(media) < reach(signalling)
}

/// How far an address reaches.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Host,
    Network,
    World,
}

fn reach(address: IpAddr) -> Scope {
    match address.to_canonical() {
        address if address.is_loopback() => Scope::Host,
        IpAddr::V4(v4) if v4.is_private() || is_shared(v4.octets()) || v4.is_link_local() => Scope::Network,
        IpAddr::V6(v6) if is_local(v6) => Scope::Network,
        IpAddr::V4(_) | IpAddr::V6(_) => Scope::World,
    }
}

/// 100.64.0.0/10, the carriers' own (RFC 6598).
const fn is_shared(octets: [u8; 4]) -> bool {
    octets[0] == 100 && octets[1] & 0xC0 == 64
}

const fn is_local(v6: Ipv6Addr) -> bool {
    v6.is_unique_local() || v6.is_unicast_link_local()
}

const fn codec(name: CodecName) -> Codec {
    match name {
        CodecName::Pcmu => Codec::Pcmu,
        CodecName::Pcma => Codec::Pcma,
        CodecName::G722 => Codec::G722,
        CodecName::Opus => Codec::Opus,
    }
}

const fn policy(mode: SrtpMode) -> SrtpPolicy {
    match mode {
        SrtpMode::Off => SrtpPolicy::Off,
        SrtpMode::Allowed => SrtpPolicy::Allowed,
        SrtpMode::Optional => SrtpPolicy::Optional,
        SrtpMode::Required => SrtpPolicy::Required,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_reaches_less_far_than_the_signalling_means_nothing() {
        let cases = [
            ("192.168.1.4", "203.0.113.5", true),
            ("100.64.0.9", "203.0.113.5", true),
            ("127.0.0.1", "192.168.1.4", true),
            ("127.0.0.1", "127.0.0.1", false),
            ("192.168.1.4", "10.0.0.1", false),
            ("203.0.113.9", "198.51.100.1", false),
            ("203.0.113.9", "10.0.0.1", false),
            ("fd00::1", "2001:db8::1", true),
            ("2001:db8::2", "2001:db8::1", false),
        ];
        for (media, signalling, wanted) in cases {
            assert_eq!(is_beyond(media.parse().unwrap(), signalling.parse().unwrap()), wanted, "{media} {signalling}");
        }
    }
}
