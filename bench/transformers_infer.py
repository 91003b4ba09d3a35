"""Zero-shot classification as a transformers script does it (bench/infer.py).

usage: transformers_infer.py MODEL IMAGE TEXT…      prints the probabilities
"""

import sys

import torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

torch.set_num_threads(2)
folder, image, *texts = sys.argv[1:]
model = CLIPModel.from_pretrained(folder)
processor = CLIPProcessor.from_pretrained(folder)
with torch.no_grad():
    inputs = processor(text=texts, images=Image.open(image).convert("RGB"), return_tensors="pt", padding=True)
    print(model(**inputs).logits_per_image.softmax(-1)[0].tolist())
