"""From what a benchmark publishes to the files that the catalog's rows name.

One module per family of benchmarks (ade20k, ade20k_full, bdd100k, cityscapes, coco, coco_20i,
fss_mosaic, mapillary, mess, pascal, pascal_5i). work.py runs the conversions of single images,
raw_files.py reads what was published; prepared_files.py, labels.py, segments.py and episodes.py
make the results.
No pickle is ever loaded, and none of this needs torch.
"""
