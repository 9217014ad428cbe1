"""Runs side by side with published scores, and what could explain their differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tabulate import tabulate

from frozenseg.data.catalog.lookup import DATASET_SPLITS, find_split, row_vocabulary
from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.catalog.word_sets import OWN
from frozenseg.evaluation.folds import FoldMean, fold_means, fold_of
from frozenseg.evaluation.published import MATCHES, Published, measured
from frozenseg.evaluation.results import column
from frozenseg.files import flatten

Entry = Mapping[str, Any]
Runs = Mapping[str, Mapping[str, Entry]]
NOTED_POINTS = 0.05  # of mIoU between the two conventions
SHOWN_DIFFERENCES = 8
NONE, UNKNOWN = "none", "not known"
MEAN = "mIoU is a mean over"
# Key of the protocol -> what takes part, and what is said of it.
PARTS = {
    "sam_injection": ("SAM's features", ("sam", "branch")),
    "mask_ensemble": ("SAM's masks", ("alpha",)),
    "mask_adapter": ("Mask-Adapter's maps", ("threshold",)),
    "content_text": ("texts that depend on the image", ("form", "embedding")),
    "oracle_masks": ("ground-truth masks", ()),
}
NOTED_APART = ("words", "images", MEAN)  # with sentences of their own


class Setting(NamedTuple):
    """A part of a protocol: what it is, as published (`UNKNOWN`: no source says), and here."""

    name: str
    published: Any
    here: Any

    @property
    def verdict(self) -> str:
        """Whether both are equal or different; `UNKNOWN` where that cannot be said."""
        if self.published == UNKNOWN:
            return UNKNOWN
        return "equal" if self.published == self.here else "different"


def side_by_side(runs: Runs, published: Published | None) -> list[dict[str, Any]]:
    """One row per dataset and score that is published or measured, then the means over folds.

    Args: runs: name of a run -> dataset -> its entry.
    Returns: dataset, score, published (or None), source, and for every run {"value", "column"}.
    """
    rows = []
    datasets = dict.fromkeys(name for entries in runs.values() for name in entries)
    for name in datasets:
        entries = {run: runs[run][name] for run in runs if name in runs[run]}
        benchmark = next(iter(entries.values()))["benchmark"]
        figures = published.scores.get(benchmark, {}) if published else {}
        known = {score: figure for score, figure in figures.items() if "folds" not in figure}
        for score in MATCHES:
            values = {run: measured(entry, score) for run, entry in entries.items()}
            rows += _row_of(name, score, values, known.get(score), published)
    return rows + _mean_rows(runs, published)


def _mean_rows(runs: Runs, published: Published | None) -> list[dict[str, Any]]:
    """The rows of runs that scored several folds; a published mean needs all of its folds."""
    means: dict[str, dict[str, FoldMean]] = {}
    for run, entries in runs.items():
        for mean in fold_means(entries.values()):
            if len(mean.folds) > 1:
                means.setdefault(mean.title, {})[run] = mean
    rows = []
    for title, found in means.items():
        mean = next(iter(found.values()))
        figures = published.scores.get(mean.benchmark, {}) if published else {}
        for score in MATCHES:
            figure = figures.get(score, {})
            fits = (figure.get("folds"), figure.get("split")) == (len(mean.folds), mean.kind)
            values = {
                run: (score, one.scores[score]) if score in one.scores else None
                for run, one in found.items()
            }
            rows += _row_of(title, score, values, figure if fits else None, published)
    return rows


def _row_of(
    name: str,
    score: str,
    values: Mapping[str, tuple[str, float | None] | None],
    figure: Mapping[str, Any] | None,
    published: Published | None,
) -> list[dict[str, Any]]:
    """The row of one score, none where it is neither published nor measured."""
    if figure is None and not any(values.values()):
        return []
    return [
        {
            "dataset": name,
            "score": score,
            "published": figure["value"] if figure else None,
            "source": published.sources[figure["source"]] if published and figure else None,
            "runs": {
                run: {"column": found[0], "value": found[1]}
                for run, found in values.items()
                if found
            },
        }
    ]


def comparison_text(
    rows: Sequence[Mapping[str, Any]], runs: Sequence[str], published: str = "published"
) -> str:
    """The rows as a table: published, then each run and its difference to it (or to the first).

    Args: published: title of the column.
    """
    any_published = any(row["published"] is not None for row in rows)
    headers = ["dataset", "score", published]
    for number, run in enumerate(runs):
        headers += [run, "difference"] if number or any_published else [run]
    lines = []
    for row in rows:
        line: list[Any] = [row["dataset"], row["score"], _percent(row["published"])]
        base = row["published"]
        for number, run in enumerate(runs):
            value = row["runs"].get(run, {}).get("value")
            line.append(_percent(value))
            if number or any_published:
                both = value is not None and base is not None
                line.append(f"{value - base:+.2f}" if both else "-")
            base = value if base is None else base
        lines.append(line)
    return str(tabulate(lines, headers=headers, tablefmt="github", disable_numparse=True))


def notes_of(entry: Entry, published: Published) -> list[str]:
    """What of an entry's protocol differs from the published one, as sentences."""
    protocol, expected = entry["protocol"], published.protocol
    row = _row(entry["dataset"])
    if row is None:
        return ["the dataset is not a row of the catalog; what it holds is not known here"]
    if "episodes" in row.tasks:
        return list(episode_notes(entry, row, published))
    return [
        *_word_notes(protocol, expected, row),
        *_setting_notes(entry, published),
        *score_notes(entry, published),
    ]


