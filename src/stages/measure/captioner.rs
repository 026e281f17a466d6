//! The captioner: a picture to a text of a fixed length.

use burn::tensor::{Device, FloatDType, Tensor};

use super::MeasureError;
use crate::{
    device::{
        memory,
        rates::{self, Seconds},
    },
    models::{
        blip::{Blip, BlipConfig, GenerateSettings},
        random,
        tokenizer::BertTokenizer,
    },
    pipeline::StageError,
    weights::Loader,
};

/// How long it took.
#[derive(Clone, Copy, Debug)]
pub struct CaptionsTaken {
    /// To look at the pictures.
    pub looking: Seconds,
    /// To look at them and write their texts.
    pub captions: Seconds,
}

/// Captions a batch of random pictures with so many beams, each text of so many tokens behind the
/// decoder's mark: it may not end earlier, so that what the weights say does not matter.
///
/// # Errors
/// None that memory can give.
pub fn captions(
    config: &BlipConfig,
    device: &Device,
    [batch, num_beams, tokens]: [usize; 3],
    samples: usize,
) -> Result<CaptionsTaken, StageError> {
    let file = random::captioner(config, 1).map_err(MeasureError::Network)?;
    let blip = Blip::load(&Loader::new(&file, "", device, FloatDType::F32), config)?;
    drop(file);
    memory::give_back();
    let side = blip.image_size();
    let pictures: Tensor<4> = rates::normal([batch, 3, side, side], 1.0, FloatDType::F32, device);
    let settings = GenerateSettings {
        prompt: vec![BertTokenizer::DECODE],
        num_beams,
        min_length: 1 + tokens,
        max_length: 1 + tokens,
        ..GenerateSettings::default()
    };
    let looking = rates::seconds(device, samples, || drop(blip.vision(pictures.clone())));
    let captions = rates::seconds(device, samples, || {
        let ids = blip.caption(pictures.clone(), &settings);
        assert!(ids.iter().all(|ids| ids.len() == 1 + tokens), "texts of the length asked for");
    });
    Ok(CaptionsTaken { looking, captions })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;

    #[test]
    fn a_text_takes_longer_than_looking() {
        let taken = captions(&random::SMALL_CAPTIONER, &cpu(), [1, 2, 12], 3).unwrap();
        assert!(taken.captions.median > taken.looking.median, "{taken:?}");
    }
}
