//! Safetensors: the header, the network that it is taken for, and the tensors.

use std::path::Path;

use fluxpipe::{
    models::identity,
    weights::{Checkpoint, WeightsError},
};
use serde_json::{Value, json};

use super::json;
use crate::{
    case::{Outcome, Reader},
    made::safetensors::{file, parts},
    random::Random,
};

pub const SAFETENSORS: Reader = Reader {
    name: "safetensors",
    seeds,
    words: &[
        b"\"dtype\":\"",
        b"F32",
        b"F16",
        b"BF16",
        b"F8_E4M3",
        b"F4",
        b"I64",
        b"BOOL",
        b"\"shape\":[",
        b"\"data_offsets\":[",
        b"__metadata__",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"\\u0000",
        b"\\ud800",
        b"18446744073709551615",
        b"-1",
        b"1e400",
        b"0",
        b"4",
        b"null",
        b".weight",
        b".scale_weight",
        b"double_blocks.0.",
        b"[[[[[[[[[[[[[[[[",
    ],
    shape,
    read,
};

fn seeds() -> Vec<Vec<u8>> {
    let tensor = |dtype: &str, shape: &[usize], from: usize, to: usize| json!({"dtype": dtype, "shape": shape, "data_offsets": [from, to]});
    let plain = json!({
        "__metadata__": {"format": "pt"},
        "a.weight": tensor("F32", &[2, 3], 0, 24),
        "b": tensor("BF16", &[4], 24, 32),
        "c": tensor("I64", &[], 32, 40),
    });
    let scaled = json!({
        "x.weight": tensor("F8_E4M3", &[2, 4], 4, 12),
        "x.scale_weight": tensor("F32", &[1], 0, 4),
        "scaled_fp8": tensor("F8_E4M3", &[0], 12, 12),
    });
    // What networks are told by: names and shapes of a few of their tensors.
    let known = json!({
        "img_in.weight": tensor("F16", &[2, 2], 0, 8),
        "double_blocks.0.img_attn.qkv.weight": tensor("F16", &[6, 2], 8, 32),
        "double_blocks.0.img_attn.norm.key_norm.scale": tensor("F16", &[2], 32, 36),
        "single_blocks.0.linear1.weight": tensor("F16", &[14, 2], 36, 92),
        "text_model.embeddings.token_embedding.weight": tensor("F16", &[2, 2], 92, 100),
        "encoder.block.0.layer.0.SelfAttention.q.weight": tensor("F16", &[2, 2], 100, 108),
        "shared.weight": tensor("F16", &[2, 2], 108, 116),
        "decoder.conv_in.weight": tensor("F16", &[2, 2, 1, 1], 116, 124),
        "visual_encoder.pos_embed": tensor("F16", &[1, 2, 2], 124, 132),
        "text_decoder.bert.embeddings.word_embeddings.weight": tensor("F16", &[2, 2], 132, 140),
    });
    let data = |count: usize| (0..count).map(|byte| byte as u8).collect::<Vec<u8>>();
    vec![
        file(&plain.to_string(), &data(40)),
        file(&scaled.to_string(), &data(12)),
        file(&known.to_string(), &data(140)),
        file("{}", &[]),
    ]
}

fn shape(random: &mut Random, input: Vec<u8>) -> Vec<u8> {
    let Some((mut header, data)) = parts(&input) else { return input };
    json::change(random, &mut header);
    if random.one_of(2) {
        let size = settle(&mut header);
        return file(&header.to_string(), &vec![0x3c; size.min(1 << 16)]);
    }
    let mut header = header.to_string();
    if random.one_of(4) {
        header = super::renumber(random, &header);
    }
    let mut data = data.to_vec();
    if random.one_of(8) {
        data.resize(random.below(64), 0);
    }
    file(&header, &data)
}

/// Lays the tensors out one behind the other, as their shapes ask for; gives the bytes of all.
fn settle(header: &mut Value) -> usize {
    let mut end: usize = 0;
    for tensor in header.as_object_mut().into_iter().flat_map(|tensors| tensors.values_mut()) {
        let Some(tensor) = tensor.as_object_mut() else { continue };
        let size = match tensor.get("dtype").and_then(Value::as_str) {
            Some("F32") => 4,
            Some("F64" | "I64") => 8,
            Some("F16" | "BF16") => 2,
            Some(_) => 1,
            None => continue,
        };
        let Some(shape) = tensor.get("shape").and_then(Value::as_array) else { continue };
        let sizes = shape.iter().map(|size| size.as_u64().unwrap_or(1) as usize);
        let from = end;
        end = end.saturating_add(sizes.fold(size, usize::saturating_mul));
        tensor.insert("data_offsets".to_owned(), json!([from, end]));
    }
    end
}

fn read(input: &[u8]) -> Outcome {
    let read = || -> Result<(), WeightsError> {
        let checkpoint = Checkpoint::from_bytes(Path::new("x.safetensors"), input.to_vec())?;
        let _ = identity::networks(&checkpoint);
        for role in ["flux", "ae", "clip_l", "t5xxl", "blip"] {
            let _ = identity::prefix(&checkpoint, role);
        }
        checkpoint.names().try_for_each(|name| checkpoint.f32(name).map(drop))
    };
    Outcome::of(read())
}
