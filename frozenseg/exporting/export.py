"""Writes a model as a folder that runs without this code: graphs, tokenizer, words, settings."""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.utils import parametrize

from frozenseg.checkpoints.table import WEIGHTS
from frozenseg.device import lacking_compiler
from frozenseg.exporting.fusioner_graph import WindowGraph
from frozenseg.exporting.graph import ImageGraph
from frozenseg.exporting.manifest import (
    FILE_NAME,
    FUSIONER,
    MASK_CLASSIFICATION,
    ExportManifest,
    FusionerSettings,
    write_manifest,
)
from frozenseg.exporting.text import export_text
from frozenseg.files import write_atomically
from frozenseg.fusioner.method import BACKGROUND_WORD
from frozenseg.fusioner.model import Fusioner
from frozenseg.mask_classification.model import MaskClassificationModel
from frozenseg.versions import package_versions
from frozenseg.vocab import Vocabulary

if TYPE_CHECKING:
    from frozenseg.predict.segmenter import Segmenter

logger = logging.getLogger(__name__)

OPSET = 20  # the first with GridSample of onnxruntime's present form
ONE_FILE = 2**30  # bytes of weights from which they lie in image.onnx.data

Graph = ImageGraph | WindowGraph
Inputs = Sequence[Tensor]
Run = Callable[[Inputs], list[NDArray[np.float32]]]


def export(
    segmenter: Segmenter,
    folder: Path,
    *,
    format: str = "onnx",
    precision: str = "float32",
    int8: bool = False,
    with_embeddings: bool = False,
) -> ExportManifest:
    """Writes the folder; what stands in it of an earlier export is replaced.

    Args:
        segmenter: on the CPU.
        format: "onnx": image.onnx and text.onnx; "pt2": image.pt2, with an AOTInductor package
            beside it where a C++ compiler is there, and text.onnx.
        precision: of the weights in the files; everything is computed in float32.
        int8: the weights of matrix products are 8 bits wide (onnxruntime's dynamic quantisation).
        with_embeddings: CLIP's embeddings of the masks are an output, too.
    Returns: the manifest, with the largest differences from the model.
    Raises: ValueError for a model that cannot be exported, or int8 without ONNX.
    """
    model = segmenter.predictor.model
    if int8 and format != "onnx":
        raise ValueError("--int8 is onnxruntime's: use --format onnx")
    if precision != "float32":
        model = copy.deepcopy(model)  # the segmenter's own weights stay what they are
    graph = graph_of(model, with_embeddings=with_embeddings).eval()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE_NAME).unlink(missing_ok=True)
    examples = [graph.random_inputs(**case) for case in graph.cases]
    with torch.no_grad():
        expected = [[each.numpy() for each in graph(*inputs)] for inputs in examples]
        if precision != "float32":
            keep_weights_in(graph, getattr(torch, precision))  # the text tower's, too
        program = trace(graph)
        files, run = _WRITERS[format](program, graph, folder, int8)
    deviation = [
        {**case, **differences(graph.outputs, run(inputs), wanted)}
        for case, inputs, wanted in zip(graph.cases, examples, expected, strict=True)
    ]
    export_text(_text_tower(model), folder)
    manifest = _manifest(
        segmenter,
        format=format,
        precision=precision,
        int8=int8,
        files=files | {"text": "text.onnx", "tokenizer": "tokenizer.json"},
        outputs=list(graph.outputs),
        deviation=deviation,
    )
    write_manifest(folder, manifest)
    return manifest


def graph_of(model: Any, *, with_embeddings: bool = False) -> Graph:
    """What is exported of a model. Raises: ValueError for one that cannot be, with the reason."""
    if isinstance(model, Fusioner):
        if with_embeddings:
            raise ValueError("a Fusioner has no masks whose CLIP embeddings could be an output")
        return WindowGraph(model)
    if isinstance(model, MaskClassificationModel):
        return ImageGraph(model, with_embeddings=with_embeddings)
    raise ValueError(f"{type(model).__name__} cannot be exported")


def _text_tower(model: Any) -> Any:
    return model.language if isinstance(model, Fusioner) else model.backbone.text


def _manifest(segmenter: Segmenter, **written: Any) -> ExportManifest:
    predictor = segmenter.predictor
    model: Any = predictor.model
    settings = predictor.task_settings or {}
    tasks = sorted(predictor.tasks, key=lambda task: task != segmenter.task)
    named = WEIGHTS.get(segmenter.name)
    text = _text_tower(model)
    # Vectors of rounded weights must not be taken for the model's own in the text cache.
    rounded = "" if written["precision"] == "float32" else f"-{written['precision']}"
    if isinstance(model, Fusioner):
        own = {
            "family": FUSIONER,
            "divisor": model.crop,
            "fusioner": FusionerSettings(
                crop=model.crop,
                stride=model.stride,
                threshold=model.threshold,
                background=BACKGROUND_WORD,
            ),
        }
    else:
        own = {"family": MASK_CLASSIFICATION, "divisor": model.size_divisibility}
    return ExportManifest(
        frozenseg=package_versions().get("frozenseg", "unknown"),
        name=segmenter.name,
        shortest_edge=predictor.edges[0],
        longest_edge=predictor.edges[1],
        tasks={task: settings[task] for task in tasks if task in settings},
        vocabulary=_content(segmenter.vocabulary),
        training_vocabulary=_content(model.train_vocabulary),
        templates=list(model.classifier.templates),
        text_digest=text.digest + rounded,
        context_length=text.context_length,
        embed_dim=text.embed_dim,
        batch_independent=model.batch_independent,
        licence=named.licence if named else "",
        **own,
        **written,
    )


