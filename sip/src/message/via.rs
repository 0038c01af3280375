//! Via values (RFC 3261 section 20.42) with `rport` and `received` (RFC 3581).

use super::error::{ParseError, Problem};
use super::params::Params;
use super::scan::Scan;
use super::uri::Host;

/// One hop of the way a request came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Via<'a> {
    transport: &'a str,
    host: Host<'a>,
    port: Option<u16>,
    params: Params<'a>,
    params_at: usize,
    end: usize,
}

impl<'a> Via<'a> {
    pub(crate) fn scan(scan: &mut Scan<'a>) -> Result<Self, ParseError> {
        scan.skip_lws();
        let start = scan.fail(Problem::BadValue);
        if scan.rest().starts_with(b"SIP/2.0/") {
            scan.advance(8);
        } else if !protocol(scan)? {
            return Err(start);
        }
        let transport = scan.token()?;
        scan.skip_lws();
        let host = scan.host()?;
        let port = scan.port()?;
        let params_at = scan.offset();
        let params = Params::scan(scan)?;
        Ok(Self { transport, host, port, params, params_at, end: scan.offset() })
    }

    /// The transport as written: `UDP`, `TCP`, `TLS`, or any other token.
    pub fn transport(&self) -> &'a str {
        self.transport
    }

    /// Host of `sent-by`.
    pub fn host(&self) -> Host<'a> {
        self.host
    }

    /// Port of `sent-by`; `None` stands for the transport's own (5060).
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    pub fn params(&self) -> &Params<'a> {
        &self.params
    }

    /// The transaction's branch, if one is given.
    pub fn branch(&self) -> Option<&'a str> {
        self.params.value("branch")
    }

    /// True where the branch was made by RFC 3261 rules and so identifies the transaction alone.
    pub fn has_magic_branch(&self) -> bool {
        self.branch().is_some_and(|branch| branch.len() > MAGIC.len() && branch.starts_with(MAGIC))
    }

    /// Offset in the message of the first parameter.
    pub(crate) fn params_at(&self) -> usize {
        self.params_at
    }

    /// Offset in the message of the byte behind this value.
    pub(crate) fn end(&self) -> usize {
        self.end
    }
}

/// The protocol in any lawful spelling: white space and letters of either case.
fn protocol(scan: &mut Scan<'_>) -> Result<bool, ParseError> {
    let named = scan.token()?.eq_ignore_ascii_case("SIP") && scan.eat(b'/');
    Ok(named && scan.token()? == "2.0" && scan.eat(b'/'))
}

/// What every RFC 3261 branch begins with (section 8.1.1.7).
pub(crate) const MAGIC: &str = "z9hG4bK";