def protocol_lines(entry: Entry, published: Published) -> list[Setting]:
    """All that a published score depends on, words first, for an entry of a row of the catalog."""
    row = find_split(entry["dataset"])
    here = _settings_of(entry["protocol"])
    wanted = published_settings(published, row)
    official = entry["images"] if entry["images"] in row.image_counts else wanted["images"]
    here["images"], wanted["images"] = entry["images"], official
    return [Setting(name, value, here.get(name)) for name, value in wanted.items()]


def published_settings(published: Published, row: DatasetSplit) -> dict[str, Any]:
    """How a published score of a row was measured; `UNKNOWN` where no source says it."""
    expected, threshold = published.protocol, row.object_mask_threshold
    return {
        "words": expected["words"],
        "prompt templates": expected["templates"],
        **{f"class ensemble, {key}": value for key, value in expected["ensemble"].items()},
        "object-mask threshold": expected["object_mask"] if threshold is None else threshold,
        "overlap threshold": expected["overlap"],
        "largest IoU of two queries": expected.get("max_iou", 1.0),
        "detections per image": expected["detections_per_image"],
        "test size": list(row.test_size or expected["test_size"]),
        "ignored label": row.ignore_label,
        "trained on": expected["trained_on"],
        **_parts_of(expected),
        "images": " or ".join(map(str, row.image_counts)) or UNKNOWN,
        MEAN: UNKNOWN,
    }


