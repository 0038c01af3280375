//! Will the address that we tell a trunk work from where the trunk is?

use std::net::IpAddr;

use super::Report;
use super::trunks::Reached;
use crate::config::Config;
use crate::config::sip::Network;
use crate::transport::sip::faces::leaves_from;

pub fn check(config: &Config, reached: &[Reached], report: &mut Report) {
    let external = config.sip.external_address;
    if let Some(address) = external.filter(|address| is_private(*address)) {
        report.problem("sip.external_address", format!("{address} is private: nobody outside can send to it"));
    }
    for Reached { trunk, targets } in reached {
        let Some(target) = targets.first() else { continue };
        let about = format!("trunk {}", trunk.name);
        let far = target.address.ip().to_canonical();
        let is_local = config.sip.local_networks.iter().any(|network| network.contains(far));
        let own = leaves_from(config.sip.listen.ip(), target.address).unwrap_or(config.sip.listen.ip());
        let told = external.filter(|_| !is_local).unwrap_or(own);
        if is_private(told) && !is_private(far) {
            report.problem(
                about,
                format!("session descriptions tell it {told}, which it cannot reach: set sip.external_address to the public one"),
            );
        } else if own.is_loopback() && !far.is_loopback() {
            report.problem(about, format!("sip.listen is {own}: packets from outside cannot come in"));
        } else {
            report.good(about, format!("session descriptions tell it {told}; our packets leave from {own}"));
        }
    }
}

fn is_private(address: IpAddr) -> bool {
    Network::private().iter().any(|network| network.contains(address))
}
