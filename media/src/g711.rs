//! G.711 companding (ITU-T G.711, payload types 0 and 8), by tables built at compile time.
//!
//! A table lookup costs less than the segment search, and 24 KB serve every call.

/// The two companding laws of G.711.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum G711 {
    /// mu-law, RTP payload type 0 (PCMU).
    Ulaw,
    /// A-law, RTP payload type 8 (PCMA).
    Alaw,
}

impl G711 {
    /// The static RTP payload type (RFC 3551 section 6).
    pub const fn payload_type(self) -> u8 {
        match self {
            Self::Ulaw => 0,
            Self::Alaw => 8,
        }
    }

    /// The octet that decodes to the quietest level.
    pub const fn silence(self) -> u8 {
        match self {
            Self::Ulaw => 0xFF,
            Self::Alaw => 0xD5,
        }
    }

    /// Encodes as many samples as both slices hold.
    pub fn encode(self, pcm: &[i16], octets: &mut [u8]) {
        match self {
            Self::Ulaw => {
                for (octet, &sample) in octets.iter_mut().zip(pcm) {
                    *octet = ULAW_FROM_14_BITS[usize::from(sample.cast_unsigned() >> 2)];
                }
            }
            Self::Alaw => {
                for (octet, &sample) in octets.iter_mut().zip(pcm) {
                    *octet = ALAW_FROM_13_BITS[usize::from(sample.cast_unsigned() >> 3)];
                }
            }
        }
    }

    /// Decodes as many octets as both slices hold.
    pub fn decode(self, octets: &[u8], pcm: &mut [i16]) {
        let table = match self {
            Self::Ulaw => &ULAW_TO_LINEAR,
            Self::Alaw => &ALAW_TO_LINEAR,
        };
        for (sample, &octet) in pcm.iter_mut().zip(octets) {
            *sample = table[usize::from(octet)];
        }
    }
}

static ULAW_TO_LINEAR: [i16; 256] = ulaw_to_linear();
static ALAW_TO_LINEAR: [i16; 256] = alaw_to_linear();
static ULAW_FROM_14_BITS: [u8; 1 << 14] = ulaw_from_14_bits();
static ALAW_FROM_13_BITS: [u8; 1 << 13] = alaw_from_13_bits();

/// The bias that makes every mu-law segment begin at a power of two, in 14-bit units.
const ULAW_BIAS: i32 = 33;

const fn ulaw_to_linear() -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        let bits = !(code as i32) & 0xFF;
        let (exponent, mantissa) = ((bits >> 4) & 7, bits & 15);
        let magnitude = (((2 * mantissa + ULAW_BIAS) << exponent) - ULAW_BIAS) * 4;
        table[code] = if bits & 0x80 != 0 { -magnitude as i16 } else { magnitude as i16 };
        code += 1;
    }
    table
}

const fn alaw_to_linear() -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        let bits = (code as i32) ^ 0x55;
        let (exponent, mantissa) = ((bits >> 4) & 7, bits & 15);
        let magnitude = match exponent {
            0 => (2 * mantissa + 1) * 8,
            _ => ((2 * mantissa + 33) << (exponent - 1)) * 8,
        };
        table[code] = if bits & 0x80 != 0 { magnitude as i16 } else { -magnitude as i16 };
        code += 1;
    }
    table
}

const fn ulaw_from_14_bits() -> [u8; 1 << 14] {
    let mut table = [0; 1 << 14];
    let mut index = 0;
    while index < 1 << 14 {
        // The index is a 14-bit two's complement number; negative ones mirror around -1/2.
        let negative = index >= 1 << 13;
        let magnitude = if negative { (1 << 14) - 1 - index as i32 } else { index as i32 };
        let biased = if magnitude + ULAW_BIAS > 0x1FFF { 0x1FFF } else { magnitude + ULAW_BIAS };
        let exponent = 31 - biased.leading_zeros() as i32 - 5;
        let mantissa = (biased >> (exponent + 1)) & 15;
        let sign = if negative { 0x80 } else { 0 };
        table[index] = !(sign | exponent << 4 | mantissa) as u8;
        index += 1;
    }
    table
}

