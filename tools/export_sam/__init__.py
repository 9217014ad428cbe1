"""The parts of tools/export_sam_masks.py."""
