"""YAML files of the shape of FC-CLIP's and FrozenSeg's released ones.

Chains of bases, keys, quirks: both repositories start from Mask2Former's two files, of which the
second sets IN_FEATURES twice.
"""

from __future__ import annotations

from pathlib import Path

BASE = "Base-COCO-PanopticSegmentation.yaml"
MASK2FORMER = "maskformer2_R50_bs16_50ep.yaml"
_BASE = """
MODEL:
  BACKBONE:
    FREEZE_AT: 0
    NAME: "build_resnet_backbone"
  WEIGHTS: "detectron2://ImageNetPretrained/torchvision/R-50.pkl"
  PIXEL_MEAN: [123.675, 116.280, 103.530]
  PIXEL_STD: [58.395, 57.120, 57.375]
  RESNETS:
    DEPTH: 50
    STEM_TYPE: "basic"
    STEM_OUT_CHANNELS: 64
    STRIDE_IN_1X1: False
    OUT_FEATURES: ["res2", "res3", "res4", "res5"]
    RES5_MULTI_GRID: [1, 1, 1]
DATASETS:
  TRAIN: ("coco_2017_train_panoptic",)
  TEST: ("coco_2017_val_panoptic_with_sem_seg",)
SOLVER:
  IMS_PER_BATCH: 16
  BASE_LR: 0.0001
  STEPS: (327778, 355092)
  MAX_ITER: 368750
  WARMUP_FACTOR: 1.0
  WARMUP_ITERS: 10
  WEIGHT_DECAY: 0.05
  OPTIMIZER: "ADAMW"
  BACKBONE_MULTIPLIER: 0.1
  CLIP_GRADIENTS:
    ENABLED: True
    CLIP_TYPE: "full_model"
    CLIP_VALUE: 0.01
    NORM_TYPE: 2.0
  AMP:
    ENABLED: True
INPUT:
  IMAGE_SIZE: 1024
  MIN_SCALE: 0.1
  MAX_SCALE: 2.0
  FORMAT: "RGB"
  DATASET_MAPPER_NAME: "coco_panoptic_lsj"
TEST:
  EVAL_PERIOD: 5000
DATALOADER:
  FILTER_EMPTY_ANNOTATIONS: True
  NUM_WORKERS: 4
VERSION: 2
"""
_MASK2FORMER = """
_BASE_: {base}
MODEL:
  META_ARCHITECTURE: "MaskFormer"
  SEM_SEG_HEAD:
    NAME: "MaskFormerHead"
    IN_FEATURES: ["res2", "res3", "res4", "res5"]
    IGNORE_VALUE: 255
    NUM_CLASSES: 133
    LOSS_WEIGHT: 1.0
    CONVS_DIM: 256
    MASK_DIM: 256
    NORM: "GN"
    PIXEL_DECODER_NAME: "MSDeformAttnPixelDecoder"
    IN_FEATURES: ["res2", "res3", "res4", "res5"]
    DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES: ["res3", "res4", "res5"]
    COMMON_STRIDE: 4
    TRANSFORMER_ENC_LAYERS: 6
  MASK_FORMER:
    TRANSFORMER_DECODER_NAME: "MultiScaleMaskedTransformerDecoder"
    TRANSFORMER_IN_FEATURE: "multi_scale_pixel_decoder"
    DEEP_SUPERVISION: True
    NO_OBJECT_WEIGHT: 0.1
    CLASS_WEIGHT: 2.0
    MASK_WEIGHT: 5.0
    DICE_WEIGHT: 5.0
    HIDDEN_DIM: 256
    NUM_OBJECT_QUERIES: 100
    NHEADS: 8
    DROPOUT: 0.0
    DIM_FEEDFORWARD: 2048
    ENC_LAYERS: 0
    PRE_NORM: False
    ENFORCE_INPUT_PROJ: False
    SIZE_DIVISIBILITY: 32
    DEC_LAYERS: 10  # 9 decoder layers, add one for the loss on learnable query
    TRAIN_NUM_POINTS: 12544
    OVERSAMPLE_RATIO: 3.0
    IMPORTANCE_SAMPLE_RATIO: 0.75
    TEST:
      SEMANTIC_ON: True
      INSTANCE_ON: True
      PANOPTIC_ON: True
      OVERLAP_THRESHOLD: 0.8
      OBJECT_MASK_THRESHOLD: 0.8
"""
_MODEL = """
_BASE_: ../{base}
MODEL:
  META_ARCHITECTURE: "{architecture}"
  SEM_SEG_HEAD:
    NAME: "{architecture}Head"
  # backbone part.
  BACKBONE:
    NAME: "CLIP"
  WEIGHTS: ""
  PIXEL_MEAN: [122.7709383, 116.7460125, 104.09373615]
  PIXEL_STD: [68.5005327, 66.6321579, 70.32316305]
  {section}:
    CLIP_MODEL_NAME: "convnext_large_d_320"
    CLIP_PRETRAINED_WEIGHTS: "laion2b_s29b_b131k_ft_soup"
    EMBED_DIM: 768
    GEOMETRIC_ENSEMBLE_ALPHA: 0.4
    GEOMETRIC_ENSEMBLE_BETA: 0.8
    ENSEMBLE_ON_VALID_MASK: False
  MASK_FORMER:
    NUM_OBJECT_QUERIES: 250
    TEST:
      SEMANTIC_ON: True
      INSTANCE_ON: True
      PANOPTIC_ON: True
      OBJECT_MASK_THRESHOLD: 0.0

DATASETS:
  TRAIN: ("openvocab_coco_2017_train_panoptic_with_sem_seg",)
  TEST: ("openvocab_ade20k_panoptic_val",)
"""
_DATASET = """
_BASE_: ./{base}

MODEL:
  MASK_FORMER:
    TEST:
      SEMANTIC_ON: {semantic}
      PANOPTIC_ON: {panoptic}
      INSTANCE_ON: {panoptic}
      OBJECT_MASK_THRESHOLD: {threshold}
INPUT:
    MIN_SIZE_TEST: {shortest}
    MAX_SIZE_TEST: {longest}
DATASETS:
  TEST: ("{dataset}",)"""
