#!/usr/bin/env python3
"""Writes seeds for the tokenizer and image fuzz targets: make_clip_fuzz_corpus.py fuzz/corpus"""
import io
import json
import pathlib
import sys

from PIL import Image

root = pathlib.Path(sys.argv[1])
(root / "tokenizer").mkdir(parents=True, exist_ok=True)
(root / "image").mkdir(parents=True, exist_ok=True)

texts = {"words": "low LOW lolol owl", "marks": "e\u0301a\u0323\u0302 \u0302\u0323", "special": "<|ENDOFTEXT|>a<|startoftext|>'s''ll", "mixed": "1٣😀👨‍👩 İΣß\u3000\u00a0\x00\u1c89"}
for name, text in texts.items():
    (root / "tokenizer" / name).write_bytes(text.encode())
(root / "tokenizer" / "broken_utf8").write_bytes(b"low \xc3\x28 \xed\xa0\x80")
table = {"added_tokens": [{"id": 0, "content": "<|startoftext|>", "normalized": True}, {"id": 1, "content": "<|endoftext|>", "normalized": False}],
         "model": {"end_of_word_suffix": "</w>", "vocab": {"l": 2, "o": 3, "w</w>": 4, "lo": 5, "low</w>": 6}, "merges": [["l", "o"], "lo w</w>"]}}
(root / "tokenizer" / "table").write_bytes(json.dumps(table).encode() + b"\xfflow lo<|endoftext|>w")

base = Image.radial_gradient("L").resize((13, 9))
rgb = Image.merge("RGB", (base, base.rotate(90, expand=False), base.transpose(0)))


def save(name, image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **options)
    (root / "image" / name).write_bytes(buffer.getvalue())


save("rgb.jpg", rgb, format="JPEG", quality=60)
save("progressive.jpg", rgb, format="JPEG", quality=60, progressive=True)
save("gray.jpg", base, format="JPEG", quality=60)
save("cmyk.jpg", rgb.convert("CMYK"), format="JPEG", quality=60)
save("rgb.png", rgb, format="PNG")
save("palette.png", rgb.quantize(5), format="PNG", transparency=1)
save("bits.png", base.convert("1"), format="PNG")
save("gray_alpha.png", Image.merge("LA", (base, base)), format="PNG")
save("gray16.png", base.convert("I;16"), format="PNG")
save("lossy.webp", rgb, format="WEBP", quality=40)
save("lossless.webp", Image.merge("RGBA", (*rgb.split(), base)), format="WEBP", lossless=True)
for name in ("rgb.jpg", "rgb.png", "lossy.webp"):
    data = (root / "image" / name).read_bytes()
    (root / "image" / ("cut_" + name)).write_bytes(data[: len(data) * 3 // 5])
