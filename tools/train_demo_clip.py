#!/usr/bin/env python3
"""Trains models/demo-clip: a small CLIP that really tells Fashion-MNIST's ten kinds of clothing apart.

Needs torch, transformers, numpy, Pillow (only to make the model; nothing that is shipped needs them), Debian's
dataset-fashion-mnist, and a folder with CLIP's vocab.json and merges.txt.

  tools/train_demo_clip.py --vocabulary DIR --out models/demo-clip [--epochs 10] [--seed 1]
"""

import argparse
import gzip
import json
import math
import os
import shutil
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

DATA = "/usr/share/datasets/fashion-mnist"

# The first name of a class is the one labels.txt carries and the accuracy is measured with.
CLASSES = [
    ["t-shirt", "tee", "t-shirt or top"],
    ["pair of trousers", "trousers", "pants"],
    ["pullover", "sweater", "jumper"],
    ["dress", "gown"],
    ["coat", "jacket"],
    ["sandal", "open sandal"],
    ["shirt", "dress shirt"],
    ["sneaker", "running shoe", "trainer"],
    ["bag", "handbag"],
    ["ankle boot", "boot"],
]
TEMPLATES = ["{}", "{a} {}", "a photo of {a} {}", "a picture of {a} {}", "an image of {a} {}", "a photo of the {}", "the {}",
             "a black and white photo of {a} {}", "a low resolution photo of {a} {}", "a photo of {a} {}, a type of clothing",
             "A photo of {a} {}.", "this is {a} {}"]
MEASURED = "a photo of {a} {}"

# CLIP's own mean and deviation: NeMo reads no others for a CLIP.
MEAN = [0.48145466, 0.4578275, 0.40821073]
STD = [0.26862954, 0.26130258, 0.27577711]
SIZE = 28


def caption(template, name):
    article = "an" if name[0] in "aeiou" else "a"
    return template.replace("{a}", "" if name in ("trousers", "pants") else article).replace("{}", name).replace("  ", " ").strip()


