//! How a trunk is told whom to call and who calls: prefixes, hosts, caller id.

use offhook_sip::Transport;
use offhook_sip::message::{ExtraHeader, UriBuf};

use crate::config::sip::{CallerIdMode, PrefixConfig, TrunkConfig};
use crate::transport::sip::routes::Wanted;

pub struct Uris {
    pub target: UriBuf,
    pub from: UriBuf,
    pub asserted: Option<ExtraHeader>,
}

/// The addresses of a call through this trunk; none where the number cannot stand in one.
pub fn uris(config: &TrunkConfig, wanted: Wanted<'_>, transport: Transport) -> Option<Uris> {
    let user = prefixed(&config.prefix, wanted.to);
    if !is_dialable(wanted.to) || !is_dialable(&user) {
        return None;
    }
    let host = config.domain.clone().unwrap_or_else(|| config.address.host.to_string());
    let port = match config.address.port.filter(|_| config.domain.is_none()) {
        Some(port) => format!(":{port}"),
        None => String::new(),
    };
    let way = match transport {
        Transport::Udp => "",
        Transport::Tcp => ";transport=tcp",
        Transport::Tls => ";transport=tls",
    };
    let target = UriBuf::parse(format!("sip:{user}@{host}{port}{way}")).ok()?;
    let shown = caller(config, wanted);
    let from = UriBuf::parse(format!("sip:{}@{host}", shown.as_deref().unwrap_or("anonymous"))).ok()?;
    let asserted = shown.filter(|_| config.caller_id.asserted_identity);
    let asserted = match asserted {
        Some(number) => Some(ExtraHeader::new("P-Asserted-Identity", format!("<sip:{number}@{host}>")).ok()?),
        None => None,
    };
    Some(Uris { target, from, asserted })
}

fn caller(config: &TrunkConfig, wanted: Wanted<'_>) -> Option<String> {
    let passed = wanted.caller_id.filter(|number| config.caller_id.mode == CallerIdMode::Pass && is_dialable(number));
    let own = config.caller_id.number.as_deref().or(config.username.as_deref());
    passed.or(own).map(str::to_owned)
}

fn prefixed(prefix: &PrefixConfig, number: &str) -> String {
    format!("{}{}", prefix.add, number.strip_prefix(prefix.strip.as_str()).unwrap_or(number))
}

/// What may stand in the user part without escapes; nothing that could end it or add a parameter.
fn is_dialable(number: &str) -> bool {
    let lawful = |b: u8| b.is_ascii_alphanumeric() || b"+*-_.!~'()".contains(&b);
    (1..=64).contains(&number.len()) && number.bytes().all(lawful)
}