def _content(vocabulary: Vocabulary) -> Any:
    return msgspec.json.decode(vocabulary.to_json())


def trace(graph: Graph) -> ExportedProgram:
    """The graph as a program of torch.export, with the sizes of its inputs free."""
    program = torch.export.export(
        graph,
        tuple(graph.random_inputs()),
        dynamic_shapes=graph.dynamic_shapes(),
        strict=False,
    )
    graph.eval()  # forgets what MobileSAM's attention keeps between calls: of the trace, no numbers
    drop_unused_weights(program)
    return program


def drop_unused_weights(program: ExportedProgram) -> None:
    """Takes out weights that nothing reads: the text tower, SAM's prompts, training's buffers."""
    unused = {
        node.name for node in program.graph.nodes if node.op == "placeholder" and not node.users
    }
    kept = []
    for spec in program.graph_signature.input_specs:
        if spec.target is None or spec.arg.name not in unused:
            kept.append(spec)
        else:
            program.state_dict.pop(spec.target, None)
            program.constants.pop(spec.target, None)
    program.graph_signature.input_specs[:] = kept
    names = {spec.arg.name for spec in kept}
    for node in list(program.graph.nodes):
        if node.op == "placeholder" and node.name not in names:
            program.graph.erase_node(node)
    program.graph_module.recompile()


class _Widened(nn.Module):
    """A weight that is kept in half precision and read in float32."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, half: Tensor) -> Tensor:
        return half.float()

    def right_inverse(self, weight: Tensor) -> tuple[Tensor]:
        return (weight.to(self.dtype),)  # a tensor by itself would have to keep its dtype


def keep_weights_in(model: nn.Module, dtype: torch.dtype) -> None:
    """Rounds all matrices and kernels of a model to `dtype`; it computes in float32 as before."""
    for module in list(model.modules()):
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.dtype == torch.float32 and weight.dim() > 1:
                parametrize.register_parametrization(module, name, _Widened(dtype), unsafe=True)


def differences(
    names: Sequence[str], found: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]
) -> dict[str, float]:
    """Largest absolute difference of every output; that of one with NaN is NaN."""
    return {
        name: float(np.abs(mine - wanted).max())
        for name, mine, wanted in zip(names, found, expected, strict=True)
    }


def write_onnx(
    program: ExportedProgram, graph: Graph, folder: Path, int8: bool
) -> tuple[dict[str, str], Run]:
    """image.onnx in the folder. Returns: the files by their role, and what runs them."""
    converted = torch.onnx.export(
        program,
        (),
        opset_version=OPSET,
        input_names=graph.inputs,
        output_names=graph.outputs,
        dynamo=True,
        verbose=False,
    )
    assert converted is not None
    size = sum(weight.nbytes for weight in program.state_dict.values())
    path = folder / "image.onnx"
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / path.name
        converted.save(made, external_data=size > ONE_FILE)
        if int8:
            made = quantised(made)
        for part in made.parent.glob(f"{path.name}*"):
            part.replace(folder / part.name)
    return {"image": path.name}, onnx_runner(path, graph.inputs)


def quantised(path: Path) -> Path:
    """The file of the same graph with 8 bit weights, in a folder beside `path`."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    made = path.parent / "int8" / path.name
    made.parent.mkdir()
    ready = path.with_name("prepared.onnx")
    big = path.with_name(f"{path.name}.data").exists()
    quant_pre_process(path, ready, skip_symbolic_shape=True, save_as_external_data=big)
    quantize_dynamic(
        ready,
        made,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=big,
    )
    return made


def onnx_runner(
    path: Path,
    names: Sequence[str],
    threads: int = 0,
    weights: Mapping[str, Tensor] = MappingProxyType({}),
) -> Run:
    """Runs an ONNX file with inputs of these names on the CPU.

    Args:
        threads: 0: all cores.
        weights: in the place of those in the file.
    Raises: ValueError if the file has no weight of such a name.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    values = {
        name: onnxruntime.OrtValue.ortvalue_from_numpy(w.numpy()) for name, w in weights.items()
    }
    for name, value in values.items():
        options.add_initializer(name, value)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(inputs: Inputs) -> list[NDArray[np.float32]]:
        named = zip(names, inputs, strict=True)
        found: Any = session.run(None, {name: value.numpy() for name, value in named})
        return found

    return run


def _write_pt2(
    program: ExportedProgram, graph: Graph, folder: Path, int8: bool
) -> tuple[dict[str, str], Run]:
    write_atomically(folder / "image.pt2", lambda part: torch.export.save(program, part))
    files = {"image": "image.pt2"}
    if lacking := lacking_compiler("cpu"):
        logger.warning("image.pt2 alone: an AOTInductor package needs %s", lacking)
        call: Any = torch.export.load(folder / files["image"]).module()
    else:
        files["package"] = "image.aoti.pt2"
        package = str(folder / files["package"])
        torch._inductor.aoti_compile_and_package(program, package_path=package)
        call = torch._inductor.aoti_load_package(package)

    def run(inputs: Inputs) -> list[NDArray[np.float32]]:
        with torch.no_grad():
            return [each.numpy() for each in call(*inputs)]

    return files, run


_WRITERS = {"onnx": write_onnx, "pt2": _write_pt2}
