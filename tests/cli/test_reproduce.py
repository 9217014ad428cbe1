"""`frozenseg reproduce`: the plans of all published models, and whole runs of a miniature one.

A run is that of the shipped miniature FC-CLIP on two images in ADE20K's published format, with
figures and a word list that are made up here: prepare, fetch, score, resume, compare.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from frozenseg.checkpoints.named_models import MODELS
from frozenseg.cli.main import main
from frozenseg.cli.reproduce import choose_model
from frozenseg.data.catalog import word_sets
from frozenseg.data.catalog.lookup import find_split, fullest_splits, row_vocabulary
from frozenseg.evaluation import published
from frozenseg.files import file_sha256, write_json
from tests.data.raw_datasets import make_ade20k

ADE = "openvocab_ade20k_panoptic_val"
SMALL = ("--opts", "INPUT.MIN_SIZE_TEST", "64", "INPUT.MAX_SIZE_TEST", "96")


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs the command in this process, data and cache being empty: (exit code, out, err)."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    monkeypatch.setenv("FROZENSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main(["reproduce", *map(str, words)])
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("model", published.published_models(), ids=lambda model: model.name)
def test_the_plan_of_every_published_figure_is_complete(call, model):
    name, found = choose_model(model.name)
    assert (found, f"{found.name}.yaml") == (model, MODELS[name])
    code, out, err = call(name, "--dry-run")
    assert (code, err) == (0, "")
    head, *plans, tail = out.split("\n\n")
    config, weights = (
        re.search(rf"^{key}: +(.+)$", head, re.M)[1] for key in ("config", "weights")
    )
    assert config.endswith(f"configs/{MODELS[name]}")
    assert re.fullmatch(
        r"\S+\.pth: to fetch, about \d+\.\d GB, (https://\S+|by hand from .+)", weights
    )
    lists, address = word_sets.WORD_SETS[model.protocol["words"]]
    for benchmark in (*model.scores, model.protocol["trained_on"]):
        file, sha256 = lists[benchmark]
        assert f"/{file}: to fetch, some kB, from {address}/{file}; sha256 {sha256}" in head
    assert [plan.split(":")[0].strip() for plan in plans] == list(model.scores)
    for plan, (benchmark, scores) in zip(plans, model.scores.items(), strict=True):
        row = fullest_splits()[benchmark]
        figures = ", ".join(f"{score} {figure['value']}" for score, figure in scores.items())
        source = model.sources[next(iter(scores.values()))["source"]]
        assert f"  expected: {figures} ({source})\n" in plan
        size = list(row.test_size or model.protocol["test_size"])
        assert "words fcclip; prompt templates vild_14; class ensemble, enabled True" in plan
        assert f"test size {size}; ignored label {row.ignore_label};" in plan
        assert all(f"/data/{path}: missing\n" in plan for _, path in row.paths())
        assert re.search(r"by hand: \S+ lacks .+; get .+\((about [\d.]+ GB|size not known)\)", plan)
        assert re.search(rf"from http.+ section {row.origin.readme_section}", plan)
        assert row.origin.command in plan
    assert f"evaluate --model {name} --words fcclip" in tail
    assert f"--benchmarks {' '.join(model.scores)}\n" in tail
    assert re.search(r"^to fetch: about [\d.]+ GB", tail, re.M)


@pytest.mark.slow
def test_a_plan_needs_no_torch(tmp_path):
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'detectron2', 'open_clip')))\n"
        "from frozenseg.cli.main import main\n"
        "main(['reproduce', 'fcclip-r50', '--benchmarks', 'ade20k_150', '--dry-run'])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "expected: PQ 17.9, AP 9.5, mIoU 23.3" in done.stdout


MISTAKES = {
    "a misspelt model": (
        ["fcclip-r5"],
        "no figures of a model 'fcclip-r5' are published: did you mean fcclip-r50",
    ),
    "a model without figures": (["miniature-fcclip"], "there are those of fcclip-convnext-large,"),
    "no model": (["ade20k_150"], "'ade20k_150' are published: "),
    "a misspelt benchmark": (
        ["fcclip-r50", "--benchmarks", "ade20k_15"],
        "figures of fcclip/r50 on 'ade20k_15' are published: did you mean ade20k_150",
    ),
    "another spelling": (["FCCLIP-R50"], "did you mean fcclip-r50"),
    "no name": (["fcclip-r50", "--benchmarks", ","], "figures of fcclip/r50 on ',' are published"),
    "a benchmark without figures": (
        ["frozenseg-r50x64", "--benchmarks", "ade20k_150,cityscapes"],
        "on 'cityscapes' are published: there are those on ade20k_150",
    ),
    "no file of weights": (["fcclip-r50", "--weights", "no.pth"], "--weights: no.pth does not"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(call, mistake):
    words, expected = MISTAKES[mistake]
    for more in ((), ("--dry-run",)):
        code, out, err = call(*words, *more)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert expected in err


def test_missing_data_are_named_with_origin_size_and_command(call, tmp_path):
    code, out, err = call("fcclip/r50", "--benchmarks", "ade20k_150,coco_panoptic", "ade20k_150")
    assert (code, out.strip()) == (2, "")
    ade, coco = err.splitlines()
    assert ade.startswith(
        f"error: {ADE} is not scored: {tmp_path}/data lacks ADEChallengeData2016/im"
    )
    assert "annotations_instance/validation/; get ADEChallengeData2016.zip, ann" in ade
    assert "(about 1.0 GB) from http://sceneparsing.csail.mit.edu/, see datasets/README.md" in ade
    assert ade.endswith("; then: frozenseg data prepare ade20k")
    assert "data lacks coco/val2017, coco/annotations/panoptic_val2017.json, coco/pan" in coco
    assert coco.endswith(
        "from https://cocodataset.org/#download, see datasets/README.md, section COCO"
    )
    assert not (tmp_path / "output").exists()
    shutil.rmtree(tmp_path / "data", ignore_errors=True)
    make_ade20k(tmp_path / "data")
    shutil.rmtree(tmp_path / "data/ADEChallengeData2016/annotations_instance")
    _, _, err = call("fcclip-r50", "--benchmarks", "ade20k_150")
    assert "data lacks ADEChallengeData2016/annotations_instance/validation/; get" in err


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """Figures of the miniature model on ADE20K, with a set of words: (server, a list)."""
    folder = tmp_path / "server"
    folder.mkdir()
    lists = {}
    for row in map(find_split, (ADE, "miniature_train_panoptic")):
        words = folder / f"{row.benchmark}.txt"
        names = enumerate(row_vocabulary(row).names)
        words.write_text("".join(f"{i}:{name},authors {name}\n" for i, name in names))
        lists[row.benchmark] = word_sets.WordList(words.name, file_sha256(words))
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    sets = {"authors": (lists, f"http://127.0.0.1:{server.server_port}")}
    monkeypatch.setattr(word_sets, "WORD_SETS", word_sets.WORD_SETS | sets)
    for module in ("cli.data_words", "cli.reproduce"):
        monkeypatch.setattr(f"frozenseg.{module}.WORD_SETS", word_sets.WORD_SETS)
    content = json.loads(published.FILE.read_text(encoding="utf-8"))
    figures = {"PQ": {"value": 10.0, "source": "here"}, "mIoU": {"value": 20.0, "source": "here"}}
    own = {"words": "authors", "trained_on": "miniature", "test_size": [256, 512]}
    model = {"architecture": "FCCLIP", "clip": "miniature_clip.json", "protocol": own}
    model |= {"name": "miniature/fcclip", "scores": {"ade20k_150": figures}}
    content |= {"models": [model], "sources": {"here": "this test"}}
    write_json(tmp_path / "published.json", content)
    monkeypatch.setattr(published, "FILE", tmp_path / "published.json")
    yield server, folder / "ade20k_150.txt"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_whole_run_and_a_resumed_one(call, made_up, tmp_path):
    server, words = made_up
    make_ade20k(tmp_path / "data")
    code, plan, _ = call("miniature-fcclip", "--dry-run", "--num-gpus", "0")
    assert code == 0
    assert "miniature_fcclip.safetensors: there\n" in plan
    assert "  first: frozenseg data prepare ade20k\n" in plan
    code, out, err = call("miniature-fcclip", "--num-gpus", "0")
    assert code == 0, err
    assert "frozenseg data prepare ade20k\n" in out
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines()]
    scores = {line[1]: line[2:] for line in cells if line[:1] == [ADE] and len(line) == 5}
    assert list(scores) == ["PQ", "AP", "mIoU"]
    for score, expected in (("PQ", 10.0), ("mIoU", 20.0)):
        value, measured, difference = map(float, scores[score])
        assert (value, round(measured - value, 2)) == (expected, difference)
    assert scores["AP"][0] == scores["AP"][2] == "-"  # no such figure
    lines = {line[0]: line[1:] for line in cells if len(line) == 4}
    assert lines["words"] == ["authors", "authors", "equal"]
    assert lines["test size"] == ["[256, 512]", "[256, 512]", "equal"]
    assert lines["images"] == ["2000", "2", "different"]
    assert lines["mIoU is a mean over"][-1] == "not known"
    assert f"- words ade20k_150.txt, sha256 {file_sha256(words)}" in out
    assert "- 2 images were scored, the official split has 2000" in out
    results = tmp_path / "output/reproduce/miniature-fcclip/results.json"
    first = results.read_bytes()
    server.shutdown()  # nothing is fetched again
    code, again, _ = call("miniature-fcclip", "--num-gpus", "0")
    assert code == 0
    assert again.split("published as")[1] == out.split("published as")[1]
    assert results.read_bytes() == first
    assert f"results.json has {ADE}: not scored again" in call("miniature-fcclip", "--dry-run")[1]
    code, _, err = call("miniature-fcclip", "--num-gpus", "0", *SMALL)
    assert code == 2
    assert "another config_hash: choose another --output, or --overwrite" in err
    code, out, _ = call("miniature-fcclip", "--num-gpus", "0", "--overwrite", *SMALL)
    assert code == 0
    assert re.search(r"\| test size +\| \[256, 512\] +\| \[64, 96\] +\| different", out)


def test_words_that_cannot_be_fetched_say_what_to_put_where(call, made_up, tmp_path):
    server, words = made_up
    words.unlink()
    make_ade20k(tmp_path / "data")
    code, _, err = call("miniature-fcclip", "--num-gpus", "0")
    [line] = [line for line in err.splitlines() if line.startswith("error")]
    assert code == 2
    assert f"cannot download http://127.0.0.1:{server.server_port}/ade20k_150.txt (HTTP 404" in line
    assert line.endswith(f"and put it at {tmp_path}/cache/words/authors/ade20k_150.txt")
