"""The command line of the page, and its answers without a browser."""

import argparse
import importlib.util
import socket
from types import SimpleNamespace

import pytest
from PIL import Image

import frozenseg
from frozenseg.cli import app
from frozenseg.cli.main import main, parser_of

VISIT = SimpleNamespace(client=SimpleNamespace(host="127.0.0.1"))


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main(["app", *words])
    return ended.value.code


def test_without_gradio_the_error_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run() == 2
    assert "pip install 'frozenseg[demo]'" in capsys.readouterr().err


def test_weights_belong_to_a_config(monkeypatch, capsys):
    monkeypatch.setattr(app, "check_gradio", lambda: None)
    assert run("--weights", "a.pth") == 2
    assert "--config-file" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--max-models", "--max-upload-mb", "--max-megapixels"])
@pytest.mark.parametrize("value", ["0", "-3", "many"])
def test_limits_are_positive(flag, value, capsys):
    assert run(f"{flag}={value}") == 2
    assert flag in capsys.readouterr().err


def test_it_listens_on_this_machine_only_and_is_not_shared_by_default():
    args = parser_of("app").parse_args([])
    assert (args.host, args.port, args.share) == ("127.0.0.1", 7860, False)


PACKAGED = ["miniature-fcclip", "miniature-frozenseg", "miniature-fusioner"]


@pytest.mark.parametrize(
    ("given", "first"),
    [
        ({}, PACKAGED),
        ({"model": "fcclip-r50"}, ["fcclip-r50", *PACKAGED]),
        ({"config_file": "a/own.yaml"}, ["own", *PACKAGED]),
    ],
)
def test_the_model_of_the_command_line_is_chosen_first(given, first, tmp_path, monkeypatch):
    monkeypatch.setenv("FROZENSEG_CACHE", str(tmp_path))
    args = parser_of("app").parse_args([])
    shelf = app._models(argparse.Namespace(**{**vars(args), **given}))
    assert list(shelf.names) == first


def test_own_config_and_weights_are_loaded(monkeypatch):
    from frozenseg import loading

    calls = []
    monkeypatch.setattr(loading, "load", lambda *words, **more: calls.append((words, more)))
    args = parser_of("app").parse_args(
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


def test_a_port_that_cannot_be_had_is_said():
    from frozenseg.web.hosts import check_port

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"--port {port} cannot be had"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)
    with pytest.raises(ValueError, match="--port 70000"):
        check_port("127.0.0.1", 70_000)


@pytest.mark.parametrize(
    ("error", "said", "logged"),
    [
        (FileNotFoundError("get the weights from x"), "get the weights from x", False),
        (ValueError("one\nline"), "one line", False),
        (ZeroDivisionError("hidden"), "went wrong on the server (ZeroDivisionError)", True),
    ],
)
def test_every_failure_is_a_sentence(error, said, logged, tmp_path, caplog):
    pytest.importorskip("gradio", reason="gradio is not installed")
    from frozenseg.web.actions import EMPTY, Actions
    from frozenseg.web.limits import Limits
    from frozenseg.web.models import ModelShelf
    from frozenseg.web.results import ResultFolder

    def load(name):
        raise error

    def progress(*_, **__):
        pass

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    image = {"path": str(tmp_path / "a.png")}
    actions = Actions(ModelShelf(["a"], load), Limits(), ResultFolder(tmp_path, Limits()))
    answers = [
        actions.choose("a", "panoptic", progress)[:1],
        actions.segment(image, "cat", "a", "panoptic", 0.5, VISIT, progress),
    ]
    for message, *_ in answers:
        assert said in message.value
        assert message.visible
        assert "hidden" not in message.value
    _, shown, *buttons = answers[1]
    assert shown == EMPTY
    assert not any(button.visible for button in buttons)
    assert ("hidden" in caplog.text) == logged


def test_a_model_of_one_task_is_offered_with_this_task_alone(tmp_path):
    pytest.importorskip("gradio", reason="gradio is not installed")
    from frozenseg.web.actions import Actions
    from frozenseg.web.limits import Limits
    from frozenseg.web.models import ModelShelf, available_models
    from frozenseg.web.results import ResultFolder

    def progress(*_, **__):
        pass

    assert "miniature-fusioner" in available_models()
    names = ["miniature-fusioner", "miniature-fcclip"]
    models = ModelShelf(names, lambda name: frozenseg.load(name, device="cpu"))
    actions = Actions(models, Limits(), ResultFolder(tmp_path, Limits()))
    _, _, task, threshold = actions.choose("miniature-fusioner", "panoptic", progress)
    assert ([value for _, value in task.choices], task.value) == (["semantic"], "semantic")
    assert not threshold.visible
    _, _, task, threshold = actions.choose("miniature-fcclip", "instance", progress)
    assert (len(task.choices), task.value) == (3, "instance")
    assert threshold.visible
    Image.new("RGB", (64, 64), (0, 0, 200)).save(tmp_path / "a.png")
    image = {"path": str(tmp_path / "a.png")}
    refused = actions.segment(image, "cat", "miniature-fusioner", "panoptic", None, VISIT, progress)
    assert "not panoptic: choose semantic" in refused[0].value


@pytest.mark.parametrize(
    ("text", "content", "accounts"),
    [
        ("ann:x", "", [("ann", "x")]),
        ("ann:x:y@z", "", [("ann", "x:y@z")]),
        ("@FILE", "\ufeffann:x\n\nbob:y z\r\n", [("ann", "x"), ("bob", "y z")]),
    ],
)
def test_accounts(text, content, accounts, tmp_path):
    (tmp_path / "users").write_text(content, encoding="utf-8")
    assert app.read_auth(text.replace("FILE", str(tmp_path / "users"))) == accounts


@pytest.mark.parametrize("text", ["", "ann", "ann:", ":secret", "@FILE"])
def test_accounts_that_are_none_are_not_repeated(text, tmp_path):
    (tmp_path / "users").write_text("ann:one\nsecret\n", encoding="utf-8")
    with pytest.raises(ValueError, match="give USER:PASSWORD, or @FILE") as caught:
        app.read_auth(text.replace("FILE", str(tmp_path / "users")))
    assert "secret" not in str(caught.value)
