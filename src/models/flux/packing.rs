//! Latents as tokens: each 2×2 patch of 16 channels is one token of 64 features.

use burn::tensor::Tensor;

/// `[B, C, h, w]` → `[B, (h/2)(w/2), 4C]`, features in the order channel, row, column; `h` and `w`
/// must be even.
#[must_use]
pub fn pack(latents: Tensor<4>) -> Tensor<3> {
    let [batch, channels, h, w] = latents.dims();
    latents.reshape([batch, channels, h / 2, 2, w / 2, 2]).permute([0, 2, 4, 1, 3, 5]).reshape([
        batch,
        (h / 2) * (w / 2),
        channels * 4,
    ])
}

/// The inverse of [`pack`], for a latent of `h` × `w`.
#[must_use]
pub fn unpack(tokens: Tensor<3>, h: usize, w: usize) -> Tensor<4> {
    let [batch, _, features] = tokens.dims();
    tokens.reshape([batch, h / 2, w / 2, features / 4, 2, 2]).permute([0, 3, 1, 4, 2, 5]).reshape([
        batch,
        features / 4,
        h,
        w,
    ])
}

/// The places of `text` text tokens (all zero) and then of the tokens of a latent of `h` × `w`:
/// `(0, row, column)`.
#[must_use]
pub fn position_ids(text: usize, h: usize, w: usize) -> Vec<[f32; 3]> {
    let mut ids = vec![[0.0; 3]; text];
    for row in 0..h / 2 {
        ids.extend((0..w / 2).map(|column| [0.0, row as f32, column as f32]));
    }
    ids
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    #[test]
    fn a_patch_is_a_token_and_unpacking_undoes_it() {
        let data = TensorData::new((0..32).map(|x| x as f32).collect::<Vec<_>>(), [1, 2, 4, 4]);
        let latent = Tensor::<4>::from_data(data, &Device::flex());
        let tokens = pack(latent.clone());
        let rows = tokens.clone().try_into_vec_as::<f32>().unwrap();
        assert_eq!(rows[..8], [0.0, 1.0, 4.0, 5.0, 16.0, 17.0, 20.0, 21.0]);
        assert_eq!(rows[24..], [10.0, 11.0, 14.0, 15.0, 26.0, 27.0, 30.0, 31.0]);
        let back = unpack(tokens, 4, 4).try_into_vec_as::<f32>().unwrap();
        assert_eq!(back, latent.try_into_vec_as::<f32>().unwrap());
    }
}
