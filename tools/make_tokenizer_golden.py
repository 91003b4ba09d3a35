#!/usr/bin/env python3
"""Writes texts and the token ids that Hugging Face's fast CLIP tokenizer gives them.

    make_tokenizer_golden.py FOLDER_WITH_VOCAB_AND_MERGES infer/tokenizer_clip.txt
    tar --sort=name --owner=0 --group=0 --mtime=@0 -c infer/tokenizer_clip.txt | xz -9e > tests/golden/tokenizer-clip.tar.xz

Each line is the text's UTF-8 bytes in hexadecimal, a space, and its ids (bos, ids, eos; cut at 77) with commas between.
Made with transformers 5.23.0, tokenizers 0.23.3.
"""
import random
import sys
import unicodedata

from transformers import CLIPTokenizerFast

HAND = [
    "", " ", "a", "a dog", "A Photo of a CAT.", "two red squares on a blue background!", "  leading and trailing  ",
    "tabs\tand\nnew\r\nlines\x0b\x0c", "nbsp\u00a0ogham\u1680en\u2003thin\u2009zero\u200bwidth\u2028line\u2029para\u202f\u205f\u3000ideo",
    "\x85next line", "\x00", "a\x00b", "\x01\x02\x1b[31m", "\x7f\x80\x9f", "\ufeffBOM", "\ufffd", "\ue000\uf8ff", "\U000f0000\U0010ffff",
    "\ufdd0\ufffe\uffff", "it's we're I'm they'll you've he'd can't", "IT'S WE'RE I'M", "'s", "''s", "!'s", "'", "''", "'x", "'l", "'ll'll", "o'r'e've",
    "“smart” ‘quotes’ … — –", "naïve &amp; &lt;b&gt;", "ﬁ ﬂ ﬃ ﬆ", "İstanbul ISTANBUL ıI", "I\u0307 i\u0307 İ", "Straße STRASSE ẞ ß", "ΑΣ ΣΑΣ σς Σ", "ǅ ǈ ǋ ǲ",
    "e\u0301 é E\u0301 É", "a\u0323\u0302 a\u0302\u0323 ậ", "\u0301alone", "q\u0307\u0323", "q\u0323\u0307", "\u1100\u1161\u11a8 각 \u1100\u1161", "Å \u212b A\u030a",
    "Ω \u2126", "K \u212a", "\u0344 \u0340 \u0374 \u037e \u0387", "\u0958 \u09dc \u2adc", "क्षत्रिय हिन्दी", "தமிழ்", "ไทยแลนด์", "မြန်မာ", "ខ្មែរ", "한국어 조선말", "日本語のテキスト", "中文字符测试", "𠀀𠀁 𪚥", "ＦＵＬＬ　ｗｉｄｔｈ１２３",
    "العربية ١٢٣ والفارسية ۴۵۶", "עברית שָׁלוֹם", "Русский ТЕКСТ Ёё", "Ελληνικά ΆΈΉ", "Հայերեն", "ქართული ᲥᲐᲠᲗᲣᲚᲘ", "ᏣᎳᎩ ꭰꭱ", "ⲁⲂ Ⲃ", "𐐀𐐨 𞤀𞤢", "Ⅷ ⅷ ① ② Ⓐ ⓐ ½ ¾ ²³ ₁",
    "1234567890", "3.14159 1,000,000 1e-5", "v2.0.1-rc1", "😀", "😀😃😄", "👨‍👩‍👧‍👦", "👍🏽", "🇩🇪🇫🇷", "❤️ ❤", "🏳️‍🌈", "#️⃣ *️⃣ 1️⃣", "☺︎", "🧑🏿‍🚀 on the 🌕",
    "<|startoftext|>", "<|endoftext|>", "<|STARTOFTEXT|>", "<|EndOfText|>", "a<|endoftext|>b", "x <|startoftext|> y", "<|endoftext|><|endoftext|>", "<|endoftext|>!", "!<|endoftext|>",
    "<|endoftext", "<|endoftext|", "|endoftext|>", "<<|endoftext|>>", "<|end of text|>", "<|endoftext|>'s", "<|pad|>", "<|ENDOFTEXT|><|startoftext|>tail", "</w>", "a</w> b</w>",
    "<|İ|>", "<|ſtartoftext|>", "<|startoftext\u200b|>", "<|endoftext|>" * 80, "dog " * 100, "supercalifragilisticexpialidocious " * 20,
    "a" * 5000, "ab" * 2500, "é" * 5000, "!" * 5000, "1" * 5000, " " * 5000, "\u0301" * 5000, "😀" * 1250, "aA " * 1700, "zxq" * 1700, ("x" * 74 + " ") * 60,
    "http://example.com/a?b=c&d=e#f", "user@example.com", "C:\\path\\to\\file", "$100 €5 £3 ¥9 ₿1", "a_b-c.d,e;f:g", "(a)[b]{c}<d>", "~!@#$%^&*()_+`-=[]\\{}|;':\",./<>?",
    "café CAFÉ cafe\u0301", "Ǆ ǅ ǆ", "ᾼ ᾳ ᾈ", "ŉ ǰ ΐ", "ᲀ Ა ა", "Ა", "ⴀ Ⴀ", "ꙀꙁꙊꙋ", "ⓂⓜⅯⅿ", "ɫ Ɫ", "\u0345 \u0399 \u1fbe", "ﬀ", "\u00ad soft\u00adhyphen", "\u2060\u2061 word\u2060joiner",
    "\u202eRTL override\u202c", "\u0600\u06dd sign", "\u1c89\u1c8a \ua7cb \U00010d50\U00010d70 \U000105c0 \U0002ebf0\U0002ee5d \U00016d70", "\U00016ea0 \ua7ce\ua7d2",
    "e\u0301\u0301\u0301\u0301", "Z̸̡͖̞a̴l̶g̷ö̵ t̶e̸x̵t̷", "\u0f71\u0f72\u0f74 \u0f73", "\u1d15e \U0001d15e", "각\u11a8", "\u09c7\u09be \u0b47\u0b3e", "\u11099\u110ba \U00011099\U000110ba",
]

