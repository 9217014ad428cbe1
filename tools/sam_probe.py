#!/usr/bin/env python
"""Where SAM's information is: linear read-out of outlines and things from each map of a model.

    python tools/sam_probe.py --weights output/novel/decoders/both_s0/model_final.pth

A logistic regression on the cells of a map, fitted on training scenes (no star, ring, moon, wood),
is asked on validation scenes: does an outline pass through this cell, does it show a thing? Of the
decoder's final queries: does the mask fit a region (IoU > 0.5)? The score is average precision
(chance: the share of yes), of outlines and things of seen and of unseen classes against the same
other cells. All maps are read at stride 4; finer detail than a map has cannot be read from it.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from frozenseg.cli import program as cli

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "miniature" / "novel_frozenseg.yaml"
TRAIN, VAL = "miniature_novel_train_panoptic", "miniature_novel_val_panoptic"
STRIDE, CELLS = 4, 400  # cells taken of each training scene
SEEN, UNSEEN = 1, 2  # kind of a yes


class Asked(NamedTuple):
    """Vectors (N, D), and 0, SEEN or UNSEEN of each (N)."""

    vectors_ND: Any
    kinds_N: Any


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True, help="a decoder: a file or a name")
    parser.add_argument("--config-file", default=str(CONFIG))
    parser.add_argument("--train", type=int, default=80, help="scenes to fit on: %(default)s")
    parser.add_argument("--val", type=int, default=80, help="scenes to ask: %(default)s")
    parser.add_argument("--opts", nargs="*", default=[], help="config keys and values")
    cli.add_debug_flag(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    """Prints the table."""
    import torch

    from frozenseg.build import load_model
    from frozenseg.config import load_config
    from frozenseg.engine.evaluate import settings_for

    torch.manual_seed(0)
    keys = [*args.opts, "MODEL.DEVICE", "cpu", "DATASETS.TEST", f"('{VAL}',)"]
    cfg = load_config(args.config_file, keys)
    net, _ = load_model(cfg, args.weights)
    with torch.no_grad(), settings_for(net.eval(), cfg, ("panoptic",)):
        train = collect(net, cfg, TRAIN, args.train, CELLS)
        val = collect(net, cfg, VAL, args.val)
    print("| what | read from | channels | seen | unseen |\n|---|---|---|---|---|")
    for (what, where), asked in train.items():
        seen, unseen = read_out(asked, val[what, where])
        channels = asked.vectors_ND.shape[1]
        print(f"| {what} | {where} | {channels} | {seen:.1f} | {unseen:.1f} |", flush=True)


def collect(
    net: Any, cfg: Any, dataset: str, count: int, cells: int | None = None
) -> dict[tuple[str, str], Asked]:
    """(what is asked, map) -> vectors and answers of the first `count` scenes.

    Args: cells: so many random ones of each scene; None: all.
    """
    import torch
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from frozenseg.data.mappers.masks import build_mapper
    from frozenseg.engine.evaluate import seen_of
    from frozenseg.progress import bar
    from tools.miniature.family_scores import compare

    words = MetadataCatalog.get(dataset).vocabulary
    kind_C = torch.where(torch.as_tensor(seen_of(cfg, words)), SEEN, UNSEEN)
    thing_C = torch.as_tensor(words.thing_mask)
    mapper = build_mapper(cfg, is_train=False)
    net.set_vocabulary(words)
    found: dict[tuple[str, str], list[Asked]] = defaultdict(list)
    for record in bar(DatasetCatalog.get(dataset)[:count], dataset, "image"):
        inputs = [mapper(record)]
        maps, queries_QD, masks_QHW = maps_of(net, inputs)
        outline_N, thing_N = answers(inputs[0], kind_C, thing_C)
        taken_N = torch.randperm(len(thing_N))[:cells]
        for name, vectors_ND in maps.items():
            vectors = vectors_ND[taken_N].half()
            found["outline", name].append(Asked(vectors, outline_N[taken_N]))
            found["thing", name].append(Asked(vectors, thing_N[taken_N]))
        truth = compare(masks_QHW, inputs[0])
        iou_Q, best_Q = truth.iou_QT.max(1)
        fits_Q = kind_C[truth.classes_T[best_Q]] * (iou_Q > 0.5)
        found["fits a region", "final queries"].append(Asked(queries_QD, fits_Q))
    return {key: Asked(*map(torch.cat, zip(*rows, strict=True))) for key, rows in found.items()}


def maps_of(net: Any, inputs: list[dict[str, Any]]) -> tuple[dict[str, Any], Any, Any]:
    """Cells (N, D) of the maps at stride 4, the final queries (Q, D), their masks (Q, H, W)."""
    import torch
    import torch.nn.functional as F

    images, features = net.encode(inputs)
    size = tuple(side // STRIDE for side in images.tensor.shape[-2:])

    def cells(map_BDHW: Any) -> Any:
        return F.interpolate(map_BDHW.float(), size, mode="bilinear")[0].flatten(1).T

    head, normed = net.sem_seg_head, list[Any]()
    handle = head.predictor.decoder_norm.register_forward_hook(lambda *call: normed.append(call[2]))
    pixels = head.pixel_decoder(features)
    classifier = net.classifier(net.vocabulary)
    output = head.predictor(pixels, classifier, net.void_embedding.weight).final
    handle.remove()
    clip = torch.cat([cells(features[f"res{level}"]) for level in (2, 3, 4, 5)], dim=1)
    maps = {"CLIP (strides 4 to 32)": clip}
    if pixels.sam is not None:
        neck = cells(pixels.sam.neck_BDhw)
        maps |= {"SAM (stride 16)": neck, "CLIP and SAM": torch.cat((clip, neck), dim=1)}
        if pixels.sam.encoded_BDhw is not None:
            maps["SAM branch (stride 32)"] = cells(pixels.sam.encoded_BDhw)
    maps["per-pixel embedding"] = cells(pixels.mask_features_BDHW)
    whole = tuple(images.tensor.shape[-2:])
    masks_BQHW = F.interpolate(output.mask_logits_BQHW, whole, mode="bilinear") > 0
    return maps, normed[-1][0], masks_BQHW[0]


def answers(record: Mapping[str, Any], kind_C: Any, thing_C: Any) -> tuple[Any, Any]:
    """Of the cells (N): whether an outline passes through it, whether most of it is a thing.

    An outline is of unseen classes if one of the segments that meet there is.
    """
    import torch
    import torch.nn.functional as F

    from frozenseg.data.reading import ids_of_rgb, read_panoptic_png

    ids_HW = torch.from_numpy(ids_of_rgb(read_panoptic_png(record["pan_seg_file_name"])))
    ids_NP = F.unfold(ids_HW[None, None].double(), STRIDE, stride=STRIDE)[0].T.long()
    kind_of, thing_of = torch.zeros(2, int(ids_HW.max()) + 1, dtype=torch.long)
    for segment in record["segments_info"]:
        name = segment["category_id"]
        kind_of[segment["id"]] = kind_C[name]
        thing_of[segment["id"]] = kind_C[name] * thing_C[name]
    mixed_N = (ids_NP != ids_NP[:, :1]).any(1)
    return kind_of[ids_NP].amax(1) * mixed_N, thing_of[ids_NP.mode(1).values]


def read_out(train: Asked, val: Asked) -> tuple[float, float]:
    """Average precision in percent of seen and unseen, of a logistic regression."""
    import torch
    import torch.nn.functional as F

    mean, deviation = train.vectors_ND.float().mean(0), train.vectors_ND.float().std(0) + 1e-6
    x_ND = (train.vectors_ND.float() - mean) / deviation
    yes_N = (train.kinds_N > 0).float()
    weight_D, bias = (
        x_ND.new_zeros(x_ND.shape[1], requires_grad=True),
        torch.zeros((), requires_grad=True),
    )
    search = torch.optim.LBFGS((weight_D, bias), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Any:
        search.zero_grad()
        value = F.binary_cross_entropy_with_logits(x_ND @ weight_D + bias, yes_N)
        value = value + 1e-4 * weight_D.square().sum()
        value.backward()
        return value

    search.step(loss)
    with torch.no_grad():
        score_N = ((val.vectors_ND.float() - mean) / deviation) @ weight_D
    seen, unseen = (
        average_precision(score_N[keep], val.kinds_N[keep] > 0)
        for keep in ((val.kinds_N == 0) | (val.kinds_N == kind) for kind in (SEEN, UNSEEN))
    )
    return seen, unseen


def average_precision(score_N: Any, yes_N: Any) -> float:
    """Mean precision at every yes, best score first; percent."""
    import torch

    ranked_N = yes_N[score_N.argsort(descending=True)].double()
    precision_N = ranked_N.cumsum(0) / torch.arange(1, len(ranked_N) + 1)
    return 100 * float((precision_N * ranked_N).sum() / ranked_N.sum())


if __name__ == "__main__":
    cli.run(main, build_parser().parse_args())
