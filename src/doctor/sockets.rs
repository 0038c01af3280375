//! Can this machine listen where it is told to, and for as many calls?

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use nix::sys::resource::{Resource, getrlimit};

use super::Report;
use crate::config::Config;
use crate::server::files_needed;

pub async fn check(config: &Config, report: &mut Report) {
    let listeners = [("sip.listen", Some(config.sip.listen)), ("sip.tls.listen", config.sip.tls.listen)];
    for (key, address) in listeners {
        if let Some(address) = address {
            listener(key, address, key == "sip.listen", report);
        }
    }
    listener("http.listen", config.http.listen, false, report);
    rtp(config, report);
    files(config, report);
}

fn listener(key: &str, address: SocketAddr, with_udp: bool, report: &mut Report) {
    let tried = TcpListener::bind(address).map(drop);
    let tried = if with_udp { tried.and_then(|()| UdpSocket::bind(address).map(drop)) } else { tried };
    match tried {
        Ok(()) => report.good(key, format!("{address} is free, no server runs there now")),
        // Most often by the server that this is about; the loop call tells.
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            report.good(key, format!("{address} is taken: a server runs there"));
        }
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
            report.problem(key, format!("{address} is no address of this machine"));
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            report.problem(key, format!("this user may not listen on {address}"));
        }
        Err(error) => report.problem(key, format!("cannot listen on {address}: {error}")),
    }
}

/// A sample of the range: a server that runs holds some of them.
fn rtp(config: &Config, report: &mut Report) {
    let (range, calls) = (config.rtp.ports, config.limits.max_calls);
    if range.pairs() < calls {
        let few = format!("{range} carries {} calls, limits.max_calls is {calls}", range.pairs());
        report.warning("rtp.ports", few);
    }
    let step = (range.pairs() / SAMPLE).max(1);
    let ports: Vec<u16> = range.even_ports().step_by(step).collect();
    let address = config.rtp_address();
    let taken = ports.iter().filter(|port| UdpSocket::bind(SocketAddr::new(address, **port)).is_err()).count();
    match taken {
        0 => report.good("rtp.ports", format!("all of {} ports tried on {address} are free", ports.len())),
        all if all == ports.len() => {
            report.problem("rtp.ports", format!("none of {all} ports tried on {address} can be had"));
        }
        some => {
            report.warning("rtp.ports", format!("{some} of {} ports tried on {address} are taken", ports.len()));
        }
    }
}

fn files(config: &Config, report: &mut Report) {
    let needed = files_needed(config.limits.max_calls);
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, allowed)) if allowed >= needed => {
            report.good("open files", format!("{allowed} are allowed, {needed} needed for limits.max_calls"));
        }
        Ok((_, allowed)) => report.problem(
            "open files",
            format!("{allowed} are allowed, {needed} needed for limits.max_calls: raise RLIMIT_NOFILE"),
        ),
        Err(error) => report.warning("open files", format!("the limit is not known: {error}")),
    }
}

/// RTP ports that are tried.
const SAMPLE: usize = 32;
