"""Which files a dataset should have, and whether they are there; nothing but JSON is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.findings import Report
from frozenseg.data.image_mask_pairs import walk_files
from frozenseg.data.records import read_samples
from frozenseg.data.samples import Sample
from frozenseg.vocab import Vocabulary

WHAT = {
    "images": "folder of images",
    "image_list": "list of images",
    "panoptic_json": "panoptic annotation file",
    "panoptic_masks": "folder of panoptic maps",
    "episodes_json": "index of episodes",
    "semantic_masks": "folder of label maps",
    "instance_json": "instance annotation file",
    "instance_masks": "folder of instance maps",
    "class list": "class list",
}


def missing_paths(row: DatasetSplit, root: Path) -> list[tuple[str, str]]:
    """Kind and path of the files and folders of a row that are not there."""
    return [(what, path) for what, path in row.paths() if not (root / path).exists()]


def check_paths(row: DatasetSplit, root: Path, report: Report) -> bool:
    """Whether all files and folders of a row are there."""
    missing = missing_paths(row, root)
    make = row.origin.remedy if len(missing) == len(list(row.paths())) else row.origin.completion
    for what, path in missing:
        order = row.origin.download if what == "images" and not row.origin.images_made else make
        report.error(f"the {WHAT[what]} is missing", order, str(root / path))
    return not missing


def path_problem(row: DatasetSplit, root: Path) -> str:
    """What a row lacks, with the remedy; "" if all its files and folders are there."""
    report = Report(row.name, str(root))
    if check_paths(row, root, report):
        return ""
    first = report.findings[0]
    remedies = "; then ".join(dict.fromkeys(finding.remedy for finding in report.findings))
    return f"{first.problem} ({first.where[0]}): {remedies}"


def list_samples(
    row: DatasetSplit, vocabulary: Vocabulary, root: Path, report: Report
) -> list[Sample]:
    """The samples whose files are all there; sets `report.images` to the number of all samples.

    Raises: FileNotFoundError and ValueError for an annotation file that cannot be used at all.
    """
    samples = read_samples(row, vocabulary, root, report)
    if row.kind not in ("semantic", "instance maps"):
        samples = _with_files(row, samples, root, report)
    return [sample for sample in samples if _has_bytes(sample, row, report)]


def _with_files(
    row: DatasetSplit, samples: list[Sample], root: Path, report: Report
) -> list[Sample]:
    """The samples without a missing file; every missing one is reported."""
    present: dict[Path, set[str]] = {}
    alike: dict[Path, dict[str, str]] = {}  # name without suffix, in small letters -> name
    kinds: tuple[tuple[str, str, Callable[[Sample], Path | None], str], ...] = (
        ("image", row.images, lambda sample: sample.image, row.origin.download),
        ("panoptic map", row.panoptic_masks, lambda sample: sample.panoptic, row.origin.completion),
        ("label map", row.semantic_masks, lambda sample: sample.semantic, row.origin.completion),
    )
    complete = dict.fromkeys(range(len(samples)))
    for what, folder, file_of, remedy in kinds:
        for number, sample in enumerate(samples):
            path = file_of(sample)
            if path is None:
                continue
            if path.parent not in present:
                names = present[path.parent] = _names_in(path.parent)
                alike[path.parent] = {Path(name).stem.casefold(): name for name in names}
            if path.name not in present[path.parent]:
                problem = f"the {what} of an annotation is missing"
                if row.kind == "lvis":
                    problem += " (LVIS uses images of both train2017 and val2017)"
                other = alike[path.parent].get(path.stem.casefold())
                there = f" (there is {other!r}: the names must be the same)" if other else ""
                report.error(problem, remedy, f"{path}{there}")
                complete.pop(number, None)
        _report_strays(row, root, folder, what, (file_of(s) for s in samples), report)
    return [samples[number] for number in complete]


def _report_strays(
    row: DatasetSplit,
    root: Path,
    folder: str,
    what: str,
    expected: Iterable[Path | None],
    report: Report,
) -> None:
    """Warns of maps that no annotation names; folders that other datasets share are left out."""
    if what != "panoptic map" or not folder or row.image_list:
        return
    known = set(expected)
    for name, path in walk_files(root / folder):
        if name.endswith(".png") and path not in known:
            report.warning(f"a {what} belongs to no annotation", row.origin.repair, str(path))


def _has_bytes(sample: Sample, row: DatasetSplit, report: Report) -> bool:
    """Whether no file of a sample is empty, as an interrupted download or a full disk leaves it."""
    empty = [path for path in sample.files() if not path.stat().st_size]
    for path in empty:
        order = row.origin.download if path == sample.image else row.origin.completion
        report.error("a file is empty", row.origin.redo(order), str(path))
    return not empty


def _names_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
