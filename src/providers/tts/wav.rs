//! The head of a WAV stream (RIFF WAVE, as written to a pipe: its lengths may be wrong and are not believed).

use offhook_media::resample::Rate;

/// What the head says, once enough of it has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub rate: Rate,
    /// Offset of the first byte of audio.
    pub audio_at: usize,
}

/// Reads the head of 16-bit mono PCM; `None` until `bytes` holds all of it.
///
/// # Errors
/// Names the field and its offset.
pub(super) fn head(bytes: &[u8]) -> Result<Option<Head>, String> {
    let (Some(riff), Some(wave)) = (tag(bytes, 0), tag(bytes, 8)) else {
        return Ok(None);
    };
    if &riff != b"RIFF" || &wave != b"WAVE" {
        return Err("no RIFF WAVE head at offset 0".to_owned());
    }
    let mut at = 12;
    let mut rate = None;
    while let (Some(id), Some(length)) = (tag(bytes, at), u32_at(bytes, at + 4)) {
        match &id {
            b"fmt " => {
                let Some(found) = format(bytes, at + 8)? else { return Ok(None) };
                rate = Some(found);
            }
            b"data" => {
                let rate = rate.ok_or_else(|| format!("`data` at offset {at} before `fmt `"))?;
                return Ok(Some(Head { rate, audio_at: at + 8 }));
            }
            _ => {}
        }
        let length = usize::try_from(length).map_err(|_| format!("chunk length {length} at offset {}", at + 4))?;
        at = at.saturating_add(8).saturating_add(length).saturating_add(length % 2);
        if at > LONGEST_HEAD {
            return Err(format!("no `data` chunk in the first {LONGEST_HEAD} bytes"));
        }
    }
    Ok(None)
}

fn format(bytes: &[u8], at: usize) -> Result<Option<Rate>, String> {
    let (Some(coding), Some(channels), Some(hz), Some(bits)) =
        (u16_at(bytes, at), u16_at(bytes, at + 2), u32_at(bytes, at + 4), u16_at(bytes, at + 14))
    else {
        return Ok(None);
    };
    if (coding, channels, bits) != (1, 1, 16) {
        return Err(format!(
            "`fmt ` at offset {at}: coding {coding}, {channels} channels, {bits} bits; expected 1, 1, 16"
        ));
    }
    Rate::from_hz(hz).map(Some).map_err(|e| format!("`fmt ` at offset {}: {e}", at + 4))
}

fn tag(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    tag(bytes, at).map(u32::from_le_bytes)
}

/// Heads are 44 bytes in practice; a longer one is not audio.
pub(super) const LONGEST_HEAD: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(channels: u16, hz: u32) -> Vec<u8> {
        let mut bytes = b"RIFF\x24\xf0\xff\x7fWAVELIST\x02\0\0\0ab".to_vec();
        bytes.extend(b"fmt \x10\0\0\0\x01\0");
        bytes.extend(channels.to_le_bytes());
        bytes.extend(hz.to_le_bytes());
        bytes.extend((hz * 2).to_le_bytes());
        bytes.extend([2, 0, 16, 0]);
        bytes.extend(b"data\0\xf0\xff\x7f");
        bytes
    }

    #[test]
    fn a_piped_head_is_read_as_it_arrives() {
        let bytes = sample(1, 22_050);
        for end in 0..bytes.len() {
            assert_eq!(head(&bytes[..end]), Ok(None), "{end} bytes");
        }
        assert_eq!(head(&bytes), Ok(Some(Head { rate: Rate::Hz22050, audio_at: bytes.len() })));
    }

    #[test]
    fn other_audio_is_refused_with_its_place() {
        assert!(head(&sample(2, 22_050)).unwrap_err().contains("2 channels"));
        assert!(head(&sample(1, 12_345)).unwrap_err().contains("12345 Hz"));
        assert!(head(b"ID3\x04............").unwrap_err().contains("offset 0"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..60) {
            let _ = head(&bytes);
            let mut mixed = sample(1, 16_000);
            mixed.truncate(cut);
            mixed.extend(bytes);
            let _ = head(&mixed);
        }
    }
}
