//! The Silero speech network at 8 kHz, computed by our own code: no runtime for networks is linked.
//!
//! Its weights are compiled in (`media/weights/`, MIT licence) and checked once. A [`State`] is what one call's audio has
//! left behind; the weights are shared by all. Deciding when someone speaks is deliberately absent: see `speech.rs` and
//! `barge.rs`. So is the 16 kHz branch of the network.

use std::sync::OnceLock;

use fearless_simd::{Level, dispatch};

mod kernel;
mod weights;

pub use weights::WeightsError;

use kernel::Shape;

/// Samples of one window: 32 ms.
pub const WINDOW: usize = 256;
/// Samples of the window before that a window is looked at with.
pub const CONTEXT: usize = 32;

/// The weights, laid out for vectors. They never change.
pub struct Network {
    shape: Shape,
    level: Level,
}

impl Network {
    /// The network with the weights that are compiled in, laid out and checked at the first call.
    ///
    /// The first call takes some milliseconds and allocates 0.8 MB: make it before there is audio.
    ///
    /// # Errors
    /// The weights are not what they were when this was written: see [`WeightsError`].
    pub fn shared() -> Result<&'static Self, WeightsError> {
        static SHARED: OnceLock<Result<Network, WeightsError>> = OnceLock::new();
        SHARED.get_or_init(|| Self::new(weights::COMPILED_IN)).as_ref().map_err(|error| *error)
    }

    /// A network with these weights: little-endian `f32`, in the order of `media/weights/README.md`.
    ///
    /// # Errors
    /// Length or SHA-256 are not those of the weights that the code was measured with.
    pub fn new(octets: &[u8]) -> Result<Self, WeightsError> {
        Ok(Self { shape: Shape::new(weights::read(octets)?), level: Level::new() })
    }

    /// The same network, held to the instructions that every processor of this kind has.
    ///
    /// For measuring what the others are worth; results differ in the last bits.
    pub fn baseline(octets: &[u8]) -> Result<Self, WeightsError> {
        Ok(Self { level: Level::baseline(), ..Self::new(octets)? })
    }

    /// The weights that are compiled in, octet for octet.
    pub fn compiled_in() -> &'static [u8] {
        weights::COMPILED_IN
    }
}

impl core::fmt::Debug for Network {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.debug_struct("Network").field("level", &self.level).finish_non_exhaustive()
    }
}

/// What the network remembers of one stream of audio: 1.2 KB.
#[derive(Clone, Debug)]
pub struct State {
    network: &'static Network,
    context: [f32; CONTEXT],
    memory: Memory,
}

/// Output and cells of the recurrent layer.
#[derive(Clone, Debug)]
struct Memory {
    output: [f32; UNITS],
    cells: [f32; UNITS],
}

impl State {
    /// A state that has heard nothing.
    pub fn new(network: &'static Network) -> Self {
        Self { network, context: [0.0; CONTEXT], memory: Memory::NEW }
    }

    /// Takes the next 32 ms, full scale being 1, and returns the probability of speech in them, 0 to 1.
    ///
    /// A sample that is not a finite number counts as 0.
    pub fn probability(&mut self, window: &[f32; WINDOW]) -> f32 {
        let mut wave = [0.0; CONTEXT + WINDOW];
        let (before, now) = wave.split_at_mut(CONTEXT);
        before.copy_from_slice(&self.context);
        for (place, &sample) in now.iter_mut().zip(window) {
            *place = if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
        }
        self.context.copy_from_slice(&wave[WINDOW..]);
        let (shape, memory) = (&self.network.shape, &mut self.memory);
        dispatch!(self.network.level, simd => shape.run(simd, &wave, memory))
    }

    /// What the probability of a window would be that follows upon these samples. Nothing is remembered of it.
    pub fn probe(&self, context: &[f32; CONTEXT], window: &[f32; WINDOW]) -> f32 {
        Self { context: *context, ..self.clone() }.probability(window)
    }

    /// Forgets all audio.
    pub fn reset(&mut self) {
        *self = Self::new(self.network);
    }

    /// Forgets all audio; what comes next follows upon these samples, full scale being 1.
    pub fn reset_after(&mut self, context: &[f32; CONTEXT]) {
        self.reset();
        self.context = context.map(|sample| if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 });
    }
}

impl Memory {
    const NEW: Self = Self { output: [0.0; UNITS], cells: [0.0; UNITS] };
}

const UNITS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_are_not_ours_are_refused_by_name() {
        let ours = Network::compiled_in();
        let cut = Network::new(&ours[..ours.len() - 4]).unwrap_err();
        assert_eq!(cut, WeightsError::Length { expected: ours.len(), found: ours.len() - 4 });
        let mut changed = ours.to_vec();
        changed[1000] ^= 1;
        let error = Network::new(&changed).unwrap_err();
        assert!(matches!(error, WeightsError::Digest { .. }));
        assert!(error.to_string().contains("SHA-256"), "{error}");
    }

    #[test]
    fn what_is_no_number_is_silence() {
        let network = Network::shared().unwrap();
        let (mut odd, mut silent) = (State::new(network), State::new(network));
        let wild = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0];
        for _ in 0..5 {
            let window = core::array::from_fn(|n| wild[n % 4]);
            let probability = odd.probability(&window);
            assert_eq!(probability, silent.probability(&[0.0; WINDOW]));
            assert!((0.0..0.1).contains(&probability), "{probability}");
        }
        let loud = odd.probability(&core::array::from_fn(|n| if n % 2 == 0 { f32::MAX } else { f32::MIN }));
        assert!((0.0..=1.0).contains(&loud));
    }

    #[test]
    fn a_state_begins_anew_with_the_context_it_is_given() {
        let network = Network::shared().unwrap();
        let wave: Vec<f32> = (0..WINDOW * 2).map(|n| (n as f32 * 0.2).sin() * (n as f32 * 0.01).cos() * 0.3).collect();
        let (windows, _) = wave.as_chunks::<WINDOW>();
        let mut fresh = State::new(network);
        let expected = fresh.probability(&windows[0]);
        let mut used = State::new(network);
        used.probability(&windows[1]);
        used.reset();
        assert_eq!(used.probability(&windows[0]), expected);
        let (contexts, _) = windows[0].as_chunks::<CONTEXT>();
        used.reset_after(&contexts[7]);
        let mut by_hand = State { context: contexts[7], ..State::new(network) };
        assert_eq!(used.probability(&windows[1]), by_hand.probability(&windows[1]));
    }

    #[test]
    fn every_processor_says_nearly_the_same() {
        let plain: &'static Network = Box::leak(Box::new(Network::baseline(Network::compiled_in()).unwrap()));
        let (mut plain, mut best) = (State::new(plain), State::new(Network::shared().unwrap()));
        for start in 0..50 {
            let window = core::array::from_fn(|n| ((start * WINDOW + n) as f32 * 0.11).sin() * 0.2);
            assert!((plain.probability(&window) - best.probability(&window)).abs() < 2e-5);
        }
    }
}
