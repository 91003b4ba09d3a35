"""CLIP's two encoders in ONNX Runtime (fp32, 2 threads), to compare bench/encoders.py's figures with.

usage: onnx_encoders.py MODEL_DIR WORK ROUNDS      prints JSON: {"image_seconds": […], "text_seconds": […]}

The image encoder takes one picture; the text encoder three texts padded to 77 tokens, as exported CLIPs take them.
"""

import json
import os
import sys
import time

import numpy as np
import onnxruntime
import torch
from transformers import CLIPModel


class Image(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        return self.model.visual_projection(self.model.vision_model(pixel_values=pixel_values).pooler_output)


class Text(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids):
        return self.model.text_projection(self.model.text_model(input_ids=input_ids).pooler_output)


def export(module, inputs, name, path):
    torch.onnx.export(module, (inputs,), path, input_names=[name], output_names=["features"], dynamo=False, opset_version=17)


def timed(path, feed, rounds):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    session.run(None, feed)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        session.run(None, feed)
        seconds.append(time.perf_counter() - start)
    return seconds


def main():
    folder, work, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    image_path, text_path = os.path.join(work, "image", "m.onnx"), os.path.join(work, "text", "m.onnx")
    for path in (image_path, text_path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    model = CLIPModel.from_pretrained(folder, attn_implementation="eager").eval()
    size = model.config.vision_config.image_size
    ids = np.full((3, 77), 49407, np.int64)
    ids[:, :4] = [[49406, 320, 1929, 49407], [49406, 320, 1876, 49407], [49406, 320, 2595, 49407]]
    pixels = np.random.default_rng(0).standard_normal((1, 3, size, size)).astype(np.float32)
    with torch.no_grad():
        export(Image(model), torch.from_numpy(pixels), "pixel_values", image_path)
        export(Text(model), torch.from_numpy(ids), "input_ids", text_path)
    del model
    print(json.dumps({"image_seconds": timed(image_path, {"pixel_values": pixels}, rounds),
                      "text_seconds": timed(text_path, {"input_ids": ids}, rounds)}))


if __name__ == "__main__":
    main()
