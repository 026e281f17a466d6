#!/bin/bash
accelerate launch flux_train.py --pretrained_model_name_or_path models/flux1-dev.safetensors --ae models/ae.safetensors --clip_l models/clip_l.safetensors --t5xxl models/t5xxl_fp16.safetensors --dataset_config subsets.toml --output_dir out --output_name dog --learning_rate 5e-5 --max_train_epochs 4