const fn alaw_from_13_bits() -> [u8; 1 << 13] {
    let mut table = [0; 1 << 13];
    let mut index = 0;
    while index < 1 << 13 {
        let negative = index >= 1 << 12;
        let magnitude = if negative { (1 << 13) - 1 - index as i32 } else { index as i32 };
        let (exponent, mantissa) = if magnitude < 32 {
            (0, magnitude >> 1)
        } else {
            let exponent = 31 - magnitude.leading_zeros() as i32 - 4;
            (exponent, (magnitude >> exponent) & 15)
        };
        let sign = if negative { 0 } else { 0x80 };
        table[index] = ((sign | exponent << 4 | mantissa) ^ 0x55) as u8;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// G.711 table 2a/2b decoder output for mu-law, worked by the formula in floating point.
    fn ulaw_formula(code: u8) -> f64 {
        let bits = !code;
        let (segment, step) = (i32::from(bits >> 4 & 7), f64::from(bits & 15));
        let magnitude = 4.0 * ((step + 16.5) * 2f64.powi(segment + 1) - 33.0);
        if bits & 0x80 != 0 { -magnitude } else { magnitude }
    }

    /// G.711 table 1a/1b decoder output for A-law.
    fn alaw_formula(code: u8) -> f64 {
        let bits = code ^ 0x55;
        let (segment, step) = (i32::from(bits >> 4 & 7), f64::from(bits & 15));
        let magnitude = match segment {
            0 => 16.0 * (step + 0.5),
            _ => 8.0 * (step + 16.5) * 2f64.powi(segment),
        };
        if bits & 0x80 != 0 { magnitude } else { -magnitude }
    }

    fn decoded(law: G711, code: u8) -> i32 {
        let mut pcm = [0];
        law.decode(&[code], &mut pcm);
        i32::from(pcm[0])
    }

    #[test]
    fn decoding_follows_the_formula_of_g711() {
        for code in 0..=255 {
            assert_eq!(f64::from(decoded(G711::Ulaw, code)), ulaw_formula(code), "mu-law {code:#x}");
            assert_eq!(f64::from(decoded(G711::Alaw, code)), alaw_formula(code), "A-law {code:#x}");
        }
    }

    #[test]
    fn every_sample_lies_in_the_interval_of_its_code() {
        for sample in i16::MIN..=i16::MAX {
            // Beyond 8158 of 14 bits mu-law clips.
            let wide = i32::from(sample).clamp(-32_632, 32_632);
            let mut octet = [0];
            G711::Ulaw.encode(&[sample], &mut octet);
            let half_step = 4 << (!octet[0] >> 4 & 7);
            let error = (decoded(G711::Ulaw, octet[0]) - wide).abs();
            // The code sees 14 bits: up to 3 are cut off.
            assert!(error <= half_step + 3, "mu-law {sample}: error {error}, half step {half_step}");

            G711::Alaw.encode(&[sample], &mut octet);
            let half_step = 8 << ((octet[0] ^ 0x55) >> 4 & 7).saturating_sub(1);
            let error = (decoded(G711::Alaw, octet[0]) - i32::from(sample)).abs();
            assert!(error <= half_step, "A-law {sample}: error {error}, half step {half_step}");
        }
    }

    #[test]
    fn every_code_survives_a_round_trip() {
        for law in [G711::Ulaw, G711::Alaw] {
            for code in 0..=255u8 {
                let mut octet = [0];
                law.encode(&[decoded(law, code) as i16], &mut octet);
                // mu-law has two zeros; the negative one comes back as the positive one.
                let expected = if law == G711::Ulaw && code == 0x7F { 0xFF } else { code };
                assert_eq!(octet[0], expected, "{law:?}");
            }
        }
    }

    #[test]
    fn silence_is_the_code_of_zero() {
        for law in [G711::Ulaw, G711::Alaw] {
            let mut octet = [0];
            law.encode(&[0], &mut octet);
            assert_eq!(octet[0], law.silence());
        }
    }
}
