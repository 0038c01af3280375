//! Comfort noise payloads (RFC 3389): how loud the far side's silence is.
//!
//! The level is used, the spectrum is not: noise of a gentle low-pass stands for any room.

/// A level of noise, dBov (0 to -127), as the first octet of the payload says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(u8);

impl Level {
    /// Reads a payload; the most significant bit is reserved and ignored.
    ///
    /// # Errors
    /// [`Empty`] if there is no octet.
    pub fn parse(payload: &[u8]) -> Result<Self, Empty> {
        payload.first().map(|octet| Self(octet & 0x7F)).ok_or(Empty)
    }

    /// The level to play it at: no louder than a noisy street, whatever the payload says.
    pub fn dbfs(self) -> f32 {
        -f32::from(self.0.max(LOUDEST))
    }
}

/// A comfort noise payload of no octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("comfort noise needs 1 octet, none found")]
pub struct Empty;

/// A background louder than -30 dBov is an error or an attack.
const LOUDEST: u8 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_octet_is_the_level_and_the_rest_is_passed_over() {
        assert_eq!(Level::parse(&[70, 1, 2, 3]).unwrap().dbfs(), -70.0);
        assert_eq!(Level::parse(&[0x80 | 55]).unwrap().dbfs(), -55.0);
        assert_eq!(Level::parse(&[0]).unwrap().dbfs(), -30.0);
        assert_eq!(Level::parse(&[]).unwrap_err().to_string(), "comfort noise needs 1 octet, none found");
    }
}
