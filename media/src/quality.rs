//! How a call sounds, as a number: the E-model of ITU-T G.107 in its narrow-band form.
//!
//! Deliberately absent: echo. This end is a machine and returns none, so of the delay impairments only the pure delay
//! remains; everything that is not measured has its default of G.107 table 2, which gives 93.2 on a perfect line.

/// What a call goes through in one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    pub impairment: Impairment,
    /// Packets that were not there when they were to be played: lost or late, percent.
    pub loss_percent: f64,
    /// Mean length of runs of lost packets over what chance alone would give, at least 1.
    pub burst_ratio: f64,
    /// Mouth to ear: network, jitter buffer, packet, ms.
    pub delay_ms: f64,
}

/// What a codec takes away (ITU-T G.113 appendix I).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impairment {
    /// Without any loss: `Ie`.
    pub equipment: f64,
    /// How well it stands loss: `Bpl`.
    pub robustness: f64,
}

impl Impairment {
    /// G.711 with concealment (G.113 table I.2). G.113 has no narrow-band figures for G.722 and Opus, which are
    /// carried at 8 kHz here and concealed alike: they are judged by this one.
    pub const CONCEALED: Self = Self { equipment: 0.0, robustness: 25.1 };

    /// G.711 whose receiver plays silence for what is lost (G.113 table I.2).
    pub const UNCONCEALED: Self = Self { equipment: 0.0, robustness: 4.3 };
}

/// The transmission rating factor R, 0 to 93.2 (G.107 section 7).
pub fn r_factor(conditions: &Conditions) -> f64 {
    let loss = finite(conditions.loss_percent).clamp(0.0, 100.0);
    let burst_ratio = finite(conditions.burst_ratio).max(1.0);
    let Impairment { equipment, robustness } = conditions.impairment;
    let effective = equipment + (95.0 - equipment) * loss / (loss / burst_ratio + robustness);
    (PERFECT - delay_impairment(finite(conditions.delay_ms)) - effective).clamp(0.0, PERFECT)
}

/// The mean opinion score of an R, 1.0 to 4.5 (G.107 annex B).
pub fn mos(r: f64) -> f64 {
    let r = finite(r).clamp(0.0, 100.0);
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).clamp(1.0, 4.5)
}

/// R of a call without any impairment but the defaults.
const PERFECT: f64 = 93.2;

/// `Idd`: nothing up to 100 ms (G.107 section 7.4).
fn delay_impairment(delay_ms: f64) -> f64 {
    if delay_ms <= 100.0 {
        return 0.0;
    }
    let x = (delay_ms / 100.0).log2();
    let root = |x: f64| (1.0 + x.powi(6)).powf(1.0 / 6.0);
    25.0 * (root(x) - 3.0 * root(x / 3.0) + 2.0)
}

fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn r(loss_percent: f64, burst_ratio: f64, delay_ms: f64) -> f64 {
        r_factor(&Conditions { impairment: Impairment::CONCEALED, loss_percent, burst_ratio, delay_ms })
    }

    #[test]
    fn the_scale_is_that_of_g_107_annex_b() {
        for (r, wanted) in [(90.0, 4.34), (80.0, 4.03), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58), (0.0, 1.0)] {
            assert!((mos(r) - wanted).abs() < 0.01, "R {r}: {}", mos(r));
        }
        assert!((mos(93.2) - 4.41).abs() < 0.005);
        assert!((mos(100.0) - 4.5).abs() < 1e-9);
    }

    #[test]
    fn delay_costs_what_g_107_says() {
        for (delay_ms, wanted) in [(0.0, 0.0), (100.0, 0.0), (150.0, 0.16), (200.0, 3.04), (300.0, 14.8), (400.0, 24.1)]
        {
            let cost = 93.2 - r(0.0, 1.0, delay_ms);
            assert!((cost - wanted).abs() < 0.1, "{delay_ms} ms: {cost}");
        }
    }

    #[test]
    fn loss_costs_what_g_113_says() {
        let bare = |loss_percent| {
            let impairment = Impairment::UNCONCEALED;
            r_factor(&Conditions { impairment, loss_percent, burst_ratio: 1.0, delay_ms: 0.0 })
        };
        assert!((93.2 - bare(1.0) - 17.9).abs() < 0.1);
        assert!((93.2 - bare(5.0) - 51.1).abs() < 0.1);
        assert!((93.2 - r(1.0, 1.0, 0.0) - 3.64).abs() < 0.01);
        assert!((93.2 - r(5.0, 1.0, 0.0) - 15.8).abs() < 0.05);
        assert!(r(5.0, 2.0, 0.0) < r(5.0, 1.0, 0.0), "bursts are worse than chance");
    }

    proptest! {
        #[test]
        fn always_on_the_scale_and_never_better_for_worse(loss in -1e3f64..1e3, burst in -5.0f64..50.0, delay in -1e3f64..1e6) {
            let here = r(loss, burst, delay);
            prop_assert!((0.0..=93.2).contains(&here) && (1.0..=4.5).contains(&mos(here)));
            prop_assert!(r(loss + 1.0, burst, delay) <= here);
            prop_assert!(r(loss, burst, delay + 50.0) <= here);
            for odd in [f64::NAN, f64::INFINITY] {
                prop_assert!(r(odd, odd, odd).is_finite());
            }
        }
    }
}
