#!/usr/bin/env python3
"""Texts and their ids by transformers' SiglipTokenizer, for tests/unit/clip/sentencepiece_test.cc.

    make_sentencepiece_golden.py GOLDEN_FOLDER infer/sentencepiece
    tar --sort=name --owner=0 --group=0 --mtime=@0 -c infer/sentencepiece | xz -9e > tests/golden/sentencepiece.tar.xz

NAME.model, NAME.txt: a line a text, its ids, a tab, the text as a JSON string. `siglip` is the golden SigLIP's own model
(not copied), siglip.vocab.json its pieces; `bytes` has byte fallback, user-defined symbols and the identity table; `spaces` keeps
runs of spaces. Made with sentencepiece 0.2.3, transformers 5.23.0.
"""
import io
import json
import pathlib
import random
import sys

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from transformers import SiglipTokenizer

TEXTS = [
    "", " ", "a", "a photo of a cat", "A Photo, of a CAT!", "  leading and trailing  ", "tabs\tand\nnew\r\nlines", "\u3000wide\u00a0space",
    "naïve café", "e\u0301 composed", "\ufb01ne ligature", "１２３ full width ｱｲｳ", "日本語の写真", "中文图片", "한국어", "emoji 🙂 and 👩\u200d👩\u200d👧",
    "ΑΣ ΣΑΣ Σ ΟΔΥΣΣΕΎΣ.", "İstanbul ISPARTA ß ẞ", "<unk>", "</s>", "a</s>b", "a </s> b", "</s> a", "x <unk> y</s>", "<pad> z", "▁under▁line", "_a_b__c",
    "1234567890", "3.14 × 10² ½ ™", "don't won't it's", "state-of-the-art, e.g. this; that: those?", "\x1c\x1f control \x00 \x7f \u200b zero", "a" * 300,
    "word " * 100, "\u0130\u0307", "Ａ\u030a", "ﷺ", "\u1e9b\u0323", "mixed اللغة العربية text", "हिन्दी में", "ไทย", "\U0001d400\U0001d7d8", "a\u0300\u0301\u0302b",
    "“quotes” ‘single’ — dash…", "tab\t\t", "\n", ".", "?!", "- -", "a . b", "<sep> here<sep>there", "http://example.org/a?b=c&d=%20",
]
SENTENCES = [
    "a photo of a dog on the beach", "a small red bicycle leaning on a wall", "two cats sleeping on a blue sofa", "the quick brown fox jumps over the lazy dog",
    "an old photograph of the city at night", "a drawing of a tree with yellow leaves", "people walking in the rain with umbrellas", "a bowl of fresh fruit on the table",
    "a train crossing the bridge in winter", "a child holding a balloon", "the museum of modern art", "naïve café résumé", "1 2 3 4 5 6 7 8 9 10", "mountains and rivers without end",
]


def ids(tokenizer, text):
    return tokenizer(text)["input_ids"]


def write(out, name, folder):
    tokenizer = SiglipTokenizer(str(folder), model_max_length=100000)
    random.seed(7)
    words = " ".join(SENTENCES).split() + ["!", "É", "ß", "日", "🙂", "\t", "Σ", "</s>", "ﬁ"]
    texts = TEXTS + [" ".join(random.choices(words, k=random.randrange(1, 12))) for _ in range(150)]
    lines = [" ".join(map(str, ids(tokenizer, text))) + "\t" + json.dumps(text) for text in texts]
    (out / f"{name}.txt").write_text("\n".join(lines) + "\n")


def train(out, name, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([s for s in SENTENCES for _ in range(3)]), model_writer=model, model_type="unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        hard_vocab_limit=False, minloglevel=2, **options)
    (out / f"{name}.model").write_bytes(model.getvalue())
    write(out, name, out / f"{name}.model")


def main():
    golden, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    write(out, "siglip", golden / "siglip/hf_siglip/spiece.model")
    model = sentencepiece_model_pb2.ModelProto.FromString((golden / "siglip/hf_siglip/spiece.model").read_bytes())
    vocab = [[p.piece, p.score] for p in model.pieces]  # of the tokenizer.json that the test composes
    (out / "siglip.vocab.json").write_text(json.dumps(vocab) + "\n")
    train(out, "bytes", vocab_size=420, byte_fallback=True, user_defined_symbols=["<sep>", "dog"], normalization_rule_name="identity")
    train(out, "spaces", vocab_size=120, remove_extra_whitespaces=False, normalization_rule_name="identity")


main()
