"""frozenseg report on two evaluations: what the page shows, what it loads, and bad input."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec

import pytest

from frozenseg.cli.main import main
from frozenseg.data.catalog.register import register_splits
from frozenseg.engine.evaluate import evaluate
from frozenseg.evaluation.bootstrap import intervals, statement
from frozenseg.evaluation.per_image import per_image_file, read_per_image
from tests.evaluation.kept_predictions import NAME, ROW, WrongOften, config, write_dataset
from tests.reporting.test_elements import Reader
from tests.stand_in import StandIn

assert StandIn

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NASTY = '"><script>document.title="owned"</script><img src=x onerror=alert(1)>'
# Attributes of HTML and SVG that load something.
LOADING = {"src", "href", "srcset", "data", "action", "poster", "background", "xlink:href"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two evaluations, a/ and b/, with predictions and counts of every image."""
    root = tmp_path_factory.mktemp("report")
    write_dataset(root)
    for name, shift in (("a", 2), ("b", 5)):
        cfg = config(root / name)
        cfg.TEST.SAVE_PER_IMAGE = True
        evaluate(cfg, WrongOften(shift))
    return root


@pytest.fixture
def call(capsys, runs):
    """Runs the command: (exit code, stdout, stderr)."""
    register_splits([ROW], runs)

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main(["report", *map(str, words)])
        return ended.value.code, *capsys.readouterr()

    return run


def check_loads_nothing(read):
    """Images are data, links stay in the page, and the one script is that of the page."""
    for _, name, value in read.attributes:
        assert not name.startswith("on")
        if name in LOADING:
            assert value.startswith(("data:image/webp;base64,", "#dataset-")), value[:80]
    text = "".join(read.texts)
    assert "url(" not in text
    assert "@import" not in text
    assert read.tags.count("script") == 1
    assert not {"link", "iframe", "object", "embed", "base"} & set(read.tags)
    [policy] = [value for _, _, value in read.attributes if value.startswith("default-src 'none'")]
    assert "http" not in policy


def test_two_runs_side_by_side(call, runs):
    out = runs / "two.html"
    code, said, _ = call(runs / "a", runs / "b/results.json", "--output", out, "--worst", 2)
    assert code == 0
    assert said == f"{out}: {out.stat().st_size / 1e6:.2f} MB\n"
    read = Reader(out.read_text())
    check_loads_nothing(read)
    records = [read_per_image(per_image_file(runs / name, NAME)) for name in "ab"]
    expected = intervals(*records)
    for one in expected:
        assert f"{one.low:+.2f} to {one.high:+.2f}" in read.texts
        if one.is_main:
            assert statement(one, "a", "b") in read.texts
    assert {"Classes", "Images", "Protocol"} <= set(read.texts)
    assert "PQ: images on which b has less" in read.texts
    alts = [value for tag, name, value in read.attributes if (tag, name) == ("img", "alt")]
    assert len(alts) % 4 == 0
    assert [alt.partition(": ")[2] for alt in alts[:4]] == ["image", "ground truth", "a", "b"]


def test_one_run_shows_its_worst_images(call, runs):
    out = runs / "one.html"
    assert call(runs / "a", "--output", out, "--worst", 1)[0] == 0
    read = Reader(out.read_text())
    check_loads_nothing(read)
    assert "Images with the lowest PQ" in read.texts
    assert [name for tag, name, _ in read.attributes if tag == "img"].count("src") == 3
    assert any(text.startswith("PQ 0.0; missed: ") for text in read.texts)  # without predictions


def test_equal_runs_are_called_equal(call, runs, tmp_path):
    shutil.copytree(runs / "a", tmp_path / "a")
    assert call(runs / "a", tmp_path / "a", "--output", tmp_path / "r.html")[0] == 0
    texts = Reader((tmp_path / "r.html").read_text()).texts
    assert "PQ of all classes: 1: a and 2: a are equal on every draw" in texts
    assert "Both are equal." in texts


def test_without_counts_and_predictions_the_page_says_what_is_missing(call, runs, tmp_path):
    (tmp_path / "bare").mkdir()
    shutil.copy(runs / "a/results.json", tmp_path / "bare")
    assert call(tmp_path / "bare", "--output", tmp_path / "r.html")[0] == 0
    text = (tmp_path / "r.html").read_text()
    assert "no counts of every image were kept: evaluate again with --per-image" in text
    assert "no predictions were kept: evaluate again with --save-predictions" in text


def test_predictions_alone_are_counted_again(call, runs, tmp_path):
    for name in "ab":
        shutil.copytree(runs / name, tmp_path / name, ignore=shutil.ignore_patterns("per_image"))
    code, _, said = call(tmp_path / "a", tmp_path / "b", "--output", tmp_path / "r.html")
    assert code == 0, said
    records = [read_per_image(per_image_file(runs / name, NAME)) for name in "ab"]
    texts = Reader((tmp_path / "r.html").read_text()).texts
    for one in intervals(*records):
        assert not one.is_main or statement(one, "a", "b") in texts


