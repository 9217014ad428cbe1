"""The Python snippets of the documents run, in the order of each document, as a reader would."""

import re
from pathlib import Path

import pytest

import frozenseg

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "docs/python.md")
_FENCE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def snippets(text):
    """(line, code) of every block that is marked as Python."""
    return [(text.count("\n", 0, m.start(1)) + 1, m[1]) for m in _FENCE.finditer(text)]


def run(path, folder):
    """Executes the snippets of a document in one namespace; `folder` is the working directory."""
    photos = folder / "photos"
    photos.mkdir()
    for name in ("a.png", "b.png"):
        (photos / name).write_bytes(Path(frozenseg.sample_image()).read_bytes())
    (folder / "words.txt").write_text("red heart, scarlet heart\nsand:stuff\n")
    namespace = {}
    found = snippets(path.read_text(encoding="utf-8"))
    for line, code in found:
        exec(compile("\n" * (line - 1) + code, str(path), "exec"), namespace)
    return found, namespace


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with what the documents mention."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FROZENSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_snippets_run(name, folder, capsys):
    found, namespace = run(ROOT / name, folder)
    assert found, f"{name} has no Python snippet"
    segmentation = namespace["segmentation"]
    assert {segment.name for segment in segmentation.segments} >= {"purple heart", "sand"}


def test_the_three_lines_of_the_readme_write_a_picture(folder):
    (_, code), *_ = snippets((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len([line for line in code.splitlines() if line.strip()]) == 3
    run(ROOT / "README.md", folder)
    assert (folder / "scene.jpg").stat().st_size > 1000


def test_a_snippet_that_fails_is_noticed(folder):
    document = folder / "broken.md"
    document.write_text(
        "text\n\n```python\nsegmentation = undefined\n```\n\n```\nnot python\n```\n"
    )
    with pytest.raises(NameError, match="undefined"):
        run(document, folder)
