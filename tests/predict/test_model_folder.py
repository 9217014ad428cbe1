"""Models as folders: what is written, and that the same model comes back."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import frozenseg
from frozenseg.checkpoints.join import join_adapter
from frozenseg.cli.main import main
from frozenseg.files import PACKAGE, PACKAGED_WEIGHTS, file_digest
from frozenseg.predict.predictor import Predictor
from frozenseg.predict.segmenter import Segmenter
from tests.predict.hub_server import serving
from tests.predict.test_segmenter import StripesModel

SCENE = frozenseg.sample_image()
MANIFEST = "frozenseg.json"
OPENAI = f"openai:{PACKAGED_WEIGHTS / 'miniature_clip.safetensors'}"  # another activation
PROPOSALS = (
    "TEST.USE_SAM_MASKS True TEST.SAM_MASKS_AS_QUERIES True "
    "TEST.SAM_MASK_GENERATION.POINTS_PER_SIDE 2"
)


def results_of(segmenter):
    """All numbers of the results of every task, and of words that were not there before."""
    calls = [*((None, task) for task in segmenter.tasks), ("blue heart; brick:stuff", "semantic")]
    corner = np.asarray(Image.open(SCENE).convert("RGB"))[:128, :160]
    found = [segmenter(corner, words, task) for words, task in calls]
    return [
        (
            each.label_map.tobytes(),
            [(one.name, one.score, one.area, one.box) for one in each.segments],
        )
        for each in found
    ]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of the miniature FC-CLIP."""
    folder = tmp_path_factory.mktemp("models") / "small"
    return frozenseg.load("miniature-fcclip", device="cpu").save_pretrained(folder)


@pytest.fixture
def copy(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def edit(folder, change):
    content = json.loads((folder / MANIFEST).read_text())
    change(content)
    (folder / MANIFEST).write_text(json.dumps(content))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "opts"),
    [
        ("miniature-fcclip", ()),
        (
            "miniature-frozenseg",
            ("TEST.USE_SAM_MASKS", "True", "TEST.SAM_MASKS_AS_QUERIES", "True"),
        ),
        ("miniature-fusioner", ()),
        ("miniature/frozenseg_mask_adapter.yaml", ("MODEL.FROZEN_SEG.VOID_TRUST", "0.5")),
        ("miniature/fusioner_vit_bert.yaml", ()),
        ("miniature/fcclip.yaml", ("MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS", OPENAI)),
    ],
)
def test_a_saved_model_gives_the_same_bits(name, opts, tmp_path):
    weights = "" if name.endswith("bert.yaml") else None  # random parts are parts as well
    if name.endswith("fcclip.yaml"):
        weights = "miniature-fcclip"
    if name.endswith("adapter.yaml"):
        weights = tmp_path / "joined.safetensors"
        files = (f"miniature_{part}.safetensors" for part in ("mask_adapter", "frozenseg"))
        join_adapter(*(PACKAGED_WEIGHTS / file for file in files), weights)
    torch.manual_seed(0)
    opts = [*opts, "INPUT.MIN_SIZE_TEST", "128"]
    model = frozenseg.load(name, weights, device="cpu", opts=opts)
    model.set_vocabulary("red circle; yellow cross, cross; sand:stuff")
    want = results_of(model)
    folder = model.save_pretrained(tmp_path / "model")
    torch.manual_seed(1)
    back = frozenseg.load(folder, device="cpu")
    assert back.vocabulary == model.vocabulary
    assert back.predictor.model.train_vocabulary == model.predictor.model.train_vocabulary
    assert results_of(back) == want

    again = back.save_pretrained(tmp_path / "again")  # the same bytes, origins and licences
    for file in (path for path in folder.rglob("*") if path.is_file()):
        assert (again / file.relative_to(folder)).read_bytes() == file.read_bytes() or (
            file.name in (MANIFEST, "README.md")
        )
    first, second = (json.loads((each / MANIFEST).read_text()) for each in (folder, again))
    assert second["parts"] == first["parts"]
    assert {key for key in first if first[key] != second[key]} <= {"name"}


@pytest.mark.slow
def test_it_loads_where_neither_configs_nor_weights_nor_a_network_are(saved, tmp_path):
    site, away = tmp_path / "site", tmp_path / "away"
    left_out = shutil.ignore_patterns("weights", "samples", "__pycache__", "configs")
    shutil.copytree(PACKAGE, site / "frozenseg", ignore=left_out)
    away.mkdir()
    moved = Path(shutil.copytree(saved, tmp_path / "moved"))
    program = (
        "import sys, numpy as np, frozenseg\n"
        "model = frozenseg.load(sys.argv[1], device='cpu')\n"
        "np.save('labels.npy', model(sys.argv[2]).label_map)\n"
        "print(frozenseg.__file__)\n"
    )
    environment = {
        **{key: value for key, value in os.environ.items() if key != "DETECTRON2_DATASETS"},
        "PYTHONPATH": str(site),
        "HF_HUB_OFFLINE": "1",
        "FROZENSEG_CACHE": str(away / "cache"),
        "HOME": str(away),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(moved), str(SCENE)],
        cwd=away,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(site))
    want = frozenseg.load("miniature-fcclip", device="cpu")(SCENE).label_map
    assert np.array_equal(np.load(away / "labels.npy"), want)


