"""MESS, the Multi-domain Evaluation of Semantic Segmentation: one line of facts for each set.

Source: Blumenstiel et al., NeurIPS 2023, arXiv:2306.15521, which names 22 sets in five domains.
Here are those whose published layout is known for certain; BDD100K is a row of `rows.py`, and
datasets/README.md, section MESS, says why the others are not here. Layouts, colours and names are
those of the sets' own releases; the authors of MESS may ask for other words.
"""

from __future__ import annotations

from dataclasses import dataclass

from frozenseg.data.catalog.split import DatasetSplit, Origin

# Domain -> how many of MESS's sets it has; their sum is 22.
DOMAINS = {
    "general": 6,
    "earth monitoring": 5,
    "medical sciences": 4,
    "engineering": 4,
    "agriculture and biology": 3,
}
CROP = 1024  # pixels; large images are cut into squares, those at the right and lower edge are less
SECTION = "MESS"
MADE = "mess"  # folder of the made files below the root
# fmt: off
BLACK_WHITE = ((0, 0, 0), (255, 255, 255))
POTSDAM_TEST = (
    "2_13", "2_14", "3_13", "3_14", "4_13", "4_14", "4_15",
    "5_13", "5_14", "5_15", "6_13", "6_14", "6_15", "7_13",
)
FOODSEG103 = (
    "background:stuff; candy; egg tart; french fries; chocolate; biscuit; popcorn; pudding; ice "
    "cream; cheese butter; cake; wine; milkshake; coffee; juice; milk; tea; almond; red beans; "
    "cashew; dried cranberries; soy; walnut; peanut; egg; apple; date; apricot; avocado; banana; "
    "strawberry; cherry; blueberry; raspberry; mango; olives; peach; lemon; pear; fig; pineapple; "
    "grape; kiwi; melon; orange; watermelon; steak; pork; chicken duck; sausage; fried meat; "
    "lamb; sauce; crab; fish; shellfish; shrimp; soup; bread; corn; hamburg; pizza; hanamaki "
    "baozi; wonton dumplings; pasta; noodles; rice; pie; tofu; eggplant; potato; garlic; "
    "cauliflower; tomato; kelp; seaweed; spring onion; rape; ginger; okra; lettuce; pumpkin; "
    "cucumber; white radish; carrot; asparagus; bamboo shoots; broccoli; celery stick; cilantro "
    "mint; snow peas; cabbage; bean sprouts; onion; pepper; green beans; french beans; king "
    "oyster mushroom; shiitake; enoki mushroom; oyster mushroom; white button mushroom; salad; "
    "other ingredients"
)
ATLANTIS = (
    "bicycle; boat; breakwater; bridge; building; bus; canal; car; cliff; culvert; cypress tree; "
    "dam; ditch; fence; fire hydrant; fjord; flood; glaciers; hot spring; lake; levee; lighthouse; "
    "mangrove; marsh; motorcycle; offshore platform; parking meter; person; pier; pipeline; pole; "
    "puddle; rapids; reservoir; river; river delta; road; sea; ship; shoreline; sidewalk; sky; "
    "snow; spillway; swimming pool; terrain; traffic sign; train; truck; umbrella; vegetation; "
    "wall; water tower; water well; waterfall; wetland"
)
# fmt: on


@dataclass(frozen=True)
class MessSet:
    """A set as it is published, and what is scored of it.

    Attributes:
        title, page: its name, and where it comes from.
        domain: one of `DOMAINS`.
        images, labels: patterns of the published files below the root. A `*` stands for a part of
            a name; a file belongs to that of the other pattern whose stars stand for the same.
            `**/` stands for any folders, and these need not be the same.
        words: the vocabulary of the row (`DatasetSplit.vocabulary`), in the order of the indices.
        classes: how many there are.
        count: images that are scored; None where the number of crops is not known beforehand.
        first: published label of the first class; the others follow it.
        void: published labels that are not scored.
        colors: RGB of every class, where labels are coloured pictures.
        rounded: every channel of a coloured picture is taken as 0 or 255, whichever is nearer.
        lists: further published files that are needed.
        species: of `lists`, names the classes; white pixels are of the class that the image's
            folder is called.
        chosen: what the stars stand for in the images that are scored; () means all, or those of
            the list.
        cropped: images are cut into squares of `CROP` pixels.
    """

    title: str
    page: str
    domain: str
    images: str
    labels: str
    words: str
    classes: int
    count: int | None
    first: int = 0
    void: tuple[int, ...] = ()
    colors: tuple[tuple[int, int, int], ...] = ()
    rounded: bool = False
    lists: tuple[str, ...] = ()
    species: str = ""
    chosen: tuple[str, ...] = ()
    cropped: bool = False


