"""The command line of the page, and its answers without a browser."""

import argparse
import importlib.util
from types import SimpleNamespace

import pytest

from demo import app
from frozenseg import cli


def run(*words):
    with pytest.raises(SystemExit) as ended:
        cli.run(app.main, app.build_parser().parse_args(list(words)))
    return ended.value.code


def test_without_gradio_the_error_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run() == 2
    assert "pip install 'frozenseg[demo]'" in capsys.readouterr().err


def test_weights_belong_to_a_config(monkeypatch, capsys):
    monkeypatch.setattr(app, "_check_gradio", lambda: None)
    assert run("--weights", "a.pth") == 2
    assert "--config-file" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--max-models", "--max-upload-mb", "--max-megapixels"])
@pytest.mark.parametrize("value", ["0", "-3", "many"])
def test_limits_are_positive(flag, value, capsys):
    assert run(f"{flag}={value}") == 2
    assert flag in capsys.readouterr().err


def test_it_listens_on_this_machine_only_and_is_not_shared_by_default():
    args = app.build_parser().parse_args([])
    assert (args.host, args.port, args.share) == ("127.0.0.1", 7860, False)


@pytest.mark.parametrize(
    ("given", "first"),
    [
        ({}, ["miniature-fcclip", "miniature-frozenseg"]),
        ({"model": "fcclip-r50"}, ["fcclip-r50", "miniature-fcclip", "miniature-frozenseg"]),
        ({"config_file": "a/own.yaml"}, ["own", "miniature-fcclip", "miniature-frozenseg"]),
    ],
)
def test_the_model_of_the_command_line_is_chosen_first(given, first, tmp_path, monkeypatch):
    monkeypatch.setenv("FROZENSEG_CACHE", str(tmp_path))
    args = app.build_parser().parse_args([])
    shelf = app._models(argparse.Namespace(**{**vars(args), **given}))
    assert list(shelf.names) == first


def test_own_config_and_weights_are_loaded(monkeypatch):
    from frozenseg.engine import segmenter

    calls = []
    monkeypatch.setattr(segmenter, "load", lambda *words, **more: calls.append((words, more)))
    args = app.build_parser().parse_args(
        ["--config-file", "x/own.yaml", "--weights", "w.pth", "--precision", "bfloat16"]
    )
    shelf = app._models(args)
    shelf.get("own")
    shelf.get("miniature-fcclip")
    half = {"precision": "bfloat16"}
    assert calls == [
        (("x/own.yaml", "w.pth", "auto"), half),
        (("miniature-fcclip", None, "auto"), half),
    ]


def test_every_failure_is_a_sentence(tmp_path, caplog):
    pytest.importorskip("gradio", reason="gradio is not installed")
    from demo.web.actions import Actions, sentence
    from demo.web.limits import Limits
    from demo.web.models import ModelShelf

    def load(name):
        raise FileNotFoundError(f"no weights of {name}")

    actions = Actions(ModelShelf(["a"], load), Limits(), tmp_path)
    silent = SimpleNamespace(__call__=None)
    message, *_ = actions.choose("a", "panoptic", progress=lambda *_, **__: silent)
    assert "no weights of a" in message.value
    assert message.visible
    assert sentence(ValueError("say this")) == "say this"
    assert sentence(ZeroDivisionError("hidden")) == (
        "Something went wrong on the server (ZeroDivisionError); its log says more."
    )
    assert "hidden" in caplog.text