def read_idx(name):
    with gzip.open(os.path.join(DATA, name)) as file:
        data = file.read()
    rank = data[3]
    shape = [int.from_bytes(data[4 + 4 * i:8 + 4 * i], "big") for i in range(rank)]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def to_pixels(gray):
    """uint8 [n, 28, 28] -> the normalised [n, 3, 28, 28] that CLIP's image processor gives."""
    x = torch.from_numpy(gray.astype(np.float32) / 255).unsqueeze(1)
    return (x - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


def augment(pixels, gen):
    """Mirrors half of the images and shifts all by at most one pixel."""
    mirrored = torch.rand((len(pixels), 1, 1, 1), generator=gen) < 0.5
    pixels = torch.where(mirrored, pixels.flip(3), pixels)
    dx, dy = torch.randint(-1, 2, (2,), generator=gen).tolist()
    return torch.roll(pixels, (dy, dx), (2, 3))


def tokenize(tokenizer, texts):
    return tokenizer(texts, padding=True, return_tensors="pt")


def features(output):
    return getattr(output, "pooler_output", output)


def text_features(model, tokens):
    return F.normalize(features(model.get_text_features(**tokens)), dim=-1)


def image_features(model, pixels):
    return F.normalize(features(model.get_image_features(pixel_values=pixels)), dim=-1)


@torch.no_grad()
def zero_shot(model, tokenizer, gray, labels, template):
    """The fraction of images whose own class has the nearest caption, and the mean probability given to it."""
    model.eval()
    text = text_features(model, tokenize(tokenizer, [caption(template, names[0]) for names in CLASSES]))
    right, mass = 0, 0.0
    for i in range(0, len(gray), 500):
        target = torch.from_numpy(labels[i:i + 500].astype(np.int64))
        probabilities = (image_features(model, to_pixels(gray[i:i + 500])) @ text.T * model.logit_scale.exp()).softmax(-1)
        right += int((probabilities.argmax(-1) == target).sum())
        mass += float(probabilities.gather(1, target[:, None]).sum())
    model.train()
    return right / len(gray), mass / len(gray)


def make_model():
    # vocab_size dominates: 49408 x 64 in fp16 is 6.3 MB.
    return CLIPModel(CLIPConfig(
        text_config=dict(hidden_size=64, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2, vocab_size=49408,
                         max_position_embeddings=77, hidden_act="quick_gelu", bos_token_id=49406, eos_token_id=49407,
                         pad_token_id=49407, projection_dim=64),
        vision_config=dict(hidden_size=96, intermediate_size=384, num_hidden_layers=4, num_attention_heads=3, image_size=SIZE,
                           patch_size=7, hidden_act="quick_gelu", projection_dim=64),
        projection_dim=64))


def train(model, tokenizer, args):
    gray, labels = read_idx("train-images-idx3-ubyte.gz"), read_idx("train-labels-idx1-ubyte.gz").astype(np.int64)
    test, test_labels = read_idx("t10k-images-idx3-ubyte.gz"), read_idx("t10k-labels-idx1-ubyte.gz")
    gen = torch.Generator().manual_seed(args.seed)
    captions = [[caption(t, n) for t in TEMPLATES for n in names] for names in CLASSES]
    tokens = {c: tokenizer(c)["input_ids"] for names in captions for c in names}

    # Most of the token table is never seen: it keeps its random start.
    plain = [p for n, p in model.named_parameters() if p.dim() <= 1 or "token_embedding" in n]
    decay = [p for n, p in model.named_parameters() if p.dim() > 1 and "token_embedding" not in n]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0}], betas=(0.9, 0.98))
    steps_per_epoch = len(gray) // args.batch
    total, warmup = args.epochs * steps_per_epoch, 200
    start, step = time.time(), 0
    model.train()
    for epoch in range(args.epochs):
        order = torch.randperm(len(gray), generator=gen).numpy()
        loss_sum = 0.0
        for b in range(steps_per_epoch):
            rate = args.rate * (min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / total)))
            for group in optimizer.param_groups:
                group["lr"] = rate
            picks = order[b * args.batch:(b + 1) * args.batch]
            pixels, target = augment(to_pixels(gray[picks]), gen), torch.from_numpy(labels[picks])
            # One caption a class and step: a batch holds ten kinds only, so equal captions are one column of the logits.
            chosen = [names[int(torch.randint(len(names), (), generator=gen))] for names in captions]
            width = max(len(tokens[c]) for c in chosen)
            ids = torch.tensor([tokens[c] + [49407] * (width - len(tokens[c])) for c in chosen])
            mask = torch.tensor([[1] * len(tokens[c]) + [0] * (width - len(tokens[c])) for c in chosen])
            text = text_features(model, {"input_ids": ids, "attention_mask": mask})
            logits = image_features(model, pixels) @ text.T * model.logit_scale.exp()
            # CLIP's two directions; a caption's images are all images of its class.
            same = F.one_hot(target, len(CLASSES)).float()
            share = same / same.sum(0).clamp(min=1)
            to_text = F.cross_entropy(logits, target, label_smoothing=0.02)
            to_image = -(share * logits.log_softmax(0)).sum(0).mean() - math.log(args.batch / len(CLASSES))
            loss = to_text + 0.2 * to_image
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(max=math.log(100))
            loss_sum += float(to_text.detach())
            step += 1
            if args.max_steps and step == args.max_steps:
                print(f"{step} steps, {time.time() - start:.1f} s", flush=True)
                return
        accuracy, mass = zero_shot(model, tokenizer, test, test_labels, MEASURED)
        print(f"epoch {epoch + 1}: loss {loss_sum / steps_per_epoch:.4f}, test accuracy {accuracy:.4f}, mean probability {mass:.4f}, "
              f"scale {float(model.logit_scale.detach().exp()):.2f}, {time.time() - start:.0f} s", flush=True)


