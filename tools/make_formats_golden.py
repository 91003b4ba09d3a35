#!/usr/bin/env python3
"""Writes PPM, BMP, GIF and TIFF pictures and odd PNGs, and what Pillow makes of them.

    make_formats_golden.py infer/image_formats
    tar --sort=name --owner=0 --group=0 --mtime=@0 -c infer/image_formats | xz -9e > tests/golden/image-formats.tar.xz

cases.txt, one line a case, as make_image_golden.py's:
    decode FILE drop|white WIDTH HEIGHT CRC32_OF_RGB     Image.open().convert("RGB"), or over white as transformers 5
    refuse FILE                                          Pillow refuses it
Made with Pillow 13.0.0.
"""
import io
import pathlib
import random
import struct
import sys
import zlib

from PIL import Image

out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
rng = random.Random(11)
files = {}


def picture(width, height):
    data = bytes(min(255, max(0, (x * 7 + y * 13 * (c + 1)) % 256 + rng.randrange(-9, 10))) for y in range(height) for x in range(width) for c in range(3))
    return Image.frombytes("RGB", (width, height), data)


def save(name, image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **options)
    files[name] = buffer.getvalue()


p = picture(37, 23)
gray = p.convert("L")
alpha = Image.frombytes("L", p.size, bytes((x * 9 + y * 5) % 256 for y in range(23) for x in range(37)))
rgba = Image.merge("RGBA", (*p.split(), alpha))
la = Image.merge("LA", (gray, alpha))
wide_gray = Image.new("I;16", (19, 7))
for y in range(7):
    for x in range(19):
        wide_gray.putpixel((x, y), (x * 37 + y * 101) % 600 if y < 4 else x * 3400)
body = bytes(rng.randrange(256) for _ in range(8 * 5 * 6))


def samples(count, most):
    return [rng.randrange(most + 1) for _ in range(count)]


# PPM
save("p.ppm", p, format="PPM")
save("p.pgm", gray, format="PPM")
save("p.pbm", gray.convert("1"), format="PPM")
save("wide.pgm", wide_gray, format="PPM")
files["comment.ppm"] = b"P6 # a\n# b\n8#c\n 5\r255\n" + body[:120]
for top in (1, 7, 100, 254, 256, 1000, 65535):
    size = 2 if top > 255 else 1
    for kind, channels in ((b"P5", 1), (b"P6", 3)):
        data = b"".join(v.to_bytes(size, "big") for v in samples(40 * channels, top))
        files[f"max{top}.{'pgm' if channels == 1 else 'ppm'}"] = kind + b"\n8 5\n%d\n" % top + data
    for kind, channels in ((b"P2", 1), (b"P3", 3)):
        text = " ".join(map(str, samples(40 * channels, top))).replace(" ", "\n", 7).replace(" ", " # remark 5\n", 1)
        files[f"plain{top}.{'pgm' if channels == 1 else 'ppm'}"] = kind + b"\n8 5\n%d\n" % top + text.encode()
files["plain.pbm"] = b"P1\n# x\n9 3\n101010101\n0 1 0 1 0 1 0 1 0\n1111# y\n00000"
files["cut.ppm"] = files["p.ppm"][:-1]
files["cut100.pgm"] = files["max100.pgm"][:-1]
files["cut_plain.pgm"] = b"P2\n2 2\n9\n1 2 3"
files["over.pgm"] = b"P2\n2 2\n9\n1 2 3 10"
files["p7.pam"] = b"P7\nWIDTH 1\nHEIGHT 1\n"
files["zero.ppm"] = b"P6\n0 5\n255\n"

# BMP
save("p.bmp", p, format="BMP")
save("gray.bmp", gray, format="BMP")
save("bits.bmp", gray.convert("1"), format="BMP")
save("palette.bmp", p.quantize(200), format="BMP")
save("rgba.bmp", rgba, format="BMP")


def bmp(width, height, bits, pixels, compression=0, palette=b"", header=40, extra=b"", colors=0, top=False, entry=4):
    info = struct.pack("<IiiHHIIiiII", header, width, -height if top else height, 1, bits, compression, len(pixels), 0, 0, colors, 0)
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    info += extra
    at = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", at + len(pixels), 0, 0, at) + info + palette + pixels


