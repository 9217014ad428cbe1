"""Words of a benchmark other than its own table: the authors' released lists, or a file.

In this family the words are half of a score: a published one needs the list that it was measured
with. FC-CLIP's repository has the lists of FC-CLIP and FrozenSeg (Apache-2.0); they are fetched
into the cache and checked, and are not part of this project.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from frozenseg.data.catalog.rows import DATASET_SPLITS
from frozenseg.data.catalog.split import DatasetSplit, is_class_file
from frozenseg.errors import did_you_mean
from frozenseg.files import cache_folder, file_sha256
from frozenseg.vocab import Vocabulary

OWN = "own"
FCCLIP_SOURCE = (
    "https://raw.githubusercontent.com/bytedance/fc-clip/"
    "2b0bbe213070d44da9182530fa2e826fec03f974/fcclip/data/datasets"
)


class WordList(NamedTuple):
    """A released list: its file name and what its bytes hash to (SHA-256)."""

    file: str
    sha256: str


_FCCLIP = """
ade20k_150 ade20k_150 3204c154e2c524ce2575f873838893fc25d68c5c4f7973f2d4ee76d7e24bb781
ade20k_847 ade20k_847 173d44806d8b3ca94cfb8947f459e6ecdb90770387b3a4116fdd78e8e111d732
cityscapes cityscapes e4afc7fb7776a05213822333a48ad708448a0fd25eb819b2ea7ef253af164b43
coco_panoptic coco_panoptic 560169ea22202460c3b9427df387f8d1778e94dadecd38554da683e2097cda9f
coco_stuff_171 coco_stuff af860dc8362af7c7fed556b79014cfbf775b7ece2279b11317a16260cdca9bcb
lvis lvis_1203 7108477b1bdfca7c95d17f7b9e992250be9a6bd6dc704fcb4592484ac626dffd
mapillary_vistas mapillary_vistas 67d04273ba43538b4ae8c5c809951422982e3abd6eb2ee6ab2a2d063916e9c10
pascal_context_459 pascal_ctx_459 574ae7e3dc9decff20366696309c36d40502cda90204f7e94c96251559be5197
pascal_context_59 pascal_ctx_59 0bf48d67f93b15d331cbf36e112777cc3a407084e94e395b98fad8c67e50149a
pascal_voc_20 pascal_voc_21 9acddc0dc82ebb9167e23ac93b197c91794603ec320f5e30053f983d4fa23c21
pascal_voc_21 pascal_voc_21 9acddc0dc82ebb9167e23ac93b197c91794603ec320f5e30053f983d4fa23c21
"""
# Benchmark -> FC-CLIP's list. PASCAL-20 takes the list of 21 without its background.
FCCLIP = {
    benchmark: WordList(f"{stem}_with_prompt_eng.txt", sha256)
    for benchmark, stem, sha256 in map(str.split, _FCCLIP.strip().splitlines())
}
# Name of a set -> its lists and the address of their folder.
WORD_SETS = {"fcclip": (FCCLIP, FCCLIP_SOURCE)}


def check_words(words: str) -> None:
    """Raises ValueError unless `words` is "own", the name of a set, or looks like a class file."""
    known = (OWN, *WORD_SETS)
    if words not in known and not is_class_file(words):
        raise ValueError(
            f"DATASETS.WORDS is {words!r}: {did_you_mean(words, known)}it is one of "
            f"{', '.join(known)}, or a .txt, .tsv or .json file with the words of every class"
        )


def list_path(name: str, word_list: WordList) -> Path:
    """Where a released list of the set `name` is kept."""
    return cache_folder("words") / name / word_list.file


def words_file(row: DatasetSplit, words: str) -> Path | None:
    """The file with the words of `row`; None for its own.

    Args: words: "own", the name of a set, or a class file.
    Raises: ValueError for a benchmark of which the set has no list and for a list that is not the
        published one; FileNotFoundError with the remedy for a list that was not fetched.
    """
    if words == OWN:
        return None
    if words not in WORD_SETS:
        return Path(words).expanduser()
    lists, source = WORD_SETS[words]
    if row.benchmark not in lists:
        raise ValueError(
            f"DATASETS.WORDS {words}: there is no list for {row.name}; the set has lists for "
            f"{', '.join(lists)}; take DATASETS.WORDS own for it, or a file"
        )
    word_list = lists[row.benchmark]
    path = list_path(words, word_list)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: run `frozenseg data words get {words}`, or put there the file "
            f"{source}/{word_list.file}"
        )
    if (found := file_sha256(path)) != word_list.sha256:
        raise ValueError(
            f"{path} is not the published list (sha256 {found}, expected {word_list.sha256}): "
            f"delete it and run `frozenseg data words get {words}`"
        )
    return path


def with_words(vocabulary: Vocabulary, row: DatasetSplit, words: str) -> Vocabulary:
    """The classes of `row` under other names; raises what `words_file` and the file's reader do."""
    path = words_file(row, words)
    return vocabulary if path is None else vocabulary.with_words(path)


def about_words(row: DatasetSplit, words: str) -> dict[str, str]:
    """What results say of the words: the set or the file's name, and the hash of the list."""
    path = words_file(row, words)
    if path is None:
        return {"set": OWN}
    name = words if words in WORD_SETS else path.name
    return {"set": name, "file": path.name, "sha256": file_sha256(path)}


def words_for(row: DatasetSplit, words: str, trained_on: Collection[str]) -> str:
    """Which words `row` gets where DATASETS.WORDS is `words`.

    A set changes all benchmarks, also the one of the training: a class counts as seen where both
    lists have a name in common. A file is about what is evaluated: the datasets of `trained_on`
    keep their own words. So do your own datasets unless their `benchmark` has a list.
    """
    if words not in WORD_SETS:
        return OWN if set(row.names) & set(trained_on) else words
    lists, _ = WORD_SETS[words]
    return words if row.benchmark in lists or row in DATASET_SPLITS else OWN