MESS_SETS = {
    "dark_zurich": MessSet(
        "Dark Zurich",
        "https://www.trace.ethz.ch/publications/2019/GCMA_UIoU/",
        "general",
        "dark_zurich/rgb_anon/val/**/*_rgb_anon.png",
        "dark_zurich/gt/val/**/*_gt_labelTrainIds.png",
        "cityscapes",
        19,
        50,
        void=(255,),
    ),
    "foodseg103": MessSet(
        "FoodSeg103",
        "https://xiongweiwu.github.io/foodseg103.html",
        "general",
        "FoodSeg103/Images/img_dir/test/*.jpg",
        "FoodSeg103/Images/ann_dir/test/*.png",
        FOODSEG103,
        104,
        2135,
    ),
    "atlantis": MessSet(
        "ATLANTIS",
        "https://github.com/smhassanerfani/atlantis",
        "general",
        "atlantis/images/test/**/*.jpg",
        "atlantis/masks/test/**/*.png",
        ATLANTIS,
        56,
        1296,
        first=1,
        void=(0,),
    ),
    "isaid": MessSet(
        "iSAID",
        "https://captain-whu.github.io/iSAID/",
        "earth monitoring",
        "iSAID/val/images/**/*.png",
        "iSAID/val/Semantic_masks/**/*_instance_color_RGB.png",
        "background:stuff; ship; storage tank; baseball diamond; tennis court; basketball court; "
        "ground track field; bridge; large vehicle; small vehicle; helicopter; swimming pool; "
        "roundabout; soccer ball field; plane; harbor",
        16,
        None,
        colors=(
            *((0, 0, 0), (0, 0, 63), (0, 63, 63), (0, 63, 0), (0, 63, 127), (0, 63, 191)),
            *((0, 63, 255), (0, 127, 63), (0, 127, 127), (0, 0, 127), (0, 0, 191), (0, 0, 255)),
            *((0, 191, 127), (0, 127, 191), (0, 127, 255), (0, 100, 155)),
        ),
        cropped=True,
    ),
    "potsdam": MessSet(
        "ISPRS Potsdam",
        "https://www.isprs.org/education/benchmarks/UrbanSemLab/2d-sem-label-potsdam.aspx",
        "earth monitoring",
        "potsdam/3_Ortho_IRRG/**/top_potsdam_*_IRRG.tif",
        "potsdam/5_Labels_all/**/top_potsdam_*_label.tif",
        "impervious surfaces, road:stuff; building; low vegetation:stuff; tree; car; "
        "clutter, background:stuff",
        6,
        504,
        colors=(
            *((255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0)),
            (255, 0, 0),
        ),
        chosen=POTSDAM_TEST,
        cropped=True,
    ),
    "floodnet": MessSet(
        "FloodNet",
        "https://github.com/BinaLab/FloodNet-Supervised_v1.0",
        "earth monitoring",
        "FloodNet-Supervised_v1.0/test/test-org-img/*.jpg",
        "FloodNet-Supervised_v1.0/test/test-label-img/*_lab.png",
        "background:stuff; flooded building; non-flooded building; flooded road:stuff; "
        "non-flooded road:stuff; water:stuff; tree; vehicle; pool; grass:stuff",
        10,
        448,
    ),
    "uavid": MessSet(
        "UAVid",
        "https://uavid.nl/",
        "earth monitoring",
        "uavid/uavid_val/*/Images/*.png",
        "uavid/uavid_val/*/Labels/*.png",
        "background clutter:stuff; building; road:stuff; static car; tree; low vegetation:stuff; "
        "human; moving car",
        8,
        840,
        colors=(
            *((0, 0, 0), (128, 0, 0), (128, 64, 128), (192, 0, 192), (0, 128, 0), (128, 128, 0)),
            *((64, 64, 0), (64, 0, 128)),
        ),
        cropped=True,
    ),
    "kvasir_instrument": MessSet(
        "Kvasir-Instrument",
        "https://datasets.simula.no/kvasir-instrument/",
        "medical sciences",
        "kvasir-instrument/images/*.jpg",
        "kvasir-instrument/masks/*.png",
        "background, tissue:stuff; instrument",
        2,
        118,
        colors=BLACK_WHITE,
        rounded=True,
        lists=("kvasir-instrument/test.txt",),
    ),
    "chase_db1": MessSet(
        "CHASE DB1",
        "https://blogs.kingston.ac.uk/retinal/chasedb1/",
        "medical sciences",
        "CHASEDB1/*.jpg",
        "CHASEDB1/*_1stHO.png",
        "background, retina:stuff; blood vessel",
        2,
        28,
        colors=BLACK_WHITE,
        rounded=True,
    ),
    "deepcrack": MessSet(
        "DeepCrack",
        "https://github.com/yhlleo/DeepCrack",
        "engineering",
        "DeepCrack/test_img/*.jpg",
        "DeepCrack/test_lab/*.png",
        "background, concrete, asphalt:stuff; crack",
        2,
        237,
        colors=BLACK_WHITE,
        rounded=True,
    ),
    "zerowaste_f": MessSet(
        "ZeroWaste-f",
        "https://zenodo.org/records/6412647",
        "engineering",
        "zerowaste-f/splits_final_deblurred/test/data/*.PNG",
        "zerowaste-f/splits_final_deblurred/test/sem_seg/*.PNG",
        "background, conveyor belt, paper:stuff; rigid plastic; cardboard; metal; soft plastic",
        5,
        929,
    ),
    "pst900": MessSet(
        "PST900",
        "https://github.com/ShreyasSkandanS/pst900_thermal_rgb",
        "engineering",
        "PST900_RGBT_Dataset/test/rgb/*.png",
        "PST900_RGBT_Dataset/test/labels/*.png",
        "background:stuff; fire extinguisher; backpack; hand drill; survivor",
        5,
        288,
    ),
    "suim": MessSet(
        "SUIM",
        "https://irvlab.cs.umn.edu/resources/suim-dataset",
        "agriculture and biology",
        "SUIM/TEST/images/*.jpg",
        "SUIM/TEST/masks/*.bmp",
        "waterbody, background:stuff; human diver; aquatic plants, sea-grass:stuff; "
        "wreck, ruins; robot, instrument; reefs, invertebrates:stuff; fish, vertebrates; "
        "sea-floor, rocks:stuff",
        8,
        110,
        colors=(
            *((0, 0, 0), (0, 0, 255), (0, 255, 0), (0, 255, 255), (255, 0, 0), (255, 0, 255)),
            *((255, 255, 0), (255, 255, 255)),
        ),
        rounded=True,
    ),
    "cub_200": MessSet(
        "CUB-200-2011",
        "https://www.vision.caltech.edu/datasets/cub_200_2011/",
        "agriculture and biology",
        "CUB_200_2011/images/**/*.jpg",
        "CUB_200_2011/segmentations/**/*.png",
        f"{MADE}/cub_200/classes.txt",
        201,
        5794,
        colors=BLACK_WHITE,
        rounded=True,
        lists=("CUB_200_2011/images.txt", "CUB_200_2011/train_test_split.txt"),
        species="CUB_200_2011/classes.txt",
    ),
    "cwfid": MessSet(
        "CWFID",
        "https://github.com/cwfid/dataset",
        "agriculture and biology",
        "cwfid/images/*_image.png",
        "cwfid/annotations/*_annotation.png",
        "background, soil:stuff; crop; weed",
        3,
        21,
        colors=((0, 0, 0), (0, 255, 0), (255, 0, 0)),
        lists=("cwfid/train_test_split.yaml",),
    ),
}


def _row(name: str, one: MessSet) -> DatasetSplit:
    """The row of a set, called test whichever of the published splits it is."""
    return DatasetSplit(
        name=f"mess_{name}",
        benchmark=f"mess_{name}",
        split="test",
        tasks=("semantic",),
        vocabulary=one.words,
        classes=one.classes,
        images=f"{MADE}/{name}/images",
        image_suffix="",
        semantic_masks=f"{MADE}/{name}/labels",
        mess_domain=one.domain,
        origin=Origin.prepared("mess", "val", SECTION, words=f"--sets {name}", images_made=True),
        image_counts=() if one.count is None else (one.count,),
        evaluator="sem_seg",
    )


MESS_ROWS = tuple(_row(name, one) for name, one in MESS_SETS.items())