def write_json(path, value):
    with open(path, "w", encoding="utf8") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def save(model, out, vocabulary):
    """The folder as transformers saves it, with the tokenizer in its two classic files."""
    model.half().save_pretrained(out)
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(os.path.join(vocabulary, name), os.path.join(out, name))
    special = {"normalized": True, "lstrip": False, "rstrip": False, "single_word": False}
    start, end = {"content": "<|startoftext|>", **special}, {"content": "<|endoftext|>", **special}
    write_json(os.path.join(out, "tokenizer_config.json"), {
        "added_tokens_decoder": {"49406": {**start, "special": True}, "49407": {**end, "special": True}},
        "bos_token": "<|startoftext|>", "clean_up_tokenization_spaces": True, "eos_token": "<|endoftext|>", "errors": "replace",
        "model_max_length": 77, "pad_token": "<|endoftext|>", "tokenizer_class": "CLIPTokenizer", "unk_token": "<|endoftext|>"})
    write_json(os.path.join(out, "special_tokens_map.json"),
               {"bos_token": start, "eos_token": end, "pad_token": "<|endoftext|>", "unk_token": end})
    write_json(os.path.join(out, "preprocessor_config.json"), {
        "crop_size": {"height": SIZE, "width": SIZE}, "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True,
        "do_rescale": True, "do_resize": True, "image_mean": MEAN, "image_processor_type": "CLIPImageProcessor", "image_std": STD,
        "resample": 3, "rescale_factor": 1 / 255, "size": {"shortest_edge": SIZE}})


def save_samples(out):
    """The first test image of each class, enlarged; two of them on oblong canvases. Never seen in training."""
    test, labels = read_idx("t10k-images-idx3-ubyte.gz"), read_idx("t10k-labels-idx1-ubyte.gz")
    folder = os.path.join(out, "images")
    os.makedirs(folder, exist_ok=True)
    for c, names in enumerate(CLASSES):
        image = Image.fromarray(test[np.flatnonzero(labels == c)[0]]).resize((224, 224), Image.BICUBIC)
        name = names[0].replace(" ", "_")
        if c % 2 == 0:
            image.convert("RGB").save(os.path.join(folder, f"{name}.jpg"), quality=92)
        else:
            image.save(os.path.join(folder, f"{name}.png"), optimize=True)
        if c in (3, 7):
            canvas = Image.new("L", (224, 341) if c == 3 else (317, 224))
            canvas.paste(image, ((canvas.width - 224) // 2, (canvas.height - 224) // 2))
            canvas.convert("RGB").save(os.path.join(folder, f"{name}_oblong.jpg"), quality=92)
    with open(os.path.join(out, "labels.txt"), "w", encoding="utf8") as file:
        file.writelines(caption(MEASURED, names[0]) + "\n" for names in CLASSES)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", required=True, help="folder with CLIP's vocab.json and merges.txt")
    parser.add_argument("--out", required=True)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--max-steps", type=int, default=0, help="stop early (to time a step)")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    os.makedirs(args.out, exist_ok=True)
    tokenizer = CLIPTokenizer(os.path.join(args.vocabulary, "vocab.json"), os.path.join(args.vocabulary, "merges.txt"))
    assert tokenizer("a dress")["input_ids"] == [49406, 320, 2595, 49407], tokenizer("a dress")
    model = make_model()
    train(model, tokenizer, args)

    # What is shipped is what is measured: the fp16 weights, read again.
    save(model, args.out, args.vocabulary)
    save_samples(args.out)
    model = CLIPModel.from_pretrained(args.out).float()
    test, labels = read_idx("t10k-images-idx3-ubyte.gz"), read_idx("t10k-labels-idx1-ubyte.gz")
    for template in ("a photo of {a} {}", "{a} {}", "{}"):
        accuracy, mass = zero_shot(model, tokenizer, test, labels, template)
        print(f"saved model, {template!r}: test accuracy {accuracy:.4f}, mean probability of the right label {mass:.4f}")


if __name__ == "__main__":
    main()