def test_what_is_in_the_folder(saved):
    assert {path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()} == {
        *(MANIFEST, "README.md", "model.safetensors", "files/miniature_clip.json")
    }
    manifest = json.loads((saved / MANIFEST).read_text())
    assert manifest["name"] == "miniature-fcclip"
    assert {part["part"]: part["licence"] for part in manifest["parts"]} == {
        "decoder": "Apache-2.0",
        "backbone": "Apache-2.0",
    }
    assert len(manifest["train_vocabulary"]) < len(manifest["vocabulary"])
    names = load_file(saved / "model.safetensors")
    assert any(name.startswith("backbone.clip_model.transformer.") for name in names)
    assert not any(name.startswith("criterion.") for name in names)
    assert str(PACKAGE.parent) not in (saved / MANIFEST).read_text()
    card = (saved / "README.md").read_text()
    assert card.startswith('---\nlicense: "apache-2.0"\nlibrary_name: "frozenseg"\n')
    assert "| backbone | miniature-clip |" in card
    assert (saved / "model.safetensors").stat().st_mode == (saved / MANIFEST).stat().st_mode


@pytest.mark.slow
def test_words_and_task_are_those_of_the_object(tmp_path):
    model = frozenseg.load("miniature-fcclip", device="cpu", task="instance")
    model.set_vocabulary({"heart": ["love, heart shape"], "sand": {"stuff": True}})
    back = frozenseg.load(model.save_pretrained(tmp_path / "m", name="hearts"), device="cpu")
    assert (back.task, back.vocabulary) == ("instance", model.vocabulary)
    assert frozenseg.load(tmp_path / "m", device="cpu", task="semantic").task == "semantic"
    assert "# hearts" in (tmp_path / "m/README.md").read_text()


@pytest.mark.slow
def test_training_words_that_no_dataset_here_has(copy):
    def rename(content):
        content["config"]["DATASETS.TRAIN"] = ["a_dataset_elsewhere"]
        content["config"]["DATASETS.TEST"] = ["another_dataset_elsewhere"]
        content["train_vocabulary"] = [
            {**row, "name": f"{row['name']}s"} for row in content["train_vocabulary"]
        ]

    edit(copy, rename)
    model = frozenseg.load(copy, device="cpu")
    seen = model.predictor.model.train_vocabulary.names
    assert all(name.endswith("s") for name in seen)
    assert len(model.vocabulary) == 70
    assert not model.predictor.model.seen_C.any() or model(SCENE).segments
    frozenseg.load(copy, device="cpu")  # again in this process


@pytest.mark.slow
def test_files_of_others_stay_and_so_does_their_card(copy):
    (copy / "image.onnx").write_bytes(b"beside")
    (copy / "README.md").write_text("# my own")
    model = frozenseg.load(copy, device="cpu")
    model.save_pretrained(copy)  # where it came from
    assert (copy / "image.onnx").read_bytes() == b"beside"
    assert (copy / "README.md").read_text() == "# my own"
    frozenseg.load(copy, device="cpu")


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def flip(folder):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def config(**values):
    return lambda folder: edit(folder, lambda content: content["config"].update(values))


def field(**values):
    return lambda folder: edit(folder, lambda content: content.update(values))


def files(name):
    record = {"size": 1, "sha256": "0" * 64}
    return lambda folder: edit(folder, lambda content: content["files"].update({name: record}))


