import dataclasses
import hashlib
from pathlib import Path
from types import MappingProxyType

import pytest
import requests

from frozenseg.checkpoints import table
from frozenseg.checkpoints.lookup import NAMED_KEYS, locate, path_of, resolve, resolve_names
from frozenseg.config import get_config


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FROZENSEG_CACHE", str(tmp_path))
    return tmp_path / "weights"


def put(cache, name):
    cache.mkdir(exist_ok=True)
    path = cache / table.WEIGHTS[name].file
    path.write_bytes(b"weights")
    return path


def test_files_are_looked_for_in_the_cache(cache):
    row = table.WEIGHTS["fcclip-r50"]
    assert path_of(row) == cache / row.file


def test_what_is_there_is_found(cache):
    assert locate("miniature-clip").is_file()
    for name in ("fcclip-r50", "frozenseg-r50x64"):
        path = put(cache, name)
        assert locate(name) == path == cache / table.WEIGHTS[name].file


def test_a_cached_file_that_is_not_the_published_one_is_refused(cache):
    put(cache, "sam-vit-b")
    with pytest.raises(
        ValueError, match=r"sam_vit_b_01ec64\.pth is damaged.*ec2df6.* is published"
    ):
        locate("sam-vit-b")


def test_a_cached_file_that_changed_after_its_first_use_is_refused(cache):
    path = put(cache, "fcclip-r50")
    locate("fcclip-r50")
    path.write_bytes(b"others")
    with pytest.raises(ValueError, match=r"first used with .*on purpose, delete the \.sha256"):
        locate("fcclip-r50")
    path.with_name(f"{path.name}.sha256").unlink()
    assert locate("fcclip-r50") == path


def test_weights_without_an_address_say_what_to_put_where(cache):
    with pytest.raises(FileNotFoundError) as caught:
        locate("moco-v3-vit-b-16")
    message = str(caught.value)
    assert str(cache / "vit-b-300ep.pth.tar") in message
    assert "github.com/facebookresearch/moco-v3" in message


def test_google_drive_without_a_network_says_what_to_put_where(cache, monkeypatch):
    def refuse(*arguments, **options):
        raise requests.ConnectionError("no network in tests")

    monkeypatch.setattr(requests.Session, "get", refuse)
    with pytest.raises(ConnectionError, match=r"no network.*bytedance/fc-clip") as caught:
        locate("fcclip-convnext-large")
    assert str(cache / "fcclip_cocopan.pth") in str(caught.value)


def test_a_download_by_name(cache, server, content, monkeypatch):
    row = dataclasses.replace(
        table.WEIGHTS["sam-vit-b"],
        url=server.url,
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
    )
    monkeypatch.setattr(table, "WEIGHTS", MappingProxyType({row.name: row}))
    assert locate("sam-vit-b").read_bytes() == content
    assert locate("sam-vit-b") == cache / "sam_vit_b_01ec64.pth"
    assert len(server.requests) == 1


def test_unknown_names_and_tags():
    with pytest.raises(ValueError, match="did you mean 'sam-vit-b'"):
        locate("sam_vit_b")
    with pytest.raises(ValueError, match="open_clip downloads it"):
        locate("openai")


def test_a_missing_file_of_the_package(monkeypatch):
    row = dataclasses.replace(table.WEIGHTS["miniature-clip"], file="nowhere.safetensors")
    monkeypatch.setattr(table, "WEIGHTS", MappingProxyType({row.name: row}))
    with pytest.raises(FileNotFoundError, match="get it back with git"):
        locate("miniature-clip")


def test_resolve_leaves_paths_and_tags_alone(cache, tmp_path, monkeypatch):
    for text in ("", "output/model_final.pth", "laion2b_s29b_b131k_ft_soup", "nowhere.pth", "x/y"):
        assert resolve(text) == text
    path = put(cache, "dino-vit-b-16")
    assert resolve("dino-vit-b-16") == str(path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fcclip-r50").write_bytes(b"a file of this name")
    assert resolve("fcclip-r50") == "fcclip-r50"
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS: .*meant 'fcclip-r101'"):
        resolve("fcclip-r110", "MODEL.WEIGHTS")


def test_names_in_a_config(cache):
    cfg = get_config()
    cfg.MODEL.WEIGHTS = "fcclip-r50"
    cfg.MODEL.SAM_PRETRAINED_WEIGHTS = "moco-v3-vit-b-16"  # any: SAM's have published digests
    cfg.MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS = "miniature-clip"
    cfg.MODEL.FROZEN_SEG.CLIP_PRETRAINED_WEIGHTS = "openai"
    paths = [put(cache, name) for name in ("fcclip-r50", "moco-v3-vit-b-16")]
    resolve_names(cfg)
    assert [str(path) for path in paths] == [cfg.MODEL.WEIGHTS, cfg.MODEL.SAM_PRETRAINED_WEIGHTS]
    assert Path(cfg.MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS).is_file()
    assert cfg.MODEL.FROZEN_SEG.CLIP_PRETRAINED_WEIGHTS == "openai"


def test_every_named_key_is_a_key_of_the_config():
    cfg = get_config()
    for key in NAMED_KEYS:
        node = cfg
        for name in key.split("."):
            assert name in node, key
            node = node[name]


def test_a_misspelt_name_in_a_config_names_its_key():
    cfg = get_config()
    cfg.MODEL.SAM_PRETRAINED_WEIGHTS = "sam-vitb"
    with pytest.raises(ValueError, match=r"MODEL\.SAM_PRETRAINED_WEIGHTS.*'sam-vit-b'"):
        resolve_names(cfg)