def rows(width, height, bits):
    return bytes(rng.randrange(256) for _ in range(((width * bits + 31) // 32 * 4) * height))


colors = bytes(rng.randrange(256) for _ in range(1024))
for bits in (1, 4, 8):
    n = 4 << bits
    files[f"b{bits}.bmp"] = bmp(13, 6, bits, rows(13, 6, bits), palette=colors[:n])
    files[f"b{bits}_few.bmp"] = bmp(13, 6, bits, rows(13, 6, bits), palette=colors[:n // 2], colors=1 << bits >> 1)
    files[f"b{bits}_os2.bmp"] = bmp(13, 6, bits, rows(13, 6, bits), palette=colors[:n // 4 * 3], header=12)
files["gray4.bmp"] = bmp(8, 5, 4, rows(8, 5, 4), palette=b"".join(bytes([i * 17] * 3 + [0]) for i in range(16)))
files["top.bmp"] = bmp(13, 6, 24, rows(13, 6, 24), top=True)
for bits in (16, 24, 32):
    files[f"b{bits}.bmp"] = bmp(13, 6, bits, rows(13, 6, bits))
masks = {"565": (16, 0xF800, 0x7E0, 0x1F), "555": (16, 0x7C00, 0x3E0, 0x1F), "bgrx": (32, 0xFF0000, 0xFF00, 0xFF),
         "xbgr": (32, 0xFF000000, 0xFF0000, 0xFF00), "odd": (32, 0xFF, 0xFF0000, 0xFF00), "565odd": (16, 0x1F, 0x7E0, 0xF800)}
for name, (bits, *rgb) in masks.items():
    files[f"mask_{name}.bmp"] = bmp(13, 6, bits, rows(13, 6, bits), compression=3, extra=struct.pack("<III", *rgb))
for name, four in {"rgba": (0xFF, 0xFF00, 0xFF0000, 0xFF000000), "bgra": (0xFF0000, 0xFF00, 0xFF, 0xFF000000), "abgr": (0xFF000000, 0xFF0000, 0xFF00, 0xFF),
                   "bgar": (0xFF000000, 0xFF00, 0xFF, 0xFF0000), "zero": (0, 0, 0, 0)}.items():
    files[f"mask4_{name}.bmp"] = bmp(13, 6, 32, rows(13, 6, 32), compression=3, header=56, extra=struct.pack("<IIII", *four))
files["rle8.bmp"] = bmp(8, 4, 8, bytes([8, 7, 0, 0, 3, 9, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0, 0, 2, 2, 0, 6, 200, 0, 0, 4, 1, 4, 2, 0, 1]), compression=1, palette=colors)
files["rle4.bmp"] = bmp(8, 4, 4, bytes([8, 0x5A, 0, 0, 3, 0x12, 0, 5, 0x12, 0x34, 0x50, 0, 0, 0, 8, 0xFF, 0, 0, 20, 0x3C, 0, 1]), compression=2, palette=colors[:64])
files["rle8_short.bmp"] = bmp(8, 4, 8, bytes([8, 7, 0, 0, 0, 1]), compression=1, palette=colors)
files["cut.bmp"] = files["b24.bmp"][:-4]
files["jpeg.bmp"] = bmp(8, 4, 24, b"\0" * 96, compression=4)
files["b2.bmp"] = bmp(8, 4, 2, b"\0" * 96, palette=colors[:16])
files["header.bmp"] = files["b24.bmp"][:14] + b"\x29" + files["b24.bmp"][15:]

# GIF
save("p.gif", p.quantize(64), format="GIF")
save("gray.gif", gray, format="GIF")
save("bits.gif", gray.convert("1"), format="GIF")
save("plain.gif", p.quantize(64), format="GIF", interlace=0)
save("transparent.gif", p.quantize(16), format="GIF", transparency=3)
save("gray_transparent.gif", gray, format="GIF", transparency=100)
save("animation.gif", p.quantize(16), format="GIF", save_all=True, append_images=[picture(37, 23).quantize(8)], duration=50)
whole = bytearray(files["plain.gif"])
at = whole.index(b"\x2c", 13 + 3 * 64)
moved = bytearray(whole)
moved[at + 1:at + 5] = struct.pack("<HH", 5, 9)  # the frame leaves the canvas
files["moved.gif"] = bytes(moved)
large = bytearray(whole)
large[6:10] = struct.pack("<HH", 60, 40)  # the canvas is larger than its frame
files["large.gif"] = bytes(large)
files["cut.gif"] = bytes(whole[:len(whole) * 2 // 3])
files["no_picture.gif"] = bytes(whole[:at]) + b";"
files["no_end.gif"] = bytes(whole[:-1])

# TIFF
for name, image in (("rgb", p), ("gray", gray), ("bits", gray.convert("1")), ("palette", p.quantize(100)), ("rgba", rgba), ("la", la), ("cmyk", p.convert("CMYK")), ("wide", wide_gray)):
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        save(f"{name}_{compression}.tif", image, format="TIFF", compression=compression)
save("group4.tif", gray.convert("1"), format="TIFF", compression="group4")
save("jpeg.tif", p, format="TIFF", compression="jpeg", quality=80)
save("jpeg_gray.tif", gray, format="TIFF", compression="jpeg", quality=80)
save("pages.tif", p, format="TIFF", save_all=True, append_images=[gray])
save("float.tif", gray.convert("F"), format="TIFF")
save("int.tif", gray.convert("I"), format="TIFF")
save("lab.tif", Image.merge("LAB", p.split()), format="TIFF")
save("ycbcr.tif", p.convert("YCbCr"), format="TIFF")
for orientation in range(2, 9):
    save(f"turned{orientation}.tif", p, format="TIFF", compression="tiff_lzw", tiffinfo={274: orientation})
    save(f"turned{orientation}_raw.tif", p, format="TIFF", tiffinfo={274: orientation})
files["cut.tif"] = files["rgb_raw.tif"][:200]


def tiff(order, tags, strips, tile=False):
    """A TIFF by hand: tags {number: (type, values)}, then the strips' or tiles' bytes."""
    n = order
    sizes = {1: 1, 3: 2, 4: 4}
    tags = dict(tags)
    offsets, counts = (324, 325) if tile else (273, 279)
    tags[offsets] = (4, [0] * len(strips))
    tags[counts] = (4, [len(s) for s in strips])
    at = 8 + 2 + 12 * len(tags) + 4
    blob, entries = b"", []
    place = {}
    for number in sorted(tags):
        kind, values = tags[number]
        data = b"".join(struct.pack(n + {1: "B", 3: "H", 4: "I"}[kind], v) for v in values)
        if len(data) > 4:
            place[number] = at + len(blob)
            blob += data + b"\0" * (len(data) % 2)
            data = struct.pack(n + "I", place[number])
        entries.append([number, kind, len(values), data.ljust(4, b"\0")])
    start = at + len(blob)
    where = [start + sum(len(s) for s in strips[:i]) for i in range(len(strips))]
    packed = b"".join(struct.pack(n + "I", w) for w in where)
    for entry in entries:
        if entry[0] == offsets:
            if offsets in place:
                shift = place[offsets] - at
                blob = blob[:shift] + packed + blob[shift + len(packed):]
            else:
                entry[3] = packed
    head = (b"II*\0" if n == "<" else b"MM\0*") + struct.pack(n + "I", 8) + struct.pack(n + "H", len(entries))
    return head + b"".join(struct.pack(n + "HHI", *e[:3]) + e[3] for e in entries) + b"\0\0\0\0" + blob + b"".join(strips)


def base(width, height, bits, photometric, spp, **more):
    tags = {256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * spp), 259: (3, [1]), 262: (3, [photometric]), 277: (3, [spp]), 278: (4, [height])}
    tags.update({int(k[1:]): v for k, v in more.items()})
    return tags


for order, word in (("<", "ii"), (">", "mm")):
    for bits in (1, 2, 4, 8):
        size = (13 * bits + 7) // 8 * 6
        data = bytes(rng.randrange(256) for _ in range(size))
        for photometric in (0, 1):
            files[f"{word}_gray{bits}_{photometric}.tif"] = tiff(order, base(13, 6, bits, photometric, 1), [data])
        ramp = [rng.randrange(65536) for _ in range(3 << bits)]
        files[f"{word}_palette{bits}.tif"] = tiff(order, base(13, 6, bits, 3, 1, t320=(3, ramp)), [data])
    wide = b"".join(struct.pack(order + "H", v) for v in samples(13 * 6 * 4, 65535))
    low = b"".join(struct.pack(order + "H", v) for v in samples(13 * 6, 400))
    files[f"{word}_gray16.tif"] = tiff(order, base(13, 6, 16, 1, 1), [low])
    files[f"{word}_gray16_white.tif"] = tiff(order, base(13, 6, 16, 0, 1), [low])
    files[f"{word}_rgb16.tif"] = tiff(order, base(13, 6, 16, 2, 3), [wide[:13 * 6 * 6]])
    files[f"{word}_rgba16.tif"] = tiff(order, base(13, 6, 16, 2, 4, t338=(3, [2])), [wide])
    for kind in (0, 1, 2):
        files[f"{word}_rgbx{kind}.tif"] = tiff(order, base(13, 6, 8, 2, 4, t338=(3, [kind])), [body[:0] + bytes(rng.randrange(256) for _ in range(13 * 6 * 4))])
        files[f"{word}_grayx{kind}.tif"] = tiff(order, base(13, 6, 8, 1, 2, t338=(3, [kind])), [bytes(rng.randrange(256) for _ in range(13 * 6 * 2))])
    files[f"{word}_rgba_unsaid.tif"] = tiff(order, base(13, 6, 8, 2, 4), [bytes(rng.randrange(256) for _ in range(13 * 6 * 4))])
    files[f"{word}_cmyk.tif"] = tiff(order, base(13, 6, 8, 5, 4), [bytes(rng.randrange(256) for _ in range(13 * 6 * 4))])
    planes = [bytes(rng.randrange(256) for _ in range(13 * 6)) for _ in range(3)]
    files[f"{word}_planes.tif"] = tiff(order, base(13, 6, 8, 2, 3, t284=(3, [2])), planes)
    tags = base(40, 20, 8, 2, 3, t322=(4, [16]), t323=(4, [16]))
    del tags[278]
    files[f"{word}_tiles.tif"] = tiff(order, tags, [bytes(rng.randrange(256) for _ in range(16 * 16 * 3)) for _ in range(6)], tile=True)
    strips = base(13, 6, 8, 2, 3)
    strips[278] = (4, [4])
    files[f"{word}_strips.tif"] = tiff(order, strips, [bytes(rng.randrange(256) for _ in range(13 * 4 * 3)), bytes(rng.randrange(256) for _ in range(13 * 2 * 3))])


# PNG: what Pillow forgives and what not
def chunk(kind, data, crc=None):
    return len(data).to_bytes(4, "big") + kind + data + (zlib.crc32(kind + data) if crc is None else crc).to_bytes(4, "big")


magic = b"\x89PNG\r\n\x1a\n"
ihdr = struct.pack(">IIBBBBB", 12, 9, 8, 2, 0, 0, 0)
raw = b"".join(b"\0" + bytes(rng.randrange(256) for _ in range(36)) for _ in range(9))
idat = zlib.compress(raw)
end = chunk(b"IEND", b"")
files["crc_idat.png"] = magic + chunk(b"IHDR", ihdr) + chunk(b"IDAT", idat, 1) + end
files["crc_idat2.png"] = magic + chunk(b"IHDR", ihdr) + chunk(b"IDAT", idat[:50], 1) + chunk(b"IDAT", idat[50:], 2) + end
files["crc_ihdr.png"] = magic + chunk(b"IHDR", ihdr, 1) + chunk(b"IDAT", idat) + end
files["crc_text.png"] = magic + chunk(b"IHDR", ihdr) + chunk(b"tEXt", b"a\0b", 1) + chunk(b"IDAT", idat) + end
files["crc_text_after.png"] = magic + chunk(b"IHDR", ihdr) + chunk(b"IDAT", idat) + chunk(b"tEXt", b"a\0b", 1) + end
files["crc_iend.png"] = magic + chunk(b"IHDR", ihdr) + chunk(b"IDAT", idat) + chunk(b"IEND", b"", 1)
files["no_iend.png"] = magic + chunk(b"IHDR", ihdr) + chunk(b"IDAT", idat)
files["no_idat_crc.png"] = files["no_iend.png"][:-4]
files["no_adler.png"] = files["no_iend.png"][:-8]
files["bad_adler.png"] = magic + chunk(b"IHDR", ihdr) + chunk(b"IDAT", idat[:-1] + b"!") + end
files["cut_iend.png"] = magic + chunk(b"IHDR", ihdr) + chunk(b"IDAT", idat) + end[:6]
files["junk_after.png"] = magic + chunk(b"IHDR", ihdr) + chunk(b"IDAT", idat) + end + b"junk" * 9
files["cut_pixels.png"] = magic + chunk(b"IHDR", ihdr) + chunk(b"IDAT", idat)[:150]
files["cut_text_after.png"] = magic + chunk(b"IHDR", ihdr) + chunk(b"IDAT", idat) + chunk(b"tEXt", b"a\0b" * 20)[:30]
files["text_claims_1GB.png"] = magic + chunk(b"IHDR", ihdr) + (1 << 30).to_bytes(4, "big") + b"tEXt" + b"a\0b"
files["bad_name.png"] = magic + chunk(b"IHDR", ihdr) + chunk(b"a b\1", b"") + chunk(b"IDAT", idat) + end
files["unknown.png"] = magic + chunk(b"IHDR", ihdr) + chunk(b"zzZz", b"abc") + chunk(b"IDAT", idat) + chunk(b"zzZz", b"abc") + end


def over_white(image):
    if image.mode == "RGB":
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255)), image).convert("RGB")


lines = []
for name, data in files.items():
    (out / name).write_bytes(data)
    try:
        for rule, convert in (("drop", lambda image: image.convert("RGB")), ("white", over_white)):
            image = convert(Image.open(io.BytesIO(data)))
            lines.append(f"decode {name} {rule} {image.width} {image.height} {zlib.crc32(image.tobytes())}")
    except Exception as error:
        print(name, type(error).__name__, error)
        lines.append(f"refuse {name}")
(out / "cases.txt").write_text("\n".join(lines) + "\n")
print(len(files), "pictures,", len(lines), "cases")
