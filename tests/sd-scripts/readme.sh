# Captions, tags, and then the training.
python finetune/make_captions.py --batch_size 8 --num_beams 3 --max_length 60 train_data
python finetune/tag_images_by_wd14_tagger.py --onnx --repo_id SmilingWolf/wd-v1-4-convnext-tagger-v2 --batch_size 4 --thresh 0.35 train_data
python finetune/merge_captions_to_metadata.py train_data meta_cap.json --full_path
python finetune/merge_dd_tags_to_metadata.py train_data --in_json meta_cap.json meta_all.json --full_path

MODELS=/data/models
accelerate launch --mixed_precision bf16 --num_cpu_threads_per_process 1 flux_train.py \ 
  --pretrained_model_name_or_path "${MODELS}/flux1-dev.safetensors" \
  --clip_l $MODELS/clip_l.safetensors --t5xxl $MODELS/t5xxl_fp16.safetensors --ae $MODELS/ae.safetensors \
  # the folder of results
  --output_dir out --output_name flux-mine
  --save_model_as safetensors --sdpa --persistent_data_loader_workers --max_data_loader_n_workers 2 \
  --seed 42 --gradient_checkpointing --mixed_precision bf16 --save_precision bf16 \
  --optimizer_type adafactor --optimizer_args "relative_step=False" "scale_parameter=False" "warmup_init=False" \
  --learning_rate 5e-5 --lr_scheduler constant_with_warmup --max_grad_norm 0.0 \
  --highvram --max_train_epochs 4 --save_every_n_epochs 1 --dataset_config data.json \
  --timestep_sampling shift --discrete_flow_shift 3.1582 --model_prediction_type raw --guidance_scale 1.0 \
  --fused_backward_pass --blocks_to_swap 8 --full_bf16 --cache_latents_to_disk --cache_text_encoder_outputs_to_disk
