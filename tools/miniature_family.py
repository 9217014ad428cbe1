#!/usr/bin/env python
"""The miniature table of docs/family.md: FC-CLIP and FrozenSeg with Mask-Adapter and COAT.

    python tools/miniature_family.py --output output/family
    python tools/miniature_family.py --output output/family --tune

The first command writes the miniature world, exports SAM's proposals, trains the decoders of three
seeds (10 minutes each on a free core) and scores each once with all combinations; the table goes to
family.md and family.json. What is there is not made again, so a stopped run goes on, and several
processes share the work by --models and --seeds. --tune scores `choices` on another world instead
(tuning.json); the best ones are `PLAIN` and `ADAPTER` below.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from frozenseg.cli import program as cli
from frozenseg.files import read_json, write_json, write_text
from tools.miniature.family_rows import SCORES, SPOKEN, Row

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs" / "miniature"
TRAINING, TEST = CONFIGS / "frozenseg.yaml", CONFIGS / "frozenseg_mask_adapter.yaml"
MODELS = {"fcclip": "FC-CLIP", "frozenseg": "FrozenSeg"}
# FC-CLIP of FrozenSeg's widths, trained for the same time.
WITHOUT_SAM = (
    *("MODEL.MASK_FORMER.SAM_FEATURE_FUSE_LAYER", "-1"),
    *("MODEL.MASK_FORMER.SAM_QUERY_FUSE_LAYER", "-1"),
)
LONGER = ("SOLVER.MAX_ITER", "498", "SOLVER.STEPS", "(415,)")
SHIPPED = {("frozenseg", 0): "miniature-frozenseg"}  # trained by the same command
VAL, OTHER_WORLD = "miniature_val_panoptic", "77"
GROUPS = ("all", "seen", "unseen")
Found = Mapping[str, list[dict[str, Any]]]  # model -> what `score` gives of each seed
RELEASED = (Row(), Row(adapter=True, alpha=0.7, beta=0.9))
# Chosen by --tune --images 60 with the decoders of seed 0.
PLAIN = Row(alpha=0.7, beta=0.7)
ADAPTER = Row(adapter=True, alpha=0.7, beta=0.9, threshold=0.6)


def combinations() -> dict[str, Row]:
    """The rows of the table by name."""
    rows = {}
    for proposals, base, trust in product((False, True), (PLAIN, ADAPTER), (0.0, 0.25, 0.5)):
        parts = ["Mask-Adapter"] * base.adapter + [f"COAT {trust:g}"] * (trust > 0)
        title = " + ".join([*parts, *["SAM's proposals"] * proposals]) or "as it is"
        rows[title] = base._replace(trust=trust, proposals=proposals)
    rows["released settings"], rows["Mask-Adapter, released settings"] = RELEASED
    rows["perfect void"] = PLAIN._replace(perfect_void=True)
    rows["Mask-Adapter + perfect void"] = ADAPTER._replace(perfect_void=True)
    return rows


def choices() -> dict[str, Row]:
    """What --tune compares."""
    grid = product(RELEASED, (0.4, 0.55, 0.7), (0.7, 0.8, 0.9, 1.0))
    rows = [base._replace(alpha=alpha, beta=beta) for base, alpha, beta in grid]
    rows += [RELEASED[1]._replace(threshold=threshold) for threshold in (0.3, 0.4, 0.6, 0.7)]
    return {_settings(row): row._replace(panoptic_alone=True) for row in rows}


def _settings(row: Row) -> str:
    how = f"adapter, threshold {row.threshold}" if row.adapter else "plain"
    return f"{how}, alpha {row.alpha}, beta {row.beta}"


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--output", type=Path, default=ROOT / "output" / "family", metavar="FOLDER")
    add("--models", nargs="+", choices=MODELS, default=list(MODELS))
    add("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add("--tune", action="store_true", help="score settings on another world")
    add("--images", type=int, help="with --tune: of that world (200)")
    cli.add_debug_flag(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    """Makes what is not there yet, then writes the table of all that is."""
    folder = args.output.expanduser().absolute()
    os.environ["DETECTRON2_DATASETS"] = str(folder / "data")
    command("data", "prepare", "miniature")
    for seed, model in product(args.seeds, args.models):
        train(folder, model, seed)
    if args.tune:
        name, rows = "tuning.json", choices()
        os.environ["DETECTRON2_DATASETS"] = str(folder / "tuning")
        few = ("--train", "8", "--dev", "0", "--seed", OTHER_WORLD)
        command("data", "prepare", "miniature", *few)
    else:
        name, rows = "results.json", combinations()
        export_proposals(folder / "proposals")
    for seed, model in product(args.seeds, args.models):
        path = folder / f"{model}_s{seed}" / name
        if not path.is_file():
            print(f"{model}, seed {seed}: {len(rows)} rows", flush=True)
            write_json(path, score(folder, model, seed, rows, args.images), indent=1)
    found = {
        model: [read_json(path) for path in sorted(folder.glob(f"{model}_s*/{name}"))]
        for model in MODELS
    }
    if args.tune:
        print(ranking(found))
        return
    write_json(folder / "family.json", found, indent=1)
    parts = [
        table(found, {title: row for title, row in rows.items() if part(row)})
        for part in (
            lambda row: not (row.proposals or row.perfect_void),
            lambda row: row.proposals,
            lambda row: row.perfect_void,
        )
    ]
    text = "\n".join([*parts, void_tables(found)])
    write_text(folder / "family.md", text)
    print(text)


def command(*words: str) -> None:
    """Runs `frozenseg`, printed first. Raises: CalledProcessError if it fails."""
    print("$ frozenseg", *words, flush=True)
    subprocess.run([sys.executable, "-m", "frozenseg", *words], cwd=ROOT, check=True)


def weights_of(folder: Path, model: str, seed: int) -> Path:
    """A decoder's file: the shipped one where that was trained by the same command."""
    from frozenseg.checkpoints.lookup import locate

    name = SHIPPED.get((model, seed))
    return locate(name) if name else folder / f"{model}_s{seed}" / "model_final.pth"


