"""What a benchmark split is: names, words, where its files lie and how it is scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

README = "datasets/README.md"
TASKS = ("panoptic", "instance", "semantic")
FOLDERS = {"train": "training", "val": "validation"}  # names of the splits in many datasets
EXIF = ("turn", "ignore")
PATH_FIELDS = (
    *("images", "image_list", "panoptic_json", "panoptic_masks", "episodes_json"),
    *("semantic_masks", "instance_masks"),
)
PREPARE = "frozenseg data prepare"


@dataclass(frozen=True)
class Origin:
    """Where the files of a split come from, and what to do about missing and damaged ones.

    Attributes:
        command: makes the annotations; "" if they are used as they are downloaded.
        redo_flag: the option of `command` that makes existing files again.
        made_folder: what to delete first if `command` has no such option.
        readme_section: the section of datasets/README.md that describes the download.
        images_made: `command` makes the images, too.
        common_mistake: why labels or category ids are usually out of range.
        labels_start_at_one: the raw labels are one larger than the prepared ones, 0 is unlabelled.
    """

    command: str = ""
    redo_flag: str = ""
    made_folder: str = ""
    readme_section: str = ""
    images_made: bool = False
    common_mistake: str = ""
    labels_start_at_one: bool = False

    @classmethod
    def prepared(
        cls,
        name: str,
        split: str,
        section: str,
        mistake: str = "",
        words: str = "",
        **more: Any,
    ) -> Origin:
        """Files that `frozenseg data prepare NAME` makes; without --splits those of validation.

        Args: words: further words of the command; `mistake` and `more`: attributes.
        """
        splits = "" if split == "val" else f"--splits {split}"
        command = " ".join(filter(None, (PREPARE, name, words, splits)))
        return cls(command, "--overwrite", "", section, common_mistake=mistake, **more)

    @property
    def remedy(self) -> str:
        """What to do if all annotations are missing, as an order."""
        return f"run {self.command}" if self.command else self.download

    @property
    def completion(self) -> str:
        """What to do if some of them are missing."""
        return self.repair if self.made_folder else self.remedy

    @property
    def repair(self) -> str:
        """What to do if they are wrong."""
        if self.redo_flag:
            return f"{self.remedy} {self.redo_flag}"
        if self.made_folder:
            return f"delete {self.made_folder}/ and {self.remedy}"
        published = self.command or self.readme_section
        return f"replace them: {self.remedy}" if published else self.remedy

    @property
    def download(self) -> str:
        """What to do about a missing image."""
        if self.images_made:
            return self.completion
        section = self.readme_section
        return f"see {README}, section {section}" if section else "replace or repair it"

    def redo(self, order: str) -> str:
        """`order` for a single damaged file, which is not made again while it is there."""
        return order if order.startswith(("delete", "replace")) else f"delete it, then {order}"

    @property
    def mistake(self) -> str:
        """The end of a sentence that names the common mistake; "" where there is none."""
        return f": {self.common_mistake}" if self.common_mistake else ""


@dataclass(frozen=True)
class DatasetSplit:
    """One split of one benchmark; all paths are relative to the root of the datasets.

    Attributes:
        name: registered name, as in DATASETS.TRAIN and DATASETS.TEST.
        benchmark, split: how results call it.
        tasks: what its ground truth can score, of "panoptic", "instance", "semantic"; or only
            "episodes": each image is asked for named classes, all else is background.
        vocabulary: name of a built-in table, a file (.txt, .tsv, .json; relative to the root like
            all paths), or the classes themselves ("red disk, scarlet disk; grass:stuff").
        images, panoptic_masks, semantic_masks, instance_masks: folders; with a panoptic JSON and
            without `semantic_masks` the semantic ground truth is derived from the panoptic one.
        panoptic_json: annotation file in COCO panoptic format; instances are its thing segments.
        image_list: text file with the names of the images that belong to the split, one a line,
            relative to `images`, with or without suffix; "" means all.
        instance_json: annotation file in COCO's (or LVIS') instance format. Beside a panoptic JSON
            it is only named in the metadata, for detectron2's evaluators.
        episodes_json: index of the images of an episodic benchmark and the classes in them
            (`episodes.py`); its label maps hold the ids of all classes, also of other folds.
        min_pixels: an episode asks for a class only where it has so many pixels.
        max_items: so many episodes are kept, the first ones; 0 means all.
        asked_together: an episode asks for all classes of its image, not for one.
        aliases: further registered names.
        classes: number of classes; 0 where it is not fixed.
        shared_names: two classes may have a name in common (published lists).
        category_ids: the dataset's own id of every class, in vocabulary order; () means those of
            the vocabulary, or 0..C-1 if it has none.
        labels_are_ids: semantic masks hold these ids; otherwise class indices 0..C-1.
        label_colors: semantic masks are coloured pictures: (colour as R + 256 G + 65536 B, class
            index, or -1 for one that is not scored) of every colour in them.
        ignore_label: the value of semantic masks that is not scored.
        image_suffix, semantic_suffix, instance_suffix: ends of file names; what is before them
            is the same in an image and its masks. An empty image suffix means any image file.
        exif: "turn": images are turned as their EXIF orientation says, as other programs show them;
            "ignore": pixels are taken as they are stored.
        city_folders: files lie in folders named by the beginning of the image's id, up to "_".
        origin: where its files come from: command, download, known mistakes.
        image_counts: how many images the official split has (several where releases differ).
        test_size: (shortest edge, longest edge) of test images; (0, 0) keeps their size, None takes
            INPUT.*_SIZE_TEST.
        object_mask_threshold: replaces MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD in evaluations;
            None takes it.
        evaluator: detectron2's name for the kind of evaluation (`evaluator_type`).
        mess_domain: of one of MESS's sets, the domain that its score is averaged in.
    """

    name: str
    benchmark: str
    split: str
    tasks: tuple[str, ...]
    vocabulary: str
    images: str
    image_list: str = ""
    panoptic_json: str = ""
    panoptic_masks: str = ""
    semantic_masks: str = ""
    instance_json: str = ""
    instance_masks: str = ""
    episodes_json: str = ""
    min_pixels: int = 1
    max_items: int = 0
    asked_together: bool = False
    aliases: tuple[str, ...] = ()
    classes: int = 0
    shared_names: bool = False
    category_ids: tuple[int, ...] = ()
    labels_are_ids: bool = False
    label_colors: tuple[tuple[int, int], ...] = ()
    ignore_label: int = 255
    image_suffix: str = ".jpg"
    semantic_suffix: str = ".png"
    instance_suffix: str = ""
    exif: str = EXIF[0]
    city_folders: bool = False
    origin: Origin = Origin()
    image_counts: tuple[int, ...] = ()
    test_size: tuple[int, int] | None = None
    object_mask_threshold: float | None = None
    evaluator: str = ""
    mess_domain: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The name and its aliases."""
        return (self.name, *self.aliases)

    @property
    def kind(self) -> str:
        """Format of the ground truth: "panoptic", "instances", "lvis", "instance maps",
        "episodes" or "semantic".
        """
        if self.episodes_json:
            return "episodes"
        if self.panoptic_json:
            return "panoptic"
        if self.instance_json:
            return "lvis" if self.evaluator == "lvis" else "instances"
        return "instance maps" if self.instance_masks else "semantic"

    @property
    def asks_per_image(self) -> bool:
        """Whether an image is one episode: in training, where one of its classes is drawn later,
        and where they are asked together; otherwise each of its classes is an episode.
        """
        return self.asked_together or self.split.endswith("train")

    @property
    def vocabulary_file(self) -> str:
        """The file that the classes are read from; "" if there is none."""
        return self.vocabulary if is_class_file(self.vocabulary) else ""

    def paths(self) -> Iterator[tuple[str, str]]:
        """(what it is, path) of the files and folders that must be there."""
        needed = [(field, getattr(self, field)) for field in PATH_FIELDS]
        if not self.panoptic_json:
            needed.append(("instance_json", self.instance_json))
        needed.append(("class list", self.vocabulary_file))
        yield from ((what, path) for what, path in dict(needed).items() if path)

    def image_file(self, image: Mapping[str, Any]) -> str:
        """Path below `images` of an entry of the annotation file's `images`.

        Raises: KeyError naming the key that the entry lacks.
        """
        if self.city_folders:
            return city_path(image["id"]) + self.image_suffix
        if self.kind == "lvis":  # http://images.cocodataset.org/train2017/000000155379.jpg
            return "/".join(image["coco_url"].split("/")[-2:])
        return str(image["file_name"])

    def semantic_file(self, annotation: Mapping[str, Any]) -> str:
        """Path below `semantic_masks` of the image of a panoptic annotation."""
        if self.city_folders:
            return city_path(annotation["image_id"]) + self.semantic_suffix
        return str(PurePosixPath(annotation["file_name"]).with_suffix("")) + self.semantic_suffix


def is_class_file(words: str) -> bool:
    """Whether words of a row are a file's name, not classes (with ";") or the name of a table."""
    return ";" not in words and words.endswith((".txt", ".tsv", ".json"))


def city_path(image_id: str) -> str:
    """The image with its folder: "aachen/aachen_000000_000019" of "aachen_000000_000019"."""
    return f"{image_id.split('_')[0]}/{image_id}"
