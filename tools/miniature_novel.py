#!/usr/bin/env python
"""The table of docs/miniature.md for novel shapes: what SAM's injection does for unseen outlines.

    python tools/miniature_novel.py --output output/novel
    python tools/miniature_novel.py --output output/novel --decoders fcclip both --scorings plain

Each row is a decoder, trained without stars, rings, moons and wood, and a way to score it; of three
seeds. `_10` and `_30` were trained on that share of the scenes (percent), `_9` has nine decoder
layers (the injectors where the paper has them). Everything is a `frozenseg` command, which is
printed. What is there is not made again, so a stopped run goes on, and calls with other rows share
the folder. The table of all rows that are there goes to novel.md: mean and deviation of the seeds,
and the paired bootstrap of the means. Counts of every image are kept for `frozenseg compare` and
`report`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from frozenseg.cli import program as cli
from frozenseg.cli.data_prepare import SCENES
from frozenseg.files import read_json, write_json, write_text
from tools.miniature.family_rows import Row as MaskRow
from tools.miniature_family import (
    CONFIGS,
    LONGER,
    ROOT,
    WITHOUT_SAM,
    command,
    export_proposals,
    run_training,
    spread,
)

CONFIG, WITH_ADAPTER = CONFIGS / "novel_frozenseg.yaml", CONFIGS / "frozenseg_mask_adapter.yaml"
VAL = "miniature_novel_val_panoptic"
DATA = ("DATASETS.TRAIN", "('miniature_novel_train_panoptic',)", "DATASETS.TEST", f"('{VAL}',)")


class Decoder(NamedTuple):
    """What it is called, its keys on top of CONFIG, and the percentage of scenes it learns from."""

    title: str
    keys: tuple[str, ...]
    scenes: int = 100


NINE = (*("MODEL.MASK_FORMER.DEC_LAYERS", "10"), *("MODEL.MASK_FORMER.SAM_QUERY_FUSE_LAYER", "2"))
# FC-CLIP has FrozenSeg's widths and time.
FC_CLIP, FROZENSEG = Decoder("FC-CLIP", (*WITHOUT_SAM, *LONGER)), Decoder("FrozenSeg", ())
DECODERS = {
    "fcclip": FC_CLIP,
    "both": FROZENSEG,
    "query": Decoder("query injector alone", ("MODEL.MASK_FORMER.SAM_FEATURE_FUSE_LAYER", "-1")),
    "feature": Decoder("feature injector alone", ("MODEL.MASK_FORMER.SAM_QUERY_FUSE_LAYER", "-1")),
    "positions": Decoder(
        "FrozenSeg, positions kept", ("MODEL.MASK_FORMER.SAM_KEEP_POSITIONS", "True")
    ),
    "pixels": Decoder("SAM in the pixel decoder", ("MODEL.SAM_BRANCH", "pixel_decoder")),
    "pixels_alone": Decoder(
        "SAM in the pixel decoder alone",
        ("MODEL.SAM_BRANCH", "pixel_decoder", "MODEL.MASK_FORMER.SAM_QUERY_FUSE_LAYER", "-1"),
    ),
    "fcclip_10": FC_CLIP._replace(title="FC-CLIP, 10 % of the scenes", scenes=10),
    "both_10": FROZENSEG._replace(title="FrozenSeg, 10 % of the scenes", scenes=10),
    "fcclip_30": FC_CLIP._replace(title="FC-CLIP, 30 % of the scenes", scenes=30),
    "both_30": FROZENSEG._replace(title="FrozenSeg, 30 % of the scenes", scenes=30),
    "fcclip_9": Decoder("FC-CLIP, 9 layers", (*NINE[:2], *FC_CLIP.keys)),
    "both_9": Decoder("FrozenSeg, 9 layers", NINE),
}
COAT = ("MODEL.FROZEN_SEG.VOID_TRUST", "0.25")
MASKS = ("TEST.USE_SAM_MASKS", "True")
# Way to score -> its name, and its keys.
SCORINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "plain": ("", ()),
    "masks": (" + mask ensemble", MASKS),
    "proposals": (
        " + mask ensemble + proposals as queries",
        (*MASKS, "TEST.SAM_MASKS_AS_QUERIES", "True"),
    ),
    "coat": (" + COAT", COAT),
    "max_iou": (" + one query a region", ("MODEL.MASK_FORMER.TEST.PANOPTIC_MAX_IOU", "0.5")),
    "adapter": (" + Mask-Adapter", ()),
    "adapter_coat": (" + Mask-Adapter + COAT", COAT),
}
# Of the decoders above, for the adapter's second stage: configs/miniature/fcclip.yaml has others.
WIDTHS = (
    *("MODEL.SEM_SEG_HEAD.CONVS_DIM", "128", "MODEL.SEM_SEG_HEAD.MASK_DIM", "128"),
    *("MODEL.MASK_FORMER.HIDDEN_DIM", "128"),
)
# Of the void study: the YAML file's ensemble, with COAT, and with a perfect "no object".
VOID = {
    "as it is": MaskRow(),
    "COAT 0.25": MaskRow(trust=0.25),
    "COAT 0.5": MaskRow(trust=0.5),
    "perfect void": MaskRow(perfect_void=True),
}
BECAME = ("found", "void", "wrong name", "no query")
SCORES, GROUPS = ("PQ", "SQ", "RQ", "mIoU", "recall50"), ("seen", "unseen", "unseen_things")
Row = tuple[str, str]  # of DECODERS and of SCORINGS
Results = Mapping[Row, Mapping[int, Path]]  # the folders by seed


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--output", type=Path, default=ROOT / "output" / "novel", metavar="FOLDER")
    names = f"{', '.join(DECODERS)} (default: all); without a name the table alone is written"
    add(
        "--decoders",
        nargs="*",
        choices=DECODERS,
        default=list(DECODERS),
        metavar="NAME",
        help=names,
    )
    add("--scorings", nargs="+", choices=SCORINGS, default=["plain"], help="default: %(default)s")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add("--void", action="store_true", help='also: what "no object" does, and without it')
    cli.add_debug_flag(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    """Makes what is not there yet, then writes the table of all that is."""
    folder = args.output.expanduser().absolute()
    for seed, decoder in product(args.seeds, args.decoders):
        train(folder, decoder, seed)
        for scoring in args.scorings:
            score(folder, (decoder, scoring), seed)
        if args.void:
            study_void(folder, decoder, seed)
    found = results(folder)
    text = f"{table(found)}\n{differences(found)}\n{void_table(folder)}"
    write_text(folder / "novel.md", text)
    print(text)


def use_data(folder: Path, percent: int = 100) -> None:
    """Later commands read this share of the training scenes, made if they are not there."""
    root = folder / ("data" if percent == 100 else f"data_{percent}")
    os.environ["DETECTRON2_DATASETS"] = str(root)
    few = ("--train", str(SCENES["train"] * percent // 100), "--dev", "0", "--val", "0")
    command("data", "prepare", "miniature", "--novel", *(few if percent < 100 else ()))


def train(folder: Path, decoder: str, seed: int) -> Path:
    """The file of a decoder, trained if it is not there."""
    own = folder / "decoders" / f"{decoder}_s{seed}"
    if not (own / "model_final.pth").is_file():
        use_data(folder, DECODERS[decoder].scenes)
        run_training(CONFIG, own, "SEED", str(seed), *DECODERS[decoder].keys)
    return own / "model_final.pth"


def score(folder: Path, row: Row, seed: int) -> None:
    """Scores a row of a seed, if that was not done yet."""
    (decoder, scoring), own = row, folder_of(folder, row, seed)
    if (own / "results.json").is_file():
        return
    weights, config = train(folder, decoder, seed), CONFIG
    use_data(folder)
    keys = [*DECODERS[decoder].keys, *SCORINGS[scoring][1], "MODEL.DEVICE", "cpu", *DATA]
    keys += ["MODEL.MASK_FORMER.TEST.RECALL_ON", "True"]
    if "TEST.USE_SAM_MASKS" in keys:
        export_proposals(folder / "proposals", VAL)
        keys += ["TEST.SAM_MASKS_DIR", str(folder / "proposals")]
    if scoring.startswith("adapter"):
        joined = folder / "decoders" / f"{decoder}_s{seed}" / "joined.safetensors"
        if not joined.is_file():
            command("weights", "join", str(adapter(folder)), str(weights), "--output", str(joined))
        weights, config = joined, WITH_ADAPTER
    words = ("--config-file", str(config), "--weights", str(weights), "--output", str(own))
    command("evaluate", *words, "--per-image", "--opts", *keys)


def study_void(folder: Path, decoder: str, seed: int) -> None:
    """Writes void/<decoder>_s<seed>.json if it is not there: `score_rows` of the rows VOID."""
    path = folder / "void" / f"{decoder}_s{seed}.json"
    if path.is_file():
        return
    from frozenseg.build import load_model
    from frozenseg.config import load_config
    from frozenseg.engine.evaluate import settings_for
    from tools.miniature.family_scores import score_rows

    weights = train(folder, decoder, seed)
    use_data(folder)
    cfg = load_config(CONFIG, [*DECODERS[decoder].keys, "MODEL.DEVICE", "cpu", *DATA])
    net, _ = load_model(cfg, weights)
    with settings_for(net.eval(), cfg, ("panoptic", "instance", "semantic")):
        write_json(path, score_rows(net, cfg, VAL, VOID))


def void_table(folder: Path) -> str:
    """Markdown: what became of the regions of unseen classes, and PQ with other rules of void."""
    heads = [*BECAME, *(f"PQ, {name}" for name in VOID)]
    lines = [f"| | seeds | {' | '.join(heads)} |", "|---" * (len(heads) + 2) + "|"]
    for decoder in DECODERS:
        paths = sorted(folder.glob(f"void/{decoder}_s*.json"))
        if not paths:
            continue
        runs = [read_json(path) for path in paths]
        regions = [run["void"]["as it is"]["segments"] for run in runs]
        total = sum(sum(one.get(f"unseen, {what}", 0) for what in BECAME) for one in regions)
        cells = [
            f"{100 * sum(one.get(f'unseen, {what}', 0) for one in regions) / total:.1f} %"
            for what in BECAME
        ]
        cells += [
            " / ".join(
                spread([run["rows"][name]["PQ"][group] for run in runs])
                for group in ("seen", "unseen")
            )
            for name in VOID
        ]
        seeds = ", ".join(path.stem.rpartition("_s")[2] for path in paths)
        lines.append(f"| {DECODERS[decoder].title} | {seeds} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def adapter(folder: Path) -> Path:
    """The file of a Mask-Adapter, trained in both stages if it is not there.

    The second one is on FC-CLIP's decoder of seed 0. The shipped adapter would know too much: it
    was trained on stars, rings and moons of six colours.
    """
    final = folder / "adapter" / "model_final.pth"
    if not final.is_file():
        warm, start = folder / "adapter_warm_up", folder / "adapter_start.safetensors"
        if not start.is_file():
            run_training(CONFIGS / "mask_adapter_warm_up.yaml", warm, *DATA[:2])
            first, second = warm / "model_final.pth", train(folder, "fcclip", 0)
            command("weights", "join", str(first), str(second), "--output", str(start))
        keys = (*DATA[:2], *WIDTHS, "MODEL.INIT_FROM", str(start))
        run_training(CONFIGS / "mask_adapter.yaml", final.parent, *keys)
    return final


def folder_of(folder: Path, row: Row, seed: int) -> Path:
    """Where results.json of a row and seed lies, and the counts of every image."""
    decoder, scoring = row
    return folder / "scores" / f"{decoder}_{scoring}_s{seed}"


def results(folder: Path) -> Results:
    """The folders of the rows that were scored, in the order of the tables above."""
    found = {}
    for row in product(DECODERS, SCORINGS):
        paths = folder.glob(f"scores/{row[0]}_{row[1]}_s*/results.json")
        seeds = {int(path.parent.name.rpartition("_s")[2]): path.parent for path in paths}
        if seeds:
            found[row] = dict(sorted(seeds.items()))
    return found


def title(row: Row) -> str:
    """What a row is called."""
    return DECODERS[row[0]].title + SCORINGS[row[1]][0]


def table(found: Results) -> str:
    """Markdown: mean and deviation of the seeds; seen / unseen / unseen things."""
    from frozenseg.evaluation.results import column, read_results

    lines = [f"| | seeds | {' | '.join(SCORES)} |", "|---" * (len(SCORES) + 2) + "|"]
    for row, folders in found.items():
        runs = [read_results(folder / "results.json")[0]["metrics"] for folder in folders.values()]
        cells = [
            " / ".join(spread([column(run, name)[group] for run in runs]) for group in GROUPS)
            for name in SCORES
        ]
        seeds = ", ".join(map(str, folders))
        lines.append(f"| {title(row)} | {seeds} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def differences(found: Results) -> str:
    """Markdown: differences of the means, 95 % intervals over the images, and each seed's.

    A decoder is compared with FC-CLIP (of as many scenes and layers), another way to score it with
    the plain one; of the seeds that both have.
    """
    lines = ["| | against | score | classes | points | 95 % | seeds |", "|---" * 7 + "|"]
    for row in found:
        same = row[0].replace("both", "fcclip")
        fcclip = same if same.startswith("fcclip") else "fcclip"
        before: Row = (fcclip if row[1] == "plain" else row[0], "plain")
        seeds = sorted(set(found[row]) & set(found.get(before, {})))
        if row == before or not seeds:
            continue
        rows = difference([found[each][seed] for each in (before, row) for seed in seeds])
        for score_name, group, points, low, high, each in rows:
            own = ", ".join(f"{value:+.1f}" for value in each)
            lines.append(
                f"| {title(row)} | {title(before)} | {score_name} | {group.replace('_', ' ')} | "
                f"{points:+.1f} | {low:+.1f} to {high:+.1f} | {own} |"
            )
    return "\n".join(lines) + "\n"


def difference(folders: Sequence[Path]) -> list[tuple[Any, ...]]:
    """Score, group, points, ends of the interval, and the difference of each seed.

    Args: folders: of the first method's seeds, then of the second's.
    """
    from frozenseg.evaluation.bootstrap import intervals, intervals_of_means
    from frozenseg.evaluation.per_image import per_image_file, read_per_image

    runs = [read_per_image(per_image_file(folder, VAL)) for folder in folders]
    half = len(runs) // 2
    pairs = list(zip(runs[:half], runs[half:], strict=True))
    alone = [
        {(one.score, one.group): one.value for one in intervals(first, second, draws=1)}
        for first, second in pairs
    ]
    return [
        (*one[:2], one.value, one.low, one.high, [each[one[:2]] for each in alone])
        for one in intervals_of_means([runs[:half], runs[half:]])
        if one.group in GROUPS
    ]


if __name__ == "__main__":
    cli.run(main, build_parser().parse_args())