def train(folder: Path, model: str, seed: int) -> None:
    """Trains a decoder, or goes on with it; without evaluation."""
    if not weights_of(folder, model, seed).is_file():
        keys = (*WITHOUT_SAM, *LONGER) if model == "fcclip" else ()
        run_training(TRAINING, folder / f"{model}_s{seed}", "SEED", str(seed), *keys)


def run_training(config: Path, folder: Path, *keys: str) -> None:
    """Trains into a folder, or goes on with what is there; without evaluation."""
    keys = ("OUTPUT_DIR", str(folder), "SOLVER.CHECKPOINT_PERIOD", "100", *keys)
    words = ("--config-file", str(config), "--num-gpus", "0", "--resume")
    command("train", *words, *keys, "DATASETS.TEST", "()")


def export_proposals(folder: Path, dataset: str = VAL) -> None:
    """SAM's masks of the validation scenes, with the thresholds of the YAML file."""
    from frozenseg.config import load_config

    cfg = load_config(TRAINING)
    words = ["--dataset", dataset, "--sam", str(CONFIGS / cfg.MODEL.SAM_NAME)]
    words += ["--weights", "miniature-sam", "--output", str(folder)]
    chosen = cfg.TEST.SAM_MASK_GENERATION
    for name in (
        "POINTS_PER_SIDE",
        "PRED_IOU_THRESH",
        "STABILITY_SCORE_THRESH",
        "STABILITY_SCORE_OFFSET",
    ):
        words += [f"--{name.lower().replace('_', '-')}", str(chosen[name])]
    command("sam-masks", *words)


