"""The released YAML files of FC-CLIP's descendants in this project's keys.

What their code decides by MODEL.META_ARCHITECTURE, by another key or not at all, has a key of its
own here (`frozenseg.config.family_keys`). A file that sets one of these is taken as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from frozenseg.config.family_keys import ADAPTER
from frozenseg.config.sources import Source, decode, wrong_value

# Key of theirs -> ours, with the same values.
_RC_WEIGHTS = "MODEL.rc_weights"
_RENAMED = {
    _RC_WEIGHTS: "MODEL.STUDENT.COMPENSATION_WEIGHT",
    "MODEL.OVRCOAT.RC_WEIGHTS": "MODEL.STUDENT.COMPENSATION_WEIGHT",
    "MODEL.OVRCOAT.DIST_WEIGHT": "MODEL.STUDENT.GRAM_WEIGHT",
    "MODEL.OVRCOAT.CE_WEIGHT": "MODEL.STUDENT.CLASS_WEIGHT",
    "MODEL.OVRCOAT.CLIP_TRUST_WEIGHT": "MODEL.FC_CLIP.VOID_TRUST",
    "TRAIN.DETACH_SEG_HEAD": "MODEL.STUDENT.DETACHED",
}
# (key, their value) -> ours. The head of the second is named there, but never built.
_OTHER_NAMES = {
    ("INPUT.DATASET_MAPPER_NAME", "mask_former_semantic"): "semantic_lsj",
    ("MODEL.SEM_SEG_HEAD.NAME", "FCCLIPMASKHead"): "FCCLIPHead",
}
_FREEZE, _CDT_PARAMS = "MODEL.BACKBONE.FREEZE", "MODEL.cdt_params"
_ARCHITECTURES = ("MAFT_Plus", "OVRCOAT", "MASK_Adapter")
# Their -1 says that the code does not read the value.
_EXPONENTS = tuple(f"MODEL.FC_CLIP.GEOMETRIC_ENSEMBLE_{name}" for name in ("ALPHA", "BETA"))


def in_our_keys(sources: Sequence[Source]) -> list[Source]:
    """The sources of a config with the keys of released files translated.

    What such files leave to their code comes first, so that any value given takes precedence.
    Raises: ValueError for a value that cannot be translated.
    """
    given = {key: decode(value) for source in sources for key, value in source.leaves}
    architecture = given.get("MODEL.META_ARCHITECTURE")
    translated = [
        source._replace(name=name, leaves=pairs)
        for source in sources
        for leaf in source.leaves
        for name, pairs in [_translate(source.name, *leaf)]
    ]
    implied = _implied(given, str(architecture))
    if not implied:
        return translated
    first = Source(f"{sources[0].name} (what its code decides)", None, list(implied.items()))
    return [first, *translated]


def _translate(source: str, key: str, value: Any) -> tuple[str, list[tuple[str, Any]]]:
    """One value in our keys; the source's name for messages, with the key that was written."""
    decoded = decode(value)
    if (key in _EXPONENTS and decoded == -1) or (key == _RC_WEIGHTS and decoded is None):
        return source, []
    if isinstance(value, str) and (key, value) in _OTHER_NAMES:
        return source, [(key, _OTHER_NAMES[key, value])]
    written = f"{source} ({key})"
    if key == _FREEZE:
        trains = not decoded if isinstance(decoded, bool) else decoded
        return written, [("MODEL.STUDENT.ENABLED", trains)]
    if key == _CDT_PARAMS:
        if not isinstance(decoded, (list, tuple)) or len(decoded) != 2:
            raise wrong_value(source, key, value, "[width, heads]", "such as [768, 8]")
        names = ("MODEL.FC_CLIP.EMBED_DIM", "MODEL.CDT.HEADS")
        return written, list(zip(names, decoded, strict=True))
    return (written, [(_RENAMED[key], value)]) if key in _RENAMED else (source, [(key, value)])


def _implied(given: dict[str, Any], architecture: str) -> dict[str, Any]:
    """What a released file leaves to its code."""
    adapter = any(key.startswith("MODEL.MASK_ADAPTER.") for key in given)
    implied: dict[str, Any] = {"MODEL.MASK_ADAPTER.NAME": ADAPTER} if adapter else {}
    if "MODEL.OVRCOAT.CLIP_TRUST_WEIGHT" in given:
        implied["MODEL.FC_CLIP.VOID_TRUST_EVERYWHERE"] = True
    if architecture == "MASK_Adapter":
        implied["TEST.ORACLE_MASKS"] = True
    own = any(key.startswith(("MODEL.CDT.", "MODEL.STUDENT.")) for key in given)
    released = {"MODEL.RELEASED_LOSSES": True}
    if own or architecture not in _ARCHITECTURES:  # FC-CLIP's adapter: our files name it
        theirs = adapter and not own and "MODEL.MASK_ADAPTER.NAME" not in given
        return implied | (released if theirs else {})
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
