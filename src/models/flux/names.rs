//! From the path of a parameter in the module tree to its name in the checkpoint.

/// The BFL name of the parameter at `path`. The tree follows the checkpoint except where a name
/// cannot be a Rust field: numbered layers (`layer_2` is `2`), `adaLN_modulation`, and the embedders,
/// which the checkpoint has at its top level.
#[must_use]
pub fn checkpoint_name(path: &[String]) -> String {
    let segments =
        path.iter().filter(|segment| *segment != "embedders").map(|segment| {
            match segment.as_str() {
                "ada_ln_modulation" => "adaLN_modulation",
                other => other.strip_prefix("layer_").unwrap_or(other),
            }
        });
    segments.collect::<Vec<_>>().join(".")
}

/// The places of the rows of the BFL layer `name` in a diffusers file, in order. `name` is relative to
/// its block, or to the top.
pub(super) fn diffusers_places(name: &str) -> Vec<String> {
    let places: &[&str] = match name {
        // Top level.
        "img_in" => &["x_embedder"],
        "txt_in" => &["context_embedder"],
        "time_in.in_layer" => &["time_text_embed.timestep_embedder.linear_1"],
        "time_in.out_layer" => &["time_text_embed.timestep_embedder.linear_2"],
        "vector_in.in_layer" => &["time_text_embed.text_embedder.linear_1"],
        "vector_in.out_layer" => &["time_text_embed.text_embedder.linear_2"],
        "guidance_in.in_layer" => &["time_text_embed.guidance_embedder.linear_1"],
        "guidance_in.out_layer" => &["time_text_embed.guidance_embedder.linear_2"],
        "final_layer.linear" => &["proj_out"],
        "final_layer.adaLN_modulation.1" => &["norm_out.linear"],
        // Double blocks.
        "img_mod.lin" => &["norm1.linear"],
        "txt_mod.lin" => &["norm1_context.linear"],
        "img_attn.qkv" => &["attn.to_q", "attn.to_k", "attn.to_v"],
        "txt_attn.qkv" => &["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
        "img_attn.norm.query_norm" => &["attn.norm_q"],
        "img_attn.norm.key_norm" => &["attn.norm_k"],
        "txt_attn.norm.query_norm" => &["attn.norm_added_q"],
        "txt_attn.norm.key_norm" => &["attn.norm_added_k"],
        "img_attn.proj" => &["attn.to_out.0"],
        "txt_attn.proj" => &["attn.to_add_out"],
        "img_mlp.0" => &["ff.net.0.proj"],
        "img_mlp.2" => &["ff.net.2"],
        "txt_mlp.0" => &["ff_context.net.0.proj"],
        "txt_mlp.2" => &["ff_context.net.2"],
        // Single blocks.
        "modulation.lin" => &["norm.linear"],
        "linear1" => &["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"],
        "linear2" => &["proj_out"],
        "norm.query_norm" => &["attn.norm_q"],
        "norm.key_norm" => &["attn.norm_k"],
        other => &[other],
    };
    places.iter().map(|place| (*place).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_the_published_names() {
        let name =
            |path: &str| checkpoint_name(&path.split('.').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(name("embedders.time_in.in_layer.bias"), "time_in.in_layer.bias");
        assert_eq!(
            name("double_blocks.3.img_mlp.layer_2.weight"),
            "double_blocks.3.img_mlp.2.weight"
        );
        assert_eq!(
            name("final_layer.ada_ln_modulation.layer_1.weight"),
            "final_layer.adaLN_modulation.1.weight"
        );
    }
}