def _settings_of(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The same of an evaluation; the images are not in its protocol."""
    thresholds = protocol.get("thresholds", {})
    ensemble = {"void_trust": 0.0, **protocol.get("ensemble", {})}
    trained = {
        known.benchmark if (known := _row(name)) else name
        for name in protocol.get("trained_on", [])
    }
    return {
        "words": protocol.get("words", {"set": OWN})["set"],
        "prompt templates": protocol.get("templates"),
        **{f"class ensemble, {key}": value for key, value in ensemble.items()},
        "object-mask threshold": thresholds.get("object_mask"),
        "overlap threshold": thresholds.get("overlap"),
        "largest IoU of two queries": thresholds.get("max_iou", 1.0),
        "detections per image": thresholds.get("detections_per_image"),
        "test size": protocol.get("test_size"),
        "ignored label": protocol.get("ignore_label"),
        "trained on": ", ".join(sorted(trained)) or "nothing",
        **_parts_of(protocol),
        MEAN: "classes of the ground truth",
    }


def _parts_of(protocol: Mapping[str, Any]) -> dict[str, str]:
    """What takes part besides a plain FC-CLIP, and how."""
    found = {}
    for key, (name, shown) in PARTS.items():
        part = protocol.get(key)
        if isinstance(part, Mapping):
            found[name] = ", ".join(f"{detail} {part.get(detail)}" for detail in shown)
        else:
            found[name] = str(part or NONE)
    return found


def _word_notes(
    protocol: Mapping[str, Any], expected: Mapping[str, Any], row: DatasetSplit
) -> Iterator[str]:
    """Other words than the published score's, first of all: they are half of a score."""
    words = _settings_of(protocol)["words"]
    if words != expected["words"]:
        yield (
            f"words: {words} here, {expected['words']} published; the scores of other words are "
            f"not comparable: evaluate with --words {expected['words']}"
        )
    if words == OWN and row.vocabulary_file:
        yield f"the words come from {row.vocabulary_file} of the dataset"
    elif words == OWN and protocol.get("vocabulary") != (digest := row_vocabulary(row).digest):
        yield (
            f"the words are not this project's table {row.vocabulary!r} (digest "
            f"{str(protocol.get('vocabulary'))[:12]}, the table's is {digest[:12]})"
        )


def _setting_notes(entry: Entry, published: Published) -> Iterator[str]:
    for setting in protocol_lines(entry, published):
        name, wanted, here = setting
        if name in NOTED_APART or wanted == here:
            continue
        if wanted == NONE:
            yield f"{name} take part here"
        elif wanted == UNKNOWN:
            yield f"{name}: {here} here; if they take part in the published scores is {UNKNOWN}"
        else:
            yield f"{name}: {here} here, {wanted} published"


def score_notes(entry: Entry, published: Published) -> Iterator[str]:
    """What of the images and of the scores themselves could explain a difference."""
    row = find_split(entry["dataset"])
    if row.image_counts and entry["images"] not in row.image_counts:
        official = " or ".join(map(str, row.image_counts))
        yield f"{entry['images']} images were scored, the official split has {official}"

    scores = published.scores.get(entry["benchmark"], {})
    main, old = (column(entry["metrics"], name).get("all") for name in ("mIoU", "mIoU (v0.6)"))
    if "mIoU" in scores and main is not None and old is not None and main - old > NOTED_POINTS:
        yield (
            f"mIoU is {main:.2f} over the classes of the ground truth (detectron2's main branch) "
            f"and {old:.2f} if classes that are only predicted count as 0 (detectron2 v0.6); the "
            "source does not say which it is"
        )
    found = measured(entry, "AP") if "AP" in scores else None
    if found and found[0] == "AP":
        truth = entry["protocol"].get("instance_ground_truth", {})
        truth = truth.get("instance", truth) if isinstance(truth, Mapping) else truth
        yield f"AP is COCO's on the {truth}; published AP is that of the benchmark's own annotation"
    for score, figure in scores.items():
        if "also" in figure:
            other = figure["also"]
            yield f"{score}: {published.sources[other['source']]} prints {other['value']}"


def protocol_differences(first: Entry, second: Entry) -> list[str]:
    """In what the protocols of two entries differ: "templates: vild_14, simple"."""
    flat = [dict(flatten(entry["protocol"])) for entry in (first, second)]
    keys = dict.fromkeys((*flat[0], *flat[1]))
    found = [
        f"{key}: {_short(flat[0].get(key))}, {_short(flat[1].get(key))}"
        for key in keys
        if flat[0].get(key) != flat[1].get(key)
    ]
    if first["images"] != second["images"]:
        found.append(f"images: {first['images']}, {second['images']}")
    more = len(found) - SHOWN_DIFFERENCES
    return [*found[:SHOWN_DIFFERENCES], *([f"{more} more"] if more > 0 else [])]


def _row(data_set: str) -> DatasetSplit | None:
    """The row of a registered name; None for a dataset of one's own."""
    return next((row for row in DATASET_SPLITS if data_set in row.names), None)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 20 else f"{text[:12]}..."


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


# Key of the protocol -> how notes call it.
SETTINGS = {
    "templates": "prompt templates",
    "threshold": "threshold of the probability",
    "window": "sliding window",
}


def episode_notes(
    entry: Mapping[str, Any], row: DatasetSplit, published: Published
) -> Iterator[str]:
    """What of an entry's protocol differs from the published one, as sentences."""
    protocol, expected = entry["protocol"], published.protocol
    if not row.vocabulary_file and protocol.get("vocabulary") != row_vocabulary(row).digest:
        yield "the words are not the benchmark's class names"
    settings = {**protocol, **protocol.get("model", {})}
    for key, name in SETTINGS.items():
        if key in expected and settings.get(key) != expected[key]:
            yield f"{name}: {settings.get(key)} here, {expected[key]} published"
    fold = fold_of(entry)
    if fold is None:
        return
    own = f"{row.name.removesuffix(fold.kind)}train"
    trained = protocol.get("trained_on", [])
    if trained != [own]:
        here = ", ".join(trained) or "nothing"
        yield f"trained on {here} here; {own} leaves out the classes that this fold holds out"
    items = expected.get("items", {}).get(row.benchmark)
    if items and fold.kind == "val" and entry["images"] != items[fold.number]:
        yield f"{entry['images']} items were scored, the published list has {items[fold.number]}"
    for figure in published.scores.get(row.benchmark, {}).values():
        if figure.get("split") == fold.kind:
            yield (
                f"the published {figure['value']} is the mean of {figure['folds']} folds, each "
                "scored by the model that was trained on its own seen classes"
            )
