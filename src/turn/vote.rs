//! A place for a model that hears from the voice whether a turn is over: pitch, length of the last syllable, breath.
//!
//! Without one the rules of `end.rs` stand alone. Deliberately absent: a model. The public ones tell little of telephone
//! speech and nothing of digits, so their word is one among several.

/// Hears a caller and says how likely their turn is over. A model that takes longer than a few microseconds works on a
/// thread of its own behind this.
pub trait TurnVote: Send {
    /// 20 ms of the caller at 8 kHz, as they arrived. On the 20 ms path: nothing may be allocated or waited for.
    fn hear(&mut self, frame: &[i16; 160]);
    /// The caller has fallen silent: a vote on what they said is wanted.
    fn fell_silent(&mut self);
    /// From 0.0 (they go on) to 1.0 (their turn is over); none while there is no opinion.
    fn vote(&self) -> Option<f32>;
}
