"""The released YAML files of FC-CLIP's descendants in this project's keys.

What their code decides by MODEL.META_ARCHITECTURE, by another key or not at all, has a key of its
own here (`frozenseg.config.family_keys`). A file that sets one of these is taken as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from frozenseg.config.family_keys import ADAPTER
from frozenseg.config.sources import Source, decode

# Key of theirs -> ours, with the same values.
_RENAMED = {
    "MODEL.rc_weights": "MODEL.STUDENT.COMPENSATION_WEIGHT",
    "MODEL.OVRCOAT.RC_WEIGHTS": "MODEL.STUDENT.COMPENSATION_WEIGHT",
    "MODEL.OVRCOAT.DIST_WEIGHT": "MODEL.STUDENT.GRAM_WEIGHT",
    "MODEL.OVRCOAT.CE_WEIGHT": "MODEL.STUDENT.CLASS_WEIGHT",
    "MODEL.OVRCOAT.CLIP_TRUST_WEIGHT": "MODEL.FC_CLIP.VOID_TRUST",
    "TRAIN.DETACH_SEG_HEAD": "MODEL.STUDENT.DETACHED",
}
_FREEZE, _CDT_PARAMS = "MODEL.BACKBONE.FREEZE", "MODEL.cdt_params"
_ARCHITECTURES = ("MAFT_Plus", "OVRCOAT", "MASK_Adapter")
# Their -1 says that the code does not read the value.
_EXPONENTS = tuple(f"MODEL.FC_CLIP.GEOMETRIC_ENSEMBLE_{name}" for name in ("ALPHA", "BETA"))


def in_our_keys(sources: Sequence[Source]) -> list[Source]:
    """The sources of a config with the keys of released files translated.

    What such files leave to their code comes first, so that any value given takes precedence.
    """
    given = {key: decode(value) for source in sources for key, value in source.leaves}
    architecture = given.get("MODEL.META_ARCHITECTURE")
    translated = [
        source._replace(leaves=[pair for leaf in source.leaves for pair in _translate(*leaf)])
        for source in sources
    ]
    implied = _implied(given, str(architecture))
    if not implied:
        return translated
    first = Source(f"{sources[0].name} (what its code decides)", None, list(implied.items()))
    return [first, *translated]


def _translate(key: str, value: Any) -> list[tuple[str, Any]]:
    if key in _EXPONENTS and decode(value) == -1:
        return []
    if key == _FREEZE and isinstance(decode(value), bool):
        return [("MODEL.STUDENT.ENABLED", not decode(value))]
    if key == _CDT_PARAMS:
        params = decode(value)
        if isinstance(params, (list, tuple)) and len(params) == 2:  # width and heads
            return [("MODEL.FC_CLIP.EMBED_DIM", params[0]), ("MODEL.CDT.HEADS", params[1])]
    if (key, value) == ("INPUT.DATASET_MAPPER_NAME", "mask_former_semantic"):
        value = "semantic_lsj"
    return [(_RENAMED.get(key, key), value)]


def _implied(given: dict[str, Any], architecture: str) -> dict[str, Any]:
    """What a released file leaves to its code."""
    adapter = any(key.startswith("MODEL.MASK_ADAPTER.") for key in given)
    implied: dict[str, Any] = {"MODEL.MASK_ADAPTER.NAME": ADAPTER} if adapter else {}
    if "MODEL.OVRCOAT.CLIP_TRUST_WEIGHT" in given:
        implied["MODEL.FC_CLIP.VOID_TRUST_EVERYWHERE"] = True
    if architecture == "MASK_Adapter":
        implied["TEST.ORACLE_MASKS"] = True
    own = any(key.startswith(("MODEL.CDT.", "MODEL.STUDENT.")) for key in given)
    if own or architecture not in _ARCHITECTURES:
        return implied
    released = {"MODEL.RELEASED_LOSSES": True}
    if architecture == "OVRCOAT":
        return implied | released | {"MODEL.STUDENT.LOGIT_SCALE": True}
    if architecture == "MASK_Adapter" and not given.get("MODEL.MASK_ADAPTER.TRAIN_MAFT"):
        return implied | released
    panoptic = given.get("MODEL.MASK_FORMER.TEST.PANOPTIC_ON")
    implied |= {
        "MODEL.CDT.FORM": "panoptic" if panoptic else "semantic",
        "MODEL.CDT.EMBEDDING": "released",
    }
    if architecture == "MAFT_Plus" and not adapter:
        implied |= dict.fromkeys(_EXPONENTS, 1.0)
        implied |= {"MODEL.STUDENT.ENABLED": True, "MODEL.STUDENT.RANKING_WEIGHT": 1.0}
        implied["MODEL.STUDENT.DETACHED"] = True
    return implied | released
