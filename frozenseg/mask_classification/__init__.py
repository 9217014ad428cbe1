"""FC-CLIP, FrozenSeg and their relatives (`frozenseg.build` registers them in detectron2)."""
