"""Zero-shot accuracy by transformers, for tests/interop/cli/zero_shot.json.

The pictures of models/demo-clip, a folder a class as `classes` below says (some wrongly on purpose, so that no accuracy
is 0 or 1), classified with templates as OpenAI and NeMo do: each text's features normalised, averaged, normalised.

usage: make_zero_shot_golden.py MODEL_DIR OUT.json     (transformers 5, torch, Pillow)
"""

import json
import pathlib
import sys

import torch
from PIL import Image
from transformers import CLIPModel, CLIPTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

CLASSES = {
    "ankle_boot": ["ankle_boot.png", "sneaker_oblong.jpg"],
    "bag": ["bag.jpg"],
    "coat": ["coat.jpg", "bag.jpg"],
    "dress": ["dress.png", "dress_oblong.jpg"],
    "pair_of_trousers": ["pair_of_trousers.png"],
    "pullover": ["pullover.jpg", "sandal.png"],
    "sandal": ["sandal.png", "coat.jpg"],
    "shirt": ["shirt.jpg"],
    "sneaker": ["sneaker.png", "sneaker_oblong.jpg"],
    "t-shirt": ["t-shirt.jpg"],
}
TEMPLATES = ["a photo of a {}", "a {}.", "a bad photo of the {}, twice: {}"]


@torch.no_grad()
def main():
    folder, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = CLIPTokenizerFast.from_pretrained(folder)
    processor = CLIPImageProcessorPil.from_pretrained(folder)

    def rows(features):
        features = getattr(features, "pooler_output", features)
        return torch.nn.functional.normalize(features, dim=-1)

    classifier = []
    for name in sorted(CLASSES):
        label = name.replace("_", " ")
        texts = [t.replace("{}", label) for t in TEMPLATES]
        features = rows(model.get_text_features(**tokenizer(texts, return_tensors="pt", padding=True)))
        classifier.append(torch.nn.functional.normalize(features.mean(0), dim=0))
    classifier = torch.stack(classifier)

    answer = {"classes": CLASSES, "templates": TEMPLATES, "per_class": [], "probabilities": []}
    hits = [0, 0, 0]
    for index, name in enumerate(sorted(CLASSES)):
        images = [Image.open(folder / "images" / p).convert("RGB") for p in sorted(CLASSES[name])]
        features = rows(model.get_image_features(**processor(images, return_tensors="pt")))
        cosines = features @ classifier.T
        likeliest = cosines.topk(5, 1).indices
        top = [int((likeliest[:, :k] == index).any(1).sum()) for k in (1, 5)]
        answer["per_class"].append([len(images), *top])
        probabilities = torch.softmax(model.logit_scale.exp() * cosines, 1)
        answer["probabilities"] += [[round(x, 8) for x in row.tolist()] for row in probabilities]
        for k, n in enumerate((len(images), *top)):
            hits[k] += n
    answer["total"] = hits
    out.write_text(json.dumps(answer) + "\n")


main()
