import dataclasses
import hashlib
import logging
import pickle
from types import MappingProxyType

import pytest
import torch

from frozenseg.checkpoints import table
from frozenseg.cli.main import main
from frozenseg.files import recorded_digest
from tests.checkpoints.file_server import server

__all__ = ["server"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FROZENSEG_CACHE", str(tmp_path))
    monkeypatch.setattr("frozenseg.checkpoints.transfer.PAUSE", 0.0)
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


@pytest.fixture
def run(capsys):
    def call(*words):
        with pytest.raises(SystemExit) as caught:
            main(["weights", *words])
        out, err = capsys.readouterr()
        return caught.value.code or 0, out.splitlines() + err.splitlines()

    return call


def put(path):
    torch.save({"model": {"a": torch.ones(3), "b": torch.ones(2)}}, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def publish(monkeypatch):
    """Changes a row of the table."""

    def change(name, **changes):
        row = dataclasses.replace(table.WEIGHTS[name], **changes)
        monkeypatch.setattr(table, "WEIGHTS", MappingProxyType({**table.WEIGHTS, name: row}))

    return change


def test_a_first_digest_is_stored_and_compared_from_then_on(cache, run):
    path = cache / "fcclip_cocopan_r50.pth"
    digest = put(path)
    for compared in ("this one is stored from now on", "as at its first download or use"):
        code, (line,) = run("verify")
        assert code == 0
        assert line.startswith(f"{path}: ok: fcclip-r50, {path.stat().st_size:,} bytes, sha256 ")
        assert f"{digest}, 2 tensors (0.0 M values); " in line
        assert f"{compared}; from github.com/bytedance/fc-clip, README" in line
        assert recorded_digest(path) == digest
    torch.save({"model": {"a": torch.zeros(3)}}, path)
    code, (line,) = run("verify", "fcclip-r50")
    assert code == 1
    assert line.startswith(f"{path}: DIFFERS: fcclip-r50, ")
    assert line.endswith(
        f"that of the first download or use is {digest}: delete it and get it again"
    )
    assert recorded_digest(path) == digest


def test_published_digests(cache, run, publish, tmp_path):
    path = cache / "sam_vit_b_01ec64.pth"
    publish("sam-vit-b", sha256=put(path))
    assert "as published; from github.com/facebookresearch" in run("verify", "sam-vit-b")[1][0]
    path.rename(tmp_path / "mine.pt")
    code, (line,) = run("verify", str(tmp_path / "mine.pt"))  # known by its digest
    assert (code, ": ok: sam-vit-b, " in line) == (0, True)
    publish("sam-vit-b", sha256="0" * 64)
    code, (line,) = run("verify", str((tmp_path / "mine.pt").rename(tmp_path / path.name)))
    assert (code, f"published is {'0' * 64}" in line) == (1, True)


def test_a_file_elsewhere_is_compared_with_the_note_beside_it_or_in_the_cache(cache, run, tmp_path):
    own = tmp_path / "model_final.pth"
    put(own)
    assert run("verify", str(own))[1][0].endswith("; no digest is published or stored")
    assert not recorded_digest(own)
    put(cache / "fcclip_cocopan_r50.pth")
    run("verify")
    (tmp_path / "fcclip_cocopan_r50.pth").write_bytes(own.read_bytes() + b"x")
    code, lines = run("verify", "fcclip-r50", str(tmp_path / "fcclip_cocopan_r50.pth"))
    assert code == 1
    assert ["DIFFERS" in line for line in lines] == [False, True]


class Evil:
    def __reduce__(self):
        return pytest.fail, ("it was run",)


def test_what_cannot_be_read_is_said_and_nothing_is_run(cache, run, tmp_path):
    (tmp_path / "page.pth").write_text("<html>")
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"model": Evil()}, 2))
    (tmp_path / "nan.pth").touch()
    torch.save({"a.weight": torch.tensor([float("nan")])}, tmp_path / "nan.pth")
    code, lines = run(
        "verify", *(str(tmp_path / f"{name}.pth") for name in ("page", "evil", "nan"))
    )
    assert code == 1
    assert all("UNREADABLE" in line for line in lines)
    for line, reason in zip(lines, ("damaged", "never unpickled", "NaN"), strict=True):
        assert reason in line


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fcclip-r101", "not on this machine .*`frozenseg weights get fcclip-r101`"),
        ("fcclip-r51", "did you mean 'fcclip-r50'"),
        ("nowhere.pth", "there is no such file"),
        ("openai", "a tag of open_clip"),
    ],
)
def test_names_of_nothing(cache, run, name, said, assert_one_line):
    assert_one_line(run("verify", name), said)


@pytest.fixture
def assert_one_line():
    import re

    def check(result, said):
        code, (line,) = result
        assert code == 2
        assert re.search(said, line), line

    return check


def test_nothing_here(cache, run):
    code, (line,) = run("verify")
    assert (code, line) == (
        0,
        f"{cache} has no weights; `frozenseg weights get NAME` downloads some",
    )
    assert run("verify", "miniature-vit")[0] == 0


def test_get_says_the_digest_and_list_what_is_here(cache, run, server, publish, caplog):
    caplog.set_level(logging.INFO)
    publish("fcclip-r50", url=server.url)
    server.cut_after = [10**6, 0, 0, 0, 0]
    code, lines = run("get", "fcclip-r50")
    assert code == 2
    assert "bytes are kept" in lines[-1]

    def listed():
        (row,) = [line for line in run("list")[1] if line.startswith("fcclip-r50 ")]
        return row.split()

    assert listed()[1:4] == ["model", "in", "part"]
    assert run("get", "fcclip-r50")[1][0] == f"fcclip-r50: {cache / 'fcclip_cocopan_r50.pth'}"
    assert hashlib.sha256(server.content).hexdigest() in caplog.text
    assert listed()[1:4] == ["model", "yes", "2"]
    code, (line,) = run("verify")
    assert (code, "UNREADABLE" in line) == (1, True)  # what the server sends is not a model
