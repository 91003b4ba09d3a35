#!/usr/bin/env python3
"""Writes odd pictures, and what Pillow, transformers and torchvision make of them.

    make_image_golden.py infer/image
    tar --sort=name --owner=0 --group=0 --mtime=@0 -c infer/image | xz -9e > tests/golden/image-clip.tar.xz

cases.txt, one line a case:
    decode FILE drop|white WIDTH HEIGHT CRC32_OF_RGB          Image.open().convert("RGB"), or transformers 5 over white
    process FILE drop|white EDGE H W RESAMPLE CROP_H CROP_W floor|even WIDTH HEIGHT OUT.rgb   (uint8, before rescaling)
    normalize FILE EDGE CROP OUT.f32                          transformers' pixel_values, channels first
Made with Pillow 13.0.0 (libjpeg-turbo 3.2.0, libwebp 1.6.0), transformers 5.23.0, torchvision beside torch 2.15.
"""
import io
import pathlib
import sys
import zlib

import numpy as np
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize
from transformers.image_transforms import convert_to_rgb
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

one_step = Image.Image.resize


def horizontal_first(self, size, resample=None, box=None, reducing_gap=None):
    """Pillow up to 12 always passes along the rows first, Pillow 13 sometimes down the columns (which differs by a few
    units at hard edges). Pinned to the former, which NeMo and most installations have."""
    width, height = size
    if width != self.width and height != self.height:
        self = one_step(self, (width, self.height), resample)
    return one_step(self, (width, height), resample)


Image.Image.resize = horizontal_first

out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(7)