def nasty_run(runs, folder):
    """A run with markup wherever a text can be."""
    shutil.copytree(runs / "a", folder)
    content = json.loads((folder / "results.json").read_text())
    [entry] = content["results"]
    entry.update(checkpoint=NASTY, warnings=[NASTY])
    entry["protocol"]["templates"] = NASTY
    content["skipped"] = {NASTY: NASTY}
    for part in ("panoptic", "semantic"):
        scores = entry["metrics"][part]["per_class"]
        scores[NASTY] = scores.pop(next(iter(scores)))
    groups = entry["metrics"]["panoptic"]
    groups[NASTY] = groups["all"]
    (folder / "results.json").write_text(json.dumps(content))
    counts = per_image_file(folder, NAME)
    file = json.loads(counts.read_text())
    file.update(classes=[NASTY] * len(file["classes"]), files=[NASTY] * len(file["files"]))
    counts.write_text(json.dumps(file))


def test_markup_in_names_stays_text(call, runs, tmp_path):
    nasty_run(runs, tmp_path / "<b>run")
    out = tmp_path / "r.html"
    code, _, said = call(tmp_path / "<b>run", runs / "b", "--output", out)
    assert code == 0, said
    read = Reader(out.read_text())
    check_loads_nothing(read)
    assert "b" not in read.tags or "<b>run: " in read.texts
    assert read.texts.count(NASTY) >= 3


def test_bad_input_is_one_line(call, runs, tmp_path):
    def changed(name, change, file="results.json"):
        shutil.copytree(runs / "a", tmp_path / name)
        path = tmp_path / name / file
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
        return tmp_path / name

    def fewer(content):
        content["images"][4], content["files"][4] = 77, "77.png"

    counts = f"per_image/{NAME}.json"
    (tmp_path / "text.json").write_text("no JSON")
    other = changed("other", lambda content: content["results"][0].update(dataset="another"))
    empty = changed("empty", lambda content: content.update(results=[]))
    classes = changed(
        "classes",
        lambda content: content["results"][0]["metrics"]["panoptic"].update(per_class={"a": 3}),
    )
    for words, message in (
        ([runs / "none"], "none does not exist"),
        ([tmp_path / "text.json"], "not valid JSON"),
        ([runs / "a", runs / "a/results.json"], "is given twice"),
        ([runs / "a", runs / "b", runs / "c"], "3 results are given"),
        ([runs / "a", other], "no dataset in common"),
        ([empty], "has no results"),
        ([classes], "per_class: $[...]: Expected object, got int"),
        ([changed("images", fewer, counts), runs / "b"], "5 and 5 images, of which 1 are only"),
        ([changed("format", lambda file: file.update(format=9), counts)], "evaluate again with"),
        ([runs / "a", "--output", tmp_path], "is a folder: name a file"),
        ([runs / "a", "--output", tmp_path / "r.png"], "is not an HTML file"),
        ([runs / "a", "--output", tmp_path / "text.json/r.html"], "text.json/r.html"),
        ([runs / "a", "--worst", -1], "expects"),
    ):
        default = [] if "--output" in words else ["--output", tmp_path / "r.html"]
        code, _, said = call(*words, *default)
        assert code == 2, words
        assert message in said, said
        assert "unexpected" not in said
        assert said.startswith("usage") or said.count("\n") == 1, said


def test_compare_prints_the_intervals(runs, capsys):
    register_splits([ROW], runs)
    for folders in (("a", "b"), (f"a/predictions/{NAME}", f"b/predictions/{NAME}")):
        paths = [str(runs / folder) for folder in folders]
        with pytest.raises(SystemExit) as ended:
            main(["compare", *paths, "--published", "none", "--json", str(runs / "out.json")])
        assert ended.value.code == 0
        records = [read_per_image(per_image_file(runs / name, NAME)) for name in "ab"]
        [pq] = [one for one in intervals(*records) if (one.score, one.group) == ("PQ", "all")]
        out = capsys.readouterr().out
        assert f"{NAME}: paired bootstrap over 5 images" in out
        assert f"- {statement(pq, '1: a', '2: b')}\n" in out
        [kept] = [
            one
            for one in json.loads((runs / "out.json").read_text())["intervals"]
            if (one["score"], one["group"]) == ("PQ", "all")
        ]
        assert (kept["low"], kept["high"]) == (pq.low, pq.high)


@pytest.mark.slow
def test_in_a_browser_without_a_network(call, runs, tmp_path):
    """Opened from its file: nothing is asked for, nothing nasty runs, tables sort, dark is dark."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found or not find_spec("playwright"):
        pytest.skip("no Chromium or playwright (tools/install_chromium.sh)")
    from playwright.sync_api import sync_playwright

    nasty_run(runs, tmp_path / "run")
    out = tmp_path / "r.html"
    assert call(tmp_path / "run", runs / "b", "--output", out)[0] == 0
    asked, said = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(color_scheme="dark", viewport={"width": 390, "height": 800})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(out.as_uri())
        assert page.title() == "run and b: results"
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 29)"
        column = page.locator("table.sortable").first.locator("tbody tr td:nth-child(2)")
        for _ in range(2):
            page.locator("table.sortable th button").nth(1).click()
            values = [float(text) for text in column.all_text_contents() if text != "–"]
            assert len(set(values)) > 2
            assert values == sorted(values) or values == sorted(values, reverse=True)
        assert values == sorted(values, reverse=True)
        browser.close()
    assert [url for url in asked if not url.startswith("data:")] == [out.as_uri()]
    assert said == []