_CLIP = """
_BASE_: ./{base}
MODEL:
  {section}:
    CLIP_MODEL_NAME: "{clip}"
    CLIP_PRETRAINED_WEIGHTS: "openai"
    EMBED_DIM: {width}
    ENSEMBLE_ON_VALID_MASK: True"""
# Ending of a file's name -> dataset, whether it has panoptic ground truth.
_DATASETS = {
    "a847": ("openvocab_ade20k_full_sem_seg_val", False),
    "bdd_panop": ("bdd10k_40_panoptic_val", True),
    "bdd_sem": ("bdd10k_val_sem_seg", False),
    "cityscapes": ("openvocab_cityscapes_fine_panoptic_val", True),
    "coco": ("openvocab_coco_2017_val_panoptic_with_sem_seg", True),
    "lvis": ("openvocab_lvis_v1_val", True),
    "mapillary_vistas": ("openvocab_mapillary_vistas_panoptic_val", True),
    "pas20": ("openvocab_pascal20_sem_seg_val", False),
    "pas21": ("openvocab_pascal21_sem_seg_val", False),
    "pc459": ("openvocab_pascal_ctx459_sem_seg_val", False),
    "pc59": ("openvocab_pascal_ctx59_sem_seg_val", False),
}
_FCCLIP_DATASETS = "a847 cityscapes coco mapillary_vistas pas20 pas21 pc459 pc59"
_FROZENSEG_DATASETS = "a847 bdd_panop bdd_sem cityscapes coco lvis mapillary_vistas pas21 pc459"
CLIPS = {"r50": ("RN50", 1024), "r101": ("RN101", 512), "r50x4": ("RN50x4", 640)}
CLIPS |= {"r50x16": ("RN50x16", 768), "r50x64": ("RN50x64", 1024)}


def write_released(root: Path) -> dict[str, str]:
    """Writes both repositories' folders; the files, below `root`, and the dataset of each."""
    return {
        **_write(
            root / "configs/coco/panoptic-segmentation",
            "fcclip",
            "fcclip_convnext_large_eval_",
            "FCCLIP",
            "FC_CLIP",
            _FCCLIP_DATASETS,
            {f"fcclip_convnext_large_eval_ade20k_{clip}.yaml": clip for clip in CLIPS},
        ),
        **_write(
            root / "configs/coco",
            "frozenseg",
            "convnext_large_eval_",
            "FrozenSeg",
            "FROZEN_SEG",
            _FROZENSEG_DATASETS,
            {"r50x64_eval_ade20k.yaml": "r50x64"},
        ),
    }


def _write(
    bases: Path,
    folder: str,
    stem: str,
    architecture: str,
    section: str,
    datasets: str,
    clips: dict[str, str],
) -> dict[str, str]:
    model = f"{stem}ade20k.yaml"
    ade20k, coco = "openvocab_ade20k_panoptic_val", "coco_2017_val_panoptic_with_sem_seg"
    texts = {
        bases / BASE: (_BASE, coco),
        bases / MASK2FORMER: (_MASK2FORMER.format(base=BASE), coco),
        bases / folder / model: (
            _MODEL.format(base=MASK2FORMER, architecture=architecture, section=section),
            ade20k,
        ),
    }
    for name in datasets.split():
        dataset, panoptic = _DATASETS[name]
        is_large = name in ("cityscapes", "mapillary_vistas")
        text = _DATASET.format(
            base=model,
            semantic=name not in ("bdd_panop", "lvis"),
            panoptic=panoptic,
            threshold="0.4" if name == "bdd_panop" else "0.0",
            shortest=1024 if is_large else 800,
            longest=2560 if is_large else 1333,
            dataset=dataset,
        )
        texts[bases / folder / f"{stem}{name}.yaml"] = text, dataset
    for name, clip in clips.items():
        visual, width = CLIPS[clip]
        text = _CLIP.format(base=model, section=section, clip=visual, width=width)
        texts[bases / folder / name] = text, ade20k
    for path, (text, _) in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.lstrip(), encoding="utf-8")
    return {str(path): dataset for path, (_, dataset) in texts.items()}
