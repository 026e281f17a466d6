set MODEL=x
accelerate launch flux_train.py ^
  --pretrained_model_name_or_path "C:\models\flux1-dev.safetensors" --ae C:/models/ae.safetensors \
  --clip_l C:/models/clip_l.safetensors --t5xxl C:/models/t5xxl_fp16.safetensors \
  --dataset_config subsets.toml --max_train_epochs 2 --learning_rate 1e-5
