"""Which weights files `read_checkpoint` refuses, and in which words."""

from __future__ import annotations

import pickle

import pytest
import torch

from frozenseg.checkpoints.reading import read_checkpoint


class Evil:
    """Its unpickling would call a function; None of our readers may."""

    def __reduce__(self):
        return (print, ("unpickled",))


def test_pickled_objects_are_never_loaded(tmp_path, capsys):
    torch.save({"model": {"a": Evil()}}, tmp_path / "evil.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"model": {"a": Evil()}}))
    for name in ("evil.pth", "plain.pth"):
        with pytest.raises(ValueError, match=rf"{name}.*pickled"):
            read_checkpoint(tmp_path / name)
    (tmp_path / "r50.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match=r"r50\.pkl ends in '\.pkl'"):
        read_checkpoint(tmp_path / "r50.pkl")
    assert "unpickled" not in capsys.readouterr().out


def test_messages_do_not_advise_to_unpickle(tmp_path):
    (tmp_path / "page.pth").write_bytes(b"<html>not found</html>")
    (tmp_path / "objects.pth").write_bytes(pickle.dumps({"model": {"a": Evil()}}))
    for name, message in (
        ("page.pth", "is damaged or not a PyTorch file"),
        ("objects.pth", "holds pickled Python objects, which are never unpickled"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            read_checkpoint(tmp_path / name)
        assert "weights_only" not in str(error.value)
        assert "2.6" not in str(error.value)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut"])
def test_a_damaged_file_is_one_clear_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}.*damaged") as error:
        read_checkpoint(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_cut_file_is_reported(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"model": {"a": torch.ones(99)}}, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="damaged"):
        read_checkpoint(path)


def test_a_missing_file_names_the_config_key(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pth.*MODEL\.WEIGHTS"):
        read_checkpoint(tmp_path / "none.pth")


@pytest.mark.parametrize("content", [[1, 2], {"a": 3}, {"model": {"a": "text"}}])
def test_other_contents_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth holds"):
        read_checkpoint(tmp_path / "w.pth")
