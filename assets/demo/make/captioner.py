"""Trains the demo's captioner: a BLIP of 64 × 64 pictures, in the layout of transformers.

    python captioner.py PICTURES bert-base-uncased blip.safetensors [--steps 12000]

The second argument is the folder of the tokenizer (`assets/tokenizers/bert-base-uncased`).
"""

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import BertWordPieceTokenizer
from transformers import BlipConfig, BlipForConditionalGeneration

from pictures import captions, pictures

SIDE = 64
# [DEC] "a picture of", and [SEP] at the end.
PROMPT, END = [30522, 1037, 3861, 1997], 102
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def as_input(images):
    images = F.interpolate(images.float() / 255, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 1)
    return (images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]


def network():
    text = dict(
        vocab_size=30524, hidden_size=32, encoder_hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=1, max_position_embeddings=64, bos_token_id=30522, eos_token_id=END,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )
    vision = dict(
        hidden_size=64, intermediate_size=192, num_hidden_layers=3, num_attention_heads=1, image_size=SIDE,
        patch_size=8,
    )
    return BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision))


def forward(model, images, ids, used):
    """The scores of the words in `used`, `[N, length, len(used)]`."""
    seen = model.vision_model(images).last_hidden_state
    decoder = model.text_decoder
    hidden = decoder.bert(input_ids=ids, encoder_hidden_states=seen, is_decoder=True).last_hidden_state
    table = decoder.bert.embeddings.word_embeddings.weight
    head = decoder.cls.predictions
    return head.transform(hidden) @ table[used].T + head.bias[used]


def save(model, output):
    # The last layer is the table of words, and the positions are numbers in order.
    left_out = ("cls.predictions.decoder.", "position_ids")
    tensors = {
        name: value.detach().to(torch.bfloat16).contiguous()
        for name, value in model.state_dict().items()
        if not any(part in name for part in left_out)
    }
    save_file(tensors, output)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("tokenizer", type=Path)
    arguments.add_argument("output", type=Path)
    arguments.add_argument("--held-out", type=Path)
    arguments.add_argument("--steps", type=int, default=12000)
    options = arguments.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(1)
    tokenizer = BertWordPieceTokenizer(str(options.tokenizer / "vocab.txt"), lowercase=True)

    def ids_of(folder):
        texts = [tokenizer.encode(text, add_special_tokens=False).ids for text in captions(folder)]
        longest = max(map(len, texts))
        return torch.tensor([PROMPT + text + [END] + [0] * (longest - len(text)) for text in texts])

    images, ids = as_input(pictures(options.pictures)), ids_of(options.pictures)
    model = network().train()
    torch.nn.init.normal_(model.text_decoder.bert.embeddings.word_embeddings.weight, std=0.1)
    # Words that no caption has get no gradient, and a bias that they never overcome.
    used, ids = ids.unique(return_inverse=True)
    padding = (used == 0).nonzero().item()
    with torch.no_grad():
        model.text_decoder.cls.predictions.bias.fill_(-20.0)[used] = 0.0
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, options.steps, pct_start=0.1)
    begun = time.time()
    for step in range(options.steps):
        some = torch.randint(len(images), (32,))
        batch = images[some] + 0.1 * torch.rand(32, 1, 1, 1) * torch.randn_like(images[some])
        text = ids[some]
        logits = forward(model, batch, used[text[:, :-1]], used)[:, len(PROMPT) - 1 :]
        loss = F.cross_entropy(logits.flatten(0, 1), text[:, len(PROMPT) :].flatten(), ignore_index=padding)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            print(f"step {step}: loss {loss.item():.4f}, {time.time() - begun:.0f} s", flush=True)
    save(model, options.output)
    if options.held_out:
        images, truth = as_input(pictures(options.held_out)), ids_of(options.held_out)
        text = torch.tensor(PROMPT).expand(len(images), -1)
        model.eval()
        with torch.no_grad():
            while text.shape[1] < truth.shape[1]:
                text = torch.cat([text, used[forward(model, images, text, used)[:, -1:].argmax(-1)]], 1)
        ended = truth != 0
        right = ((text == truth) | ~ended).all(1).float().mean()
        print(f"held out: {right:.1%} of {len(images)} captions are right word by word")


if __name__ == "__main__":
    main()
