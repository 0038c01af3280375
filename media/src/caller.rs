//! How loud the caller speaks, in windows of speech that are surely theirs.
//!
//! Where words are loud, not the mean of words and what lies between them: it rises within a few windows and falls over tens of
//! seconds, so that a bystander who is let in by mistake hardly changes it. Who is the caller is decided elsewhere (`barge.rs`).

/// A level that follows the loud windows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CallerLevel {
    dbfs: f32,
    windows: u32,
}

impl CallerLevel {
    /// Takes the loudest 10 ms of a window of speech.
    pub(crate) fn hear(&mut self, dbfs: f32) {
        if self.windows == 0 {
            self.dbfs = dbfs;
        }
        self.windows = self.windows.saturating_add(1);
        let falls = if self.windows < LEAST { FALLS_AT_FIRST } else { FALLS };
        self.dbfs += if dbfs > self.dbfs { RISES } else { falls } * (dbfs - self.dbfs);
    }

    /// The level in dBFS, if enough was heard.
    pub(crate) fn dbfs(self) -> Option<f32> {
        (self.windows >= LEAST).then_some(self.dbfs)
    }
}

/// A third of a second.
const LEAST: u32 = 10;
const RISES: f32 = 0.2;
const FALLS_AT_FIRST: f32 = 0.05;
/// 10 s of speech.
const FALLS: f32 = 0.003;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_to_a_louder_voice_and_stands_by_it() {
        let mut level = CallerLevel::default();
        for _ in 0..9 {
            level.hear(-46.0);
        }
        assert_eq!(level.dbfs(), None);
        for _ in 0..30 {
            level.hear(-26.0);
        }
        assert!(level.dbfs().is_some_and(|dbfs| dbfs > -27.0), "{level:?}");
        // Two seconds of somebody who is just loud enough to be let in.
        for _ in 0..60 {
            level.hear(-36.0);
        }
        assert!(level.dbfs().is_some_and(|dbfs| (-29.0..-26.0).contains(&dbfs)), "{level:?}");
    }
}
