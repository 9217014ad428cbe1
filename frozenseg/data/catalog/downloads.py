"""Where the published files of a benchmark come from, and how much there is to download.

Nothing is downloaded here: most of the data ask for a registration or the consent to a licence.
Sizes are those that the pages print; None where they print none.
"""

from __future__ import annotations

from typing import NamedTuple


class Download(NamedTuple):
    """What an evaluation needs: the page, the archives on it, and their size in gigabytes."""

    page: str
    archives: str
    gigabytes: float | None = None


# Section of datasets/README.md -> its download.
DOWNLOADS = {
    "COCO": Download(
        "https://cocodataset.org/#download",
        "2017 Val images, 2017 Panoptic Train/Val annotations, 2017 Train/Val annotations",
        2.1,
    ),
    "ADE20K": Download(
        "http://sceneparsing.csail.mit.edu/",
        "ADEChallengeData2016.zip, annotations_instance.tar",
        1.0,
    ),
    "ADE20K-Full": Download(
        "https://groups.csail.mit.edu/vision/datasets/ADE20K/", "release 2021_17_01"
    ),
    "Cityscapes": Download(
        "https://www.cityscapes-dataset.com/downloads/",
        "leftImg8bit_trainvaltest.zip, gtFine_trainvaltest.zip",
        11.2,
    ),
    "Mapillary Vistas": Download("https://www.mapillary.com/dataset/vistas", "version 1.2"),
    "Pascal Context": Download(
        "https://www.cs.stanford.edu/~roozbeh/pascal-context/ (trainval/, labels.txt) and "
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/ (the images)",
        "trainval.tar.gz, labels.txt, VOCtrainval_03-May-2010.tar",
        1.4,
    ),
    "Pascal VOC": Download(
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/", "VOCtrainval_11-May-2012.tar", 2.0
    ),
}
