import re

import pytest

from frozenseg.checkpoints.lookup import path_of
from frozenseg.checkpoints.table import WEIGHTS, find_weights
from frozenseg.encoders.sam.config import SAM_CONFIGS

# How the names of models begin that their authors keep on Google Drive.
_ON_DRIVE = ("fcclip-", "frozenseg-", "mask-adapter-", "maftplus-", "ovrcoat-")


def test_rows_are_complete():
    for name, row in WEIGHTS.items():
        assert row.name == name
        assert row.source, name
        assert row.licence, name
        assert re.fullmatch(r"[0-9a-f]{64}|", row.sha256), name


def test_addresses_are_encrypted_and_end_in_the_file_or_are_google_drives():
    rows = [row for row in WEIGHTS.values() if row.url]
    drive = [row.name for row in rows if row.url.startswith("https://drive.google.com/uc?id=")]
    assert drive == [name for name in WEIGHTS if name.startswith(_ON_DRIVE)]
    for row in rows:
        if row.name not in drive:
            assert row.url.startswith("https://"), row.name
            assert row.url.endswith(f"/{row.file}"), row.name
            assert row.sha256, row.name
            assert row.size, row.name


def test_no_two_rows_share_a_file():
    files = [row.file for row in WEIGHTS.values() if row.file]
    assert len(set(files)) == len(files)


def test_files_of_the_package_are_there():
    packaged = [row for row in WEIGHTS.values() if row.packaged]
    assert len(packaged) == 8
    assert [row.name for row in packaged if not path_of(row).is_file()] == []


@pytest.mark.parametrize("size", ["b", "l", "h"])
def test_sam_files_have_the_names_that_the_encoder_knows(size):
    assert WEIGHTS[f"sam-vit-{size}"].file == SAM_CONFIGS[f"vit_{size}"].official_file


def test_the_nearest_name_is_named():
    with pytest.raises(ValueError, match="did you mean 'miniature-fcclip'"):
        find_weights("miniature_fcclip")
