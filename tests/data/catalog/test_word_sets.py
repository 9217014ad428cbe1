"""Words of a benchmark from a released set or a file: only the names change."""

from __future__ import annotations

import hashlib
import shutil

import pytest
from detectron2.data import MetadataCatalog

from frozenseg.config import get_config
from frozenseg.data.catalog import word_sets
from frozenseg.data.catalog.lookup import find_split, row_vocabulary, splits_of
from frozenseg.data.catalog.register import register_datasets, register_splits
from frozenseg.data.catalog.word_sets import FCCLIP, WordList, about_words, with_words, words_file
from frozenseg.vocab import Vocabulary, VocabularyClass, seen_classes
from frozenseg.vocab.class_tables import table_names

PASCAL = find_split("openvocab_pascal20_sem_seg_val")
COCO = "openvocab_coco_2017_train_panoptic_with_sem_seg"
# Benchmark -> classes, first and last name of the authors' list.
RELEASED = {
    "ade20k_150": (150, "wall", "flag"),
    "ade20k_847": (847, "wall", "adding machine"),
    "cityscapes": (19, "road", "bicycle"),
    "coco_panoptic": (133, "person", "rug"),
    "coco_stuff_171": (171, "person", "wood"),
    "lvis": (1203, "aerosol can", "zucchini"),
    "mapillary_vistas": (65, "bird", "ego vehicle"),
    "pascal_context_459": (459, "accordion", "wool"),
    "pascal_context_59": (59, "aeroplane", "wood piece"),
    "pascal_voc_20": (20, "aeroplane", "tvmonitor"),
    "pascal_voc_21": (21, "background", "tvmonitor"),
}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache; the way to its lists."""
    monkeypatch.setenv("FROZENSEG_CACHE", str(tmp_path))
    return tmp_path / "words/fcclip"


@pytest.fixture
def voc_list(cache, monkeypatch):
    """A list of the shape of PASCAL-21's as a released one."""
    rows = ["0:background,wall", *(f"{i}:word {i},other {i}" for i in range(1, 21))]
    path = cache / FCCLIP["pascal_voc_20"].file
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(rows))
    entry = WordList(path.name, hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setitem(FCCLIP, "pascal_voc_20", entry)
    return path


def config(words, *trained_on):
    cfg = get_config()
    cfg.DATASETS.WORDS, cfg.DATASETS.TRAIN = words, trained_on
    return cfg


@pytest.fixture(autouse=True)
def own_words_again():
    yield
    register_splits()


@pytest.mark.parametrize("benchmark", FCCLIP)
def test_the_authors_lists_fit_their_benchmarks(benchmark, cache, shared_dir):
    shutil.copytree(shared_dir / "words/fcclip", cache)
    row = splits_of(benchmark, "val")[0]
    count, first, last = RELEASED[benchmark]
    if benchmark in table_names():
        own = row_vocabulary(row)
    else:  # from a file of the dataset
        own = Vocabulary(
            tuple(
                VocabularyClass(f"own {i}", (f"own {i}",), None, (0, 0, i % 256))
                for i in range(count)
            )
        )
    changed = with_words(own, row, "fcclip")
    assert len(changed) == count
    assert (changed.names[0], changed.names[-1]) == (first, last)
    assert changed.digest != own.digest
    for key in ("thing_mask", "colors", "dataset_ids"):
        assert getattr(changed, key) == getattr(own, key)
    assert [c.official for c in changed.classes] == [c.official for c in own.classes]


def test_names_change_and_nothing_else(voc_list):
    own = row_vocabulary(PASCAL)
    changed = with_words(own, PASCAL, "fcclip")
    assert changed.synonyms[0] == ("word 1", "other 1")  # without PASCAL-21's background
    assert changed.colors == own.colors
    about = about_words(PASCAL, "fcclip")
    assert about == {
        "set": "fcclip",
        "file": voc_list.name,
        "sha256": hashlib.sha256(voc_list.read_bytes()).hexdigest(),
    }
    assert about_words(PASCAL, "own") == {"set": "own"}
    assert with_words(own, PASCAL, "own") is own


def test_a_list_that_is_missing_changed_or_not_there_is_named(voc_list):
    with pytest.raises(FileNotFoundError, match=r"frozenseg data words get fcclip.*https://.*ade"):
        words_file(find_split("openvocab_ade20k_panoptic_val"), "fcclip")
    voc_list.write_text(voc_list.read_text() + "\n")
    with pytest.raises(ValueError, match=r"not the published list.*delete it"):
        words_file(PASCAL, "fcclip")
    with pytest.raises(ValueError, match=r"no list for bdd10k_40_panoptic_val.*ade20k_150"):
        words_file(find_split("bdd10k_40_panoptic_val"), "fcclip")


@pytest.mark.parametrize(
    ("words", "message"),
    [("fclip", r"did you mean fcclip\?"), ("", "own, fcclip, or a"), ("cat; dog", "own, fcclip")],
)
def test_unknown_words_are_refused(words, message):
    with pytest.raises(ValueError, match=rf"DATASETS.WORDS is '{words}'.*{message}"):
        register_datasets(config(words))


def test_a_set_renames_the_training_too_and_a_file_only_what_is_evaluated(
    voc_list, tmp_path, monkeypatch
):
    register_datasets(config("fcclip", COCO))
    assert MetadataCatalog.get(PASCAL.name).vocabulary.names[0] == "word 1"
    with pytest.raises(FileNotFoundError, match="coco_panoptic_with_prompt_eng"):
        _ = MetadataCatalog.get(COCO).vocabulary
    own_coco = row_vocabulary(find_split(COCO))
    words = tmp_path / "mine.txt"
    words.write_text("\n".join(["person", *(f"thing {i}" for i in range(19))]))
    register_datasets(config(str(words), COCO))
    changed = MetadataCatalog.get(PASCAL.name)
    assert changed.vocabulary.names[:2] == ("person", "thing 0")
    assert changed.words["set"] == "mine.txt"
    assert MetadataCatalog.get(COCO).vocabulary == own_coco
    assert seen_classes(changed.vocabulary, own_coco)[:2] == [True, False]
    with pytest.raises(ValueError, match=r"mine.txt: 20 classes, but 150 are needed"):
        _ = MetadataCatalog.get("openvocab_ade20k_panoptic_val").vocabulary


def test_own_datasets_keep_their_words_unless_their_benchmark_has_a_list(voc_list, tmp_path):
    file = tmp_path / "mine.yaml"
    entry = "{name: NAME, images: i, semantic_masks: m, classes: CLASSES}"
    voc = ", ".join(f"own {i}" for i in range(20))
    rows = [
        entry.replace("NAME", "words_mine").replace("CLASSES", "[cat, dog]"),
        entry.replace("NAME", "words_voc, benchmark: pascal_voc_20").replace("CLASSES", f"[{voc}]"),
    ]
    file.write_text("\n".join(f"- {row}" for row in rows))
    cfg = config("fcclip")
    cfg.DATASETS.FILES = [str(file)]
    register_datasets(cfg)
    assert MetadataCatalog.get("words_mine").vocabulary.names == ("cat", "dog")
    assert MetadataCatalog.get("words_mine").words == {"set": "own"}
    assert MetadataCatalog.get("words_voc").vocabulary.names[0] == "word 1"


def test_the_lists_are_those_of_the_table_of_hashes(shared_dir):
    for word_list in FCCLIP.values():
        content = (shared_dir / "words/fcclip" / word_list.file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == word_list.sha256
    assert word_sets.WORD_SETS["fcclip"][0] is FCCLIP