def score(
    folder: Path, model: str, seed: int, rows: dict[str, Row], images: int | None
) -> dict[str, Any]:
    """What `score_rows` gives of a decoder with the shipped adapter."""
    from frozenseg.build import load_model
    from frozenseg.checkpoints.join import join_adapter
    from frozenseg.checkpoints.lookup import locate
    from frozenseg.config import load_config
    from frozenseg.engine.evaluate import settings_for
    from tools.miniature.family_scores import score_rows

    joined = folder / f"{model}_s{seed}" / "joined.safetensors"
    joined.parent.mkdir(parents=True, exist_ok=True)
    join_adapter(locate("miniature-mask-adapter"), weights_of(folder, model, seed), joined)
    proposals = any(row.proposals for row in rows.values())
    keys = ["MODEL.DEVICE", "cpu", "TEST.USE_SAM_MASKS", str(proposals)]
    keys += ["TEST.SAM_MASKS_AS_QUERIES", "True", "TEST.SAM_MASKS_DIR", str(folder / "proposals")]
    keys += WITHOUT_SAM if model == "fcclip" else ()
    cfg = load_config(TEST, keys)
    net, _ = load_model(cfg, joined)
    with settings_for(net.eval(), cfg, ("panoptic", "instance", "semantic")):
        return {"seed": seed, **score_rows(net, cfg, VAL, rows, images)}


def table(found: Found, rows: Mapping[str, Row]) -> str:
    """Markdown: mean and deviation of the seeds; all / seen / unseen classes.

    The last column is the change of PQ against the same decoders (and proposals) as they are.
    """
    lines = [f"| | {' | '.join(SCORES)} | change of PQ |", "|---" * (len(SCORES) + 2) + "|"]
    for model, (title, row) in product(MODELS, rows.items()):
        runs = [run["rows"] for run in found[model]]
        if not runs:
            continue
        before = "SAM's proposals" if row.proposals else "as it is"
        cells = [
            " / ".join(spread([run[title][name][group] for run in runs]) for group in GROUPS)
            if name in runs[0][title]
            else "same"
            for name in SCORES
        ]
        changes = [
            [run[title]["PQ"][group] - run[before]["PQ"][group] for run in runs] for group in GROUPS
        ]
        cells.append("" if title == before else " / ".join(map(spread, changes)))
        lines.append(f"| {MODELS[model]}: {title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def void_tables(found: Found) -> str:
    """Markdown of the void studies, sums over the seeds.

    What became of the true segments of unseen classes, and how well p_void and CLIP tell the best
    query of each segment from all others; then what COAT lets speak, and what that does to the
    panoptic counts.
    """
    ends = ("found", "void", "wrong name", "no query")
    first = [f"| unseen | {' | '.join(ends)} | told by p_void | told by CLIP |", "|---" * 7 + "|"]
    second = [f"| | {' | '.join(SPOKEN)} | TP | FP | FN |", "|---" * 8 + "|"]
    for model, title in product(MODELS, ("as it is", "Mask-Adapter")):
        runs = found[model]
        if not runs:
            continue
        studies = [run["void"][title] for run in runs]
        cells = [
            str(sum(study["segments"].get(f"unseen, {end}", 0) for study in studies))
            for end in ends
        ]
        cells += [
            spread([study[f"told by {who}"] for study in studies]) for who in ("p_void", "CLIP")
        ]
        first.append(f"| {MODELS[model]}: {title} | {' | '.join(cells)} |")
        for trust in (0.25, 0.5):
            coat = f"COAT {trust}" if title == "as it is" else f"{title} + COAT {trust}"
            cells = [
                str(sum(run["void"][coat]["spoken"].get(kind, 0) for run in runs))
                for kind in SPOKEN
            ]
            counts = [
                (run["rows"][coat]["counts"]["all"], run["rows"][title]["counts"]["all"])
                for run in runs
            ]
            cells += [
                f"{sum(new[name] - old[name] for new, old in counts):+d}"
                for name in ("tp", "fp", "fn")
            ]
            second.append(f"| {MODELS[model]}: {coat} | {' | '.join(cells)} |")
    return "\n".join([*first, "", *second]) + "\n"


def spread(values: Sequence[float]) -> str:
    """Mean and sample deviation."""
    deviation = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{fmean(values):.1f}{deviation}"


def ranking(found: Found) -> str:
    """The choices, best mean PQ of all decoders first."""
    runs = [run["rows"] for each in found.values() for run in each]
    means = {title: fmean(run[title]["PQ"]["all"] for run in runs) for title in runs[0]}
    best = sorted(means, key=lambda title: -means[title])
    return "\n".join(f"{means[title]:.2f}  {title}" for title in best)


if __name__ == "__main__":
    cli.run(main, build_parser().parse_args())
