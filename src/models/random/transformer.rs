//! FLUX.1-dev: the published names, one head of 128, one double and two single blocks.

use super::{Fill, Tensors, texts};

const WIDTH: usize = 128;
const MLP: usize = 2 * WIDTH;
/// Features of a picture token: 16 channels of 2 × 2.
const TOKEN: usize = 64;
/// Width of the sinusoids that tell time and guidance.
const SINUSOID: usize = 256;

pub fn tensors() -> Tensors {
    let mut tensors = Tensors::default();
    tensors.layer("img_in", &[WIDTH, TOKEN]);
    tensors.layer("txt_in", &[WIDTH, texts::WIDTH]);
    for (place, from) in
        [("time_in", SINUSOID), ("vector_in", texts::WIDTH), ("guidance_in", SINUSOID)]
    {
        tensors.layer(&format!("{place}.in_layer"), &[WIDTH, from]);
        tensors.layer(&format!("{place}.out_layer"), &[WIDTH, WIDTH]);
    }
    for stream in ["img", "txt"] {
        let block = format!("double_blocks.0.{stream}");
        tensors.layer(&format!("{block}_mod.lin"), &[6 * WIDTH, WIDTH]);
        tensors.layer(&format!("{block}_attn.qkv"), &[3 * WIDTH, WIDTH]);
        scales(&mut tensors, &format!("{block}_attn.norm"));
        tensors.layer(&format!("{block}_attn.proj"), &[WIDTH, WIDTH]);
        tensors.layer(&format!("{block}_mlp.0"), &[MLP, WIDTH]);
        tensors.layer(&format!("{block}_mlp.2"), &[WIDTH, MLP]);
    }
    for block in 0..2 {
        let block = format!("single_blocks.{block}");
        tensors.layer(&format!("{block}.linear1"), &[3 * WIDTH + MLP, WIDTH]);
        tensors.layer(&format!("{block}.linear2"), &[WIDTH, WIDTH + MLP]);
        scales(&mut tensors, &format!("{block}.norm"));
        tensors.layer(&format!("{block}.modulation.lin"), &[3 * WIDTH, WIDTH]);
    }
    tensors.layer("final_layer.linear", &[TOKEN, WIDTH]);
    tensors.layer("final_layer.adaLN_modulation.1", &[2 * WIDTH, WIDTH]);
    tensors
}

fn scales(tensors: &mut Tensors, norm: &str) {
    for scale in ["query_norm", "key_norm"] {
        tensors.add(format!("{norm}.{scale}.scale"), &[WIDTH], Fill::Ones);
    }
}