WORDS = ("a the of photo dog cat red blue small large very man woman child standing sitting next to with and under over "
         "water sky bright dark black white street city forest unbelievable antidisestablishmentarianism xylophone zzz qwrtp "
         "iPhone McDonald's rock'n'roll O'Neill 4k 80's it's 1st 22nd A.I. U.S.A. e-mail co-op #hashtag @user").split()
SCRIPTS = [(0x20, 0x7e), (0xa0, 0x24f), (0x250, 0x36f), (0x370, 0x3ff), (0x400, 0x52f), (0x530, 0x5ff), (0x600, 0x6ff), (0x900, 0x97f), (0xe00, 0xe7f),
           (0x10a0, 0x10ff), (0x1100, 0x11ff), (0x13a0, 0x13ff), (0x1c80, 0x1cbf), (0x1e00, 0x1fff), (0x2000, 0x206f), (0x2070, 0x218f), (0x2460, 0x24ff), (0x2600, 0x27bf),
           (0x2c00, 0x2dff), (0x3000, 0x30ff), (0x4e00, 0x4fff), (0xa640, 0xa7ff), (0xab30, 0xabbf), (0xac00, 0xad00), (0xfb00, 0xfb4f), (0xfe00, 0xfe2f), (0xff00, 0xffef),
           (0x10400, 0x1044f), (0x1d400, 0x1d7ff), (0x1e900, 0x1e95f), (0x1f300, 0x1f6ff), (0x1f900, 0x1f9ff), (0, 0x1f), (0x7f, 0x9f), (0xe000, 0xe010), (0xe0100, 0xe01ef)]
GLUE = [" ", "  ", "\t", "\n", "\u00a0", "\u3000", "\u200d", "\u0301", "\u0323", "\ufe0f", "'", "'s", "'ll", "!", "...", "-", "1", "٣", "<|endoftext|>", "<|StartOfText|>", "<|", "|>", "İ", "Σ", "ß", "", ""]


def corpus():
    rng = random.Random(20260101)
    yield from HAND
    for _ in range(500):  # sentences
        yield rng.choice(["", " "]).join(
            rng.choice([str.lower, str.upper, str.title, str])(rng.choice(WORDS)) + rng.choice(["", " ", " ", " ", ", ", ". ", "  ", "! "])
            for _ in range(rng.randint(1, 30)))
    for low, high in SCRIPTS:  # every block, alone and mixed
        for _ in range(12):
            yield "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 24)))
    for _ in range(500):
        parts = []
        for _ in range(rng.randint(1, 12)):
            low, high = rng.choice(SCRIPTS)
            parts.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 4))))
            parts.append(rng.choice(GLUE))
        yield "".join(parts)
    marks = [c for c in range(0x300, 0x370)] + [0x5b0, 0x5b1, 0x64b, 0x651, 0x93c, 0xe38, 0x3099, 0x302a, 0x1dc0, 0x20d0]
    for _ in range(150):  # decomposed and marked in any order
        base = rng.choice("aeiouAEIOUyncsz\u03b1\u03b9\u0399\u0435\u0438\u304b\u1100")
        yield unicodedata.normalize(rng.choice(["NFD", "NFC"]), base + "".join(chr(rng.choice(marks)) for _ in range(rng.randint(1, 6)))) + rng.choice(WORDS)
    digits = [c for c in range(0x110000) if not 0xd800 <= c < 0xe000 and unicodedata.category(chr(c)) in ("Nd", "Nl", "No")]
    for _ in range(100):
        yield "".join(chr(rng.choice(digits)) + rng.choice(["", "", "a", " "]) for _ in range(rng.randint(1, 15)))
    assigned = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cs", "Cn", "Co")]
    for _ in range(300):
        yield "".join(chr(rng.choice(assigned)) for _ in range(rng.randint(1, 20)))


def main():
    tokenizer = CLIPTokenizerFast.from_pretrained(sys.argv[1])
    texts = list(dict.fromkeys(corpus()))
    lines = [f"{t.encode().hex()} {','.join(map(str, tokenizer(t, truncation=True, max_length=77)['input_ids']))}\n" for t in texts]
    with open(sys.argv[2], "w") as out:
        out.writelines(lines)
    print(len(texts), "texts")


if __name__ == "__main__":
    main()