def picture(width, height, noise=24):
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = [127 + 120 * np.sin(x / 7 + k) * np.cos(y / (5 + k)) for k in range(3)]
    a = np.stack(planes, -1) + rng.integers(-noise, noise + 1, (height, width, 3))
    a[height // 4: height // 2, width // 4: width // 2] = (250, 10, 30)  # hard edges, so that the filter overshoots
    a[height // 2:, : width // 5] = (0, 0, 0)
    a[: height // 6, width // 2:] = 255
    return Image.fromarray(a.clip(0, 255).astype(np.uint8))


files = {}


def save(name, image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **options)
    files[name] = buffer.getvalue()


def alpha_of(image):
    x = np.linspace(0, 300, image.width).clip(0, 255)
    return Image.fromarray(np.tile(x, (image.height, 1)).astype(np.uint8))


p = picture(97, 61)
gray = p.convert("L")
for sub in (0, 1, 2):
    save(f"jpeg_s{sub}.jpg", p, format="JPEG", quality=83, subsampling=sub)
save("jpeg_low.jpg", picture(131, 90), format="JPEG", quality=7)
save("jpeg_progressive.jpg", picture(64, 120), format="JPEG", quality=70, progressive=True)
save("jpeg_gray.jpg", gray, format="JPEG", quality=80)
save("jpeg_cmyk.jpg", p.convert("CMYK"), format="JPEG", quality=90)
save("jpeg_restart.jpg", p, format="JPEG", quality=80, restart_marker_rows=1)
save("jpeg_rgb.jpg", p, format="JPEG", quality=90, keep_rgb=True)
exif = Image.Exif()
exif[0x0112] = 6
save("jpeg_orientation6.jpg", picture(80, 40), format="JPEG", exif=exif)
# YCCK: the CMYK file with Adobe's transform flag set to 2
cmyk = bytearray(files["jpeg_cmyk.jpg"])
at = cmyk.find(b"Adobe")
assert at > 0
cmyk[at + 11] = 2
files["jpeg_ycck.jpg"] = bytes(cmyk)
save("photo.jpg", picture(640, 427, 6), format="JPEG", quality=80)
save("wide.jpg", picture(301, 41), format="JPEG", quality=60)
save("tall.jpg", picture(33, 227), format="JPEG", quality=60)

save("png_rgb.png", p, format="PNG")
save("png_gray.png", gray, format="PNG")
save("png_1bit.png", gray.convert("1"), format="PNG")
save("png_rgba.png", Image.merge("RGBA", (*p.split(), alpha_of(p))), format="PNG")
save("png_la.png", Image.merge("LA", (gray, alpha_of(gray))), format="PNG")
save("png_trns_rgb.png", picture(40, 30, 0), format="PNG", transparency=(250, 10, 30))
save("png_trns_gray.png", gray, format="PNG", transparency=gray.getpixel((50, 30)))
for colors in (2, 4, 16, 200):
    save(f"png_p{colors}.png", p.quantize(colors), format="PNG")
save("png_p_trns.png", p.quantize(16), format="PNG", transparency=bytes(range(0, 256, 16)))
save("png_p_trns1.png", p.quantize(16), format="PNG", transparency=3)
g16 = (np.asarray(gray).astype(np.uint16) * 3)
save("png_gray16_low.png", Image.fromarray(g16), format="PNG")
save("png_gray16.png", Image.fromarray((np.asarray(gray).astype(np.uint32) * 257 + 13).clip(0, 65535).astype(np.uint16)), format="PNG")
save("tiny1x1.png", picture(1, 1, 0), format="PNG")
save("tiny1x9.png", picture(1, 9), format="PNG")
save("tiny5x2.png", picture(5, 2), format="PNG")
save("webp_lossy.webp", p, format="WEBP", quality=50)
save("webp_lossy_alpha.webp", Image.merge("RGBA", (*p.split(), alpha_of(p))), format="WEBP", quality=60)
save("webp_lossless.webp", p, format="WEBP", lossless=True)
save("webp_lossless_alpha.webp", Image.merge("RGBA", (*p.split(), alpha_of(p))), format="WEBP", lossless=True, exact=True)
save("webp_animation.webp", p, format="WEBP", save_all=True, append_images=[picture(97, 61)], duration=50, quality=60)


def chunk(kind, data):
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def raw_png(width, height, depth, color, rows, interlace=0, extra=b""):
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, color, 0, 0, interlace])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


wide = rng.integers(0, 65536, (20, 24, 4)).astype(">u2")
for color, channels, name in ((2, 3, "rgb16"), (4, 2, "la16"), (6, 4, "rgba16")):
    rows = b"".join(b"\0" + wide[y, :, :channels].tobytes() for y in range(20))
    files[f"png_{name}.png"] = raw_png(24, 20, 16, color, rows)
for depth in (2, 4):
    rows = b"".join(b"\0" + rng.integers(0, 256, (19 * depth + 7) // 8).astype(np.uint8).tobytes() for _ in range(11))
    files[f"png_gray{depth}.png"] = raw_png(19, 11, depth, 0, rows)
# Adam7: each pass holds the pixels of its grid
small = np.asarray(picture(21, 17))
passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
rows = b"".join(b"\0" + line.tobytes() for x0, y0, dx, dy in passes for line in small[y0::dy, x0::dx] if line.size)
files["png_adam7.png"] = raw_png(21, 17, 8, 2, rows, interlace=1, extra=chunk(b"gAMA", (100000).to_bytes(4, "big")))

lines = []


def emit(name, array):
    (out / name).write_bytes(array.tobytes())
    return name


def drop(data):
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image.info.clear()  # else transformers would still see the transparency that convert dropped
    return image


for name, data in files.items():
    (out / name).write_bytes(data)
    plain = drop(data)
    lines.append(f"decode {name} drop {plain.width} {plain.height} {zlib.crc32(np.asarray(plain).tobytes())}")
    white = convert_to_rgb(Image.open(io.BytesIO(data)), return_numpy=True)
    if name != "png_gray16.png":
        lines.append(f"decode {name} white {plain.width} {plain.height} {zlib.crc32(white.tobytes())}")
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    pixels = processor(plain, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"][0]
    lines.append(f"process {name} drop 32 0 0 3 32 32 floor 32 32 " + emit(name + ".hf.rgb", pixels.transpose(1, 2, 0).astype(np.uint8)))


def process(name, rule, edge, height, width, resample, crop_height, crop_width, crop, suffix):
    plain = drop(files[name])
    size = {"shortest_edge": edge} if edge else {"height": height, "width": width}
    if crop == "floor":
        processor = CLIPImageProcessorPil(size=size, resample=resample, do_resize=bool(edge or height), do_center_crop=bool(crop_height),
                                          crop_size={"height": crop_height or 1, "width": crop_width or 1})
        image = plain if rule == "drop" else Image.open(io.BytesIO(files[name]))
        pixels = processor(image, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0).astype(np.uint8)
    else:
        mode = {2: InterpolationMode.BILINEAR, 3: InterpolationMode.BICUBIC}[resample]
        pixels = np.asarray(CenterCrop((crop_height, crop_width))(Resize(edge, interpolation=mode)(plain)))
    lines.append(f"process {name} {rule} {edge} {height} {width} {resample} {crop_height} {crop_width} {crop} {pixels.shape[1]} {pixels.shape[0]} "
                 + emit(f"{name}.{suffix}.rgb", np.ascontiguousarray(pixels)))


process("photo.jpg", "drop", 224, 0, 0, 3, 224, 224, "floor", "clip224")
process("png_rgb.png", "drop", 77, 0, 0, 3, 77, 77, "floor", "up")
process("photo.jpg", "drop", 31, 0, 0, 3, 31, 31, "even", "even31")
process("wide.jpg", "drop", 32, 0, 0, 3, 32, 32, "even", "even")
process("tall.jpg", "drop", 32, 0, 0, 3, 32, 32, "even", "even")
process("tall.jpg", "drop", 29, 0, 0, 3, 27, 29, "even", "even2")
process("tall.jpg", "drop", 29, 0, 0, 3, 26, 29, "floor", "floor2")
process("photo.jpg", "drop", 0, 42, 42, 3, 0, 0, "floor", "squash")
process("wide.jpg", "drop", 0, 40, 50, 2, 0, 0, "floor", "bilinear")
process("tiny5x2.png", "drop", 0, 0, 0, 3, 9, 8, "floor", "pad")
process("tiny5x2.png", "drop", 0, 0, 0, 3, 1, 8, "floor", "padcrop")
process("tiny5x2.png", "drop", 3, 0, 0, 3, 8, 10, "even", "pad_even")
process("png_rgba.png", "white", 32, 0, 0, 3, 32, 32, "floor", "white")
process("tiny1x9.png", "drop", 16, 0, 0, 3, 16, 16, "floor", "thin")
for name, edge, crop in (("photo.jpg", 32, 32), ("jpeg_s2.jpg", 40, 28)):
    processor = CLIPImageProcessorPil(size={"shortest_edge": edge}, crop_size={"height": crop, "width": crop})
    values = processor(drop(files[name]), return_tensors="np")["pixel_values"][0].astype("<f4")
    lines.append(f"normalize {name} {edge} {crop} " + emit(name + ".f32", np.ascontiguousarray(values)))
(out / "cases.txt").write_text("\n".join(lines) + "\n")
print(len(files), "pictures,", len(lines), "cases")
