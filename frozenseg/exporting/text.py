"""The text tower as files of its own, so that new words need no torch: text.onnx, tokenizer.json.

    text.onnx        tokens int64 (N, L), is_token bool (N, L) -> embeddings float32 (N, K)
    tokenizer.json   for the package `tokenizers`: cuts at the context length, pads to the longest

Texts are to be cleaned (`frozenseg.exporting.words.clean`) before CLIP's tokenizer takes them:
mojibake and HTML entities, which open_clip mends, are beyond what the file can say.

Legend: N prompts, L tokens, K channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import NFC, Lowercase, Replace, Strip
from tokenizers.normalizers import Sequence as Normalizers
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as PreTokenizers
from tokenizers.processors import TemplateProcessing

from frozenseg.encoders.text.clip_text import ClipText
from frozenseg.encoders.text.language import LanguageEncoder
from frozenseg.exporting.words import TEXT_GRAPH, TOKENIZER, WORD_END
from frozenseg.files import write_atomically


def export_text(text: LanguageEncoder, folder: Path) -> None:
    """Writes text.onnx and tokenizer.json of a text tower in float32."""
    example = [each.to(text.device) for each in text.tokenize(["a cat", "a traffic light"])]
    write_atomically(folder / TOKENIZER, lambda part: tokenizer_of(text).save(str(part)))
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with torch.no_grad():
        program: Any = torch.onnx.export(
            text,
            tuple(example),
            input_names=["tokens", "is_token"],
            output_names=["embeddings"],
            dynamic_shapes=(dynamic, dynamic),
            opset_version=20,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    write_atomically(folder / TEXT_GRAPH, program.save)


def tokenizer_of(text: LanguageEncoder) -> Tokenizer:
    """The tokenizer of a text tower: the same ids for every cleaned text."""
    if isinstance(text, ClipText):
        tokenizer = clip_tokenizer()
        padding: dict[str, Any] = {"pad_id": 0, "pad_token": tokenizer.id_to_token(0)}
    else:
        fast = text.tokenizer
        tokenizer = Tokenizer.from_str(fast.backend_tokenizer.to_str())
        padding = {"pad_id": fast.pad_token_id, "pad_token": fast.pad_token}
    tokenizer.enable_truncation(text.context_length)
    tokenizer.enable_padding(**padding)
    return tokenizer


def clip_tokenizer() -> Tokenizer:
    """open_clip's byte pair encoding, from its own vocabulary and merges.

    A text that spells a special token out becomes one, as in open_clip: there the whole word is
    looked up; here each has merges of its own, behind all others, that no other word can use.
    """
    from open_clip.tokenizer import _tokenizer as original

    ids = dict(original.encoder)
    merges = sorted(original.bpe_ranks, key=original.bpe_ranks.__getitem__)
    pieces = BPE(ids, merges, end_of_word_suffix=WORD_END)
    special = {}
    for number in original.all_special_ids:
        joined, *rest = (token.value for token in pieces.tokenize(original.decoder[number]))
        del ids[original.decoder[number]]
        for piece in rest:
            merges.append((joined, piece))
            joined += piece
            ids[joined] = original.vocab_size + len(merges)  # never given out, but for the last
        ids[joined] = special[joined] = number
    tokenizer = Tokenizer(BPE(ids, merges, end_of_word_suffix=WORD_END))
    # What it can say of the cleaning; `words.clean` does all of it.
    tokenizer.normalizer = Normalizers([NFC(), Replace(Regex(r"\s+"), " "), Strip(), Lowercase()])
    tokenizer.pre_tokenizer = PreTokenizers(
        [
            Split("\u0345", "removed"),  # the one character that Python's (?i) takes for a letter
            Split(Regex(f"(?i){original.pat.pattern}"), "removed", invert=True),
            ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    start, end = special
    tokenizer.post_processor = TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=list(special.items())
    )
    return tokenizer
