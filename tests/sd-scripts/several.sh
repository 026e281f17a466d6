accelerate launch flux_train.py \
  --pretrained_model_name_or_path flux1-schnell.safetensors --ae ae.safetensors --clip_l clip_l.safetensors \
  --t5xxl t5xxl_fp8_e4m3fn.safetensors --dataset_config several.toml --output_name style \
  --max_train_steps 3000 --learning_rate 1e-5 --optimizer_type AdamW8bit --lr_scheduler cosine --lr_warmup_steps 100 \
  --fp8_base --split_mode --gradient_accumulation_steps 4 --timestep_sampling flux_shift --noise_offset 0.05 \
  --sample_prompts prompts.txt --sample_every_n_epochs 1 --sample_at_first --lerning_rate 3