CLIP = "MODEL.FC_CLIP.CLIP_MODEL_NAME"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncate, "model.safetensors is incomplete or was replaced"),
        (flip, "model.safetensors is damaged or was replaced"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda folder: (folder / "files/miniature_clip.json").unlink(), "clip.json is missing"),
        (lambda folder: (folder / MANIFEST).unlink(), "holds no frozenseg.json"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "not valid JSON"),
        (field(format_version=2), r"\$.format_version is 2, this frozenseg reads 1"),
        (field(colour="red"), "unknown field colour"),
        (field(task=3), r"\$.task: Expected str, got int"),
        (field(vocabulary=[]), r"\$.vocabulary: empty vocabulary"),
        (field(vocabulary=[{"name": 3}]), r"\$.vocabulary: class 1"),
        (field(files={}), r"\$.files has no model.safetensors"),
        (config(**{"MODEL.NO_SUCH": 1}), "unknown key MODEL.NO_SUCH; the nearest known key is"),
        (config(**{"INPUT.MIN_SIZE_TEST": "big"}), "INPUT.MIN_SIZE_TEST expects"),
        (config(**{"OUTPUT_DIR": "/tmp/x"}), "OUTPUT_DIR = '/tmp/x' belongs to a machine"),
        (config(**{"MODEL.TEXT_CACHE_DIR": "x"}), "MODEL.TEXT_CACHE_DIR = 'x' belongs to"),
        (config(**{"MODEL.SAM_PRETRAINED_WEIGHTS": "sam-vit-b"}), "can be '' or 'openai:' here"),
        (config(**{CLIP: "../../secret.json"}), "names a file that is not in"),
        (config(**{CLIP: "/etc/passwd"}), "names a file that is not in"),
        (config(**{CLIP: ".."}), "names a file that is not in"),
        (config(**{"MODEL.FUSIONER.LANGUAGE": "~/bert"}), "names a file that is not in"),
        (files("../outside.json"), r"\$.files"),
        (files("/etc/passwd"), r"\$.files"),
        (files("a\\b"), r"\$.files"),
        (files(".git/config"), r"\$.files"),
    ],
)
def test_a_bad_folder_is_one_line(copy, damage, said):
    damage(copy)
    with pytest.raises((ValueError, FileNotFoundError), match=said) as error:
        frozenseg.load(copy, device="cpu")
    assert str(copy) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_model_that_cannot_be_saved(copy, tmp_path):
    with pytest.raises(ValueError, match=r"only a model that `frozenseg\.load` made"):
        Segmenter(Predictor(StripesModel())).save_pretrained(tmp_path / "x")
    with pytest.raises(ValueError, match="brings its own weights"):
        frozenseg.load(copy, "miniature-fcclip")


@pytest.mark.slow
def test_places_and_scores_of_others_are_refused(copy, tmp_path):
    model = frozenseg.load(copy, device="cpu")
    with pytest.raises(ValueError, match="is a file: name a folder"):
        model.save_pretrained(copy / MANIFEST)
    results = tmp_path / "results.json"
    entry = {
        "dataset": "miniature_val_panoptic",
        "images": 200,
        "metrics": {"panoptic": {"all": {"PQ": 41.25}, "per_class": {"a": {"PQ": 1.0}}}},
        "protocol": {"templates": "vild_14", "test_size": [256, 512]},
        "checkpoint": "model.safetensors",
        "checkpoint_hash": "0" * 16,
    }
    results.write_text(json.dumps({"format": 1, "results": [entry]}))
    with pytest.raises(
        ValueError, match=r"results\.json: the scores of miniature_val_panoptic are"
    ):
        model.save_pretrained(tmp_path / "x", results=results)
    entry["checkpoint_hash"] = file_digest(copy / "model.safetensors")
    results.write_text(json.dumps({"format": 1, "results": [entry]}))
    folder = model.save_pretrained(tmp_path / "x", results=results, licence="CC-BY-4.0")
    (kept,) = json.loads((folder / MANIFEST).read_text())["scores"]
    assert kept["metrics"] == {"panoptic": {"all": {"PQ": 41.25}}}
    card = (folder / "README.md").read_text()
    assert "| miniature\\_val\\_panoptic | 200 | 41.25 |" in card
    assert 'license: "other"' in card
    assert "| decoder | miniature-fcclip |" in card
    results.write_text(json.dumps({"results": [{}]}))
    with pytest.raises(ValueError, match="no results of an evaluation"):
        model.save_pretrained(tmp_path / "x", results=results)


@pytest.mark.slow
def test_the_command_line_takes_a_folder_and_an_address(saved, tmp_path, capsys):
    words = ["--input", str(SCENE), "--output", str(tmp_path / "out"), "--device", "cpu"]
    with pytest.raises(SystemExit, match="0"):
        main(["segment", "--model", str(saved), *words])
    content = json.loads((tmp_path / "out/scene.json").read_text())
    assert content["segments"]
    with serving({"me/small": {"main": saved}}) as hub:
        program = [sys.executable, "-W", "ignore", "-m", "frozenseg", "segment"]
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hub")}
        given = [*program, "--model", "hf:me/small", *words, "--overwrite"]
        done = subprocess.run(given, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    again = json.loads((tmp_path / "out/scene.json").read_text())
    assert again["segments"] == content["segments"]
    with pytest.raises(SystemExit, match="2"):
        main(["segment", "--model", str(tmp_path), *words])
    assert "holds no frozenseg.json" in capsys.readouterr().err
