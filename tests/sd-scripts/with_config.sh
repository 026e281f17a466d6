accelerate launch flux_train.py --config_file settings.toml --learning_rate 2e-5
