"""Oracles, errors, recall, calibration and boundaries of PQ, on images worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frozenseg.data.reading import rgb_of_ids
from frozenseg.evaluation.averages import class_groups
from frozenseg.evaluation.panoptic_quality import match_image
from frozenseg.evaluation.segment_diagnosis import (
    ERRORS,
    ORACLES,
    SegmentDiagnosis,
    boundary_iou,
    calibration_counts,
    calibration_row,
    confusion_rows,
    error_counts,
    open_pq_counts,
    pq_counts,
    recall_counts,
    recall_rows,
)
from frozenseg.evaluation.segment_table import (
    boundary_distance,
    boundary_pixels,
    positions,
    segment_table,
)
from frozenseg.evaluation.word_similarity import Similarity, text_similarity

NAMES = ("cat", "dog", "grass", "sky")
THINGS = [True, True, False, False]
COSINE = np.array(
    [[1, 0.9, 0.5, 0.5], [0.9, 1, 0.5, 0.5], [0.5, 0.5, 1, 0.7], [0.5, 0.5, 0.7, 1]],
    dtype=np.float32,
)
# Four quarters of 10 x 10 pixels: a cat, a dog, grass, sky.
IDS = np.kron(np.array([[7, 300], [12, 90]]), np.ones((10, 10), dtype=np.int64))
TRUTH = [
    {"id": 7, "category_id": 0, "iscrowd": 0},
    {"id": 300, "category_id": 1, "iscrowd": 0},
    {"id": 12, "category_id": 2, "iscrowd": 0},
    {"id": 90, "category_id": 3, "iscrowd": 0},
]


def segments(*labels, scores=None):
    """Predicted segments 1, 2, ... of these classes."""
    scores = scores or [0.95] * len(labels)
    return [
        {"id": i, "category_id": label, "score": score}
        for i, (label, score) in enumerate(zip(labels, scores, strict=True), 1)
    ]


QUARTERS = np.kron(np.array([[1, 2], [3, 4]]), np.ones((10, 10), dtype=np.int64))


def diagnosed(ids, truth, predicted, found, cosine=COSINE):
    near = [text_similarity(cosine), Similarity("none", np.eye(4, dtype=np.float32))]
    evaluator = SegmentDiagnosis(NAMES, class_groups(THINGS), THINGS, cosine, near)
    evaluator.diagnose(ids, truth, predicted, found)
    return evaluator.evaluate()


def pq(scores):
    return [scores["oracles"]["PQ"][name]["all"] for name in ORACLES]


def test_a_perfect_model_gains_nothing_from_oracles():
    scores = diagnosed(IDS, TRUTH, QUARTERS, segments(0, 1, 2, 3))
    assert pq(scores) == [100, 100, 100]
    assert scores["open"]["text tower"]["PQ"]["all"] == 100
    assert scores["confusions"] == []
    assert scores["boundary"]["all"] == {"boundary_IoU": 100, "boundary_PQ": 100}
    assert scores["recall"]["all"]["all"] == {"regions": 4, "found": 100, "named": 100}
    assert scores["calibration"]["all"]["ECE"] == pytest.approx(5)  # sure to 95 %, right to 100
    assert scores["per_class"]["dog"] == {
        **dict.fromkeys(ERRORS, 0),
        **{"regions": 1, "predicted": 1, "boundary_IoU": 100},
    }


def test_one_class_under_another_name_is_exactly_what_oracle_names_gain():
    """The dog is called a cat: PQ of cat 2/3 (one more false positive), of dog 0, of others 1."""
    scores = diagnosed(IDS, TRUTH, QUARTERS, segments(0, 0, 2, 3))
    real = 100 * (2 / 3 + 0 + 1 + 1) / 4
    assert pq(scores) == pytest.approx([real, real, 100])
    assert scores["confusions"] == [
        {"truth": "dog", "predicted": "cat", "count": 1, "cosine": pytest.approx(0.9)}
    ]
    assert scores["open"]["none"]["PQ"]["all"] == pytest.approx(real)
    # Cat and dog are similar by 0.8: dog 0.8 / (0.8 + 0.1), cat 1 / (1 + 0.1).
    near = 100 * (1 / 1.1 + 0.8 / 0.9 + 1 + 1) / 4
    assert scores["open"]["text tower"]["PQ"]["all"] == pytest.approx(near)
    assert scores["recall"]["all"]["all"] == {"regions": 4, "found": 100, "named": 75}
    assert (scores["per_class"]["dog"]["misnamed"], scores["per_class"]["cat"]["taken_for"]) == (
        (1, 1)
    )


def test_bad_outlines_are_exactly_what_oracle_masks_gain():
    """Cat and dog share their pixels half and half by rows: no IoU is above 1/2."""
    predicted = QUARTERS.copy()
    predicted[:10] = np.repeat([1, 2], 5)[:, None]
    scores = diagnosed(IDS, TRUTH, predicted, segments(0, 1, 2, 3))
    # Both masks touch both regions alike: the first one names both.
    assert pq(scores) == pytest.approx([50, 100 * (2 / 3 + 0 + 1 + 1) / 4, 50])
    assert scores["per_class"]["cat"]["inexact"] == scores["per_class"]["cat"]["missed"] == 1
    predicted[:10, :10][:6] = 1  # now 60 of the cat's pixels are the cat's
    scores = diagnosed(IDS, TRUTH, predicted, segments(0, 1, 2, 3))
    assert pq(scores)[1] == 100


def test_a_blind_model_gains_nothing_from_oracles():
    scores = diagnosed(IDS, TRUTH, np.zeros_like(IDS), [])
    assert pq(scores) == [0, 0, 0]
    assert scores["recall"]["all"]["all"] == {"regions": 4, "found": 0, "named": 0}
    assert all(row["missed"] == 1 for row in scores["per_class"].values())
    assert np.isnan(scores["calibration"]["all"]["ECE"])
    assert np.isnan(scores["boundary"]["all"]["boundary_IoU"])


def test_one_invented_segment():
    """A tenth of the sky is a cat, where no cat is."""
    ids, truth = np.where(IDS == 7, 12, IDS), TRUTH[1:]
    predicted = np.where(QUARTERS == 1, 3, QUARTERS)
    predicted[19, 10:] = 1
    scores = diagnosed(ids, truth, predicted, segments(0, 1, 2, 3))
    sky = 100 * 90 / 100
    assert scores["oracles"]["PQ"]["real"]["all"] == pytest.approx((0 + 100 + 100 + sky) / 4)
    assert scores["per_class"]["cat"] == {
        **dict.fromkeys(ERRORS, 0),
        **{"predicted": 1, "invented": 1, "boundary_IoU": pytest.approx(np.nan, nan_ok=True)},
    }
    # The masks' true names: the strip is sky, and joins it.
    assert scores["oracles"]["PQ"]["oracle_names"]["all"] == 100
    assert scores["oracles"]["PQ"]["oracle_masks"]["all"] == 100


def test_near_misses_count_by_similarity():
    table = segment_table(IDS, TRUTH, QUARTERS, segments(0, 0, 2, 3))
    similarity = np.eye(4)
    assert open_pq_counts(table, similarity).tolist() == pq_counts(table, 4).tolist()
    similarity[1, 0] = 0.25
    assert open_pq_counts(table, similarity)[:2].tolist() == [
        [1, 0.75, 0, 1],
        [0.25, 0, 0.75, 0.25],
    ]


def test_sizes_of_regions_are_shares_of_the_image():
    ids = np.ones((100, 100), dtype=np.int64)
    ids[0, :30], ids[1, :40] = 2, 3  # 0.3 % and 0.4 %
    truth = [{"id": i, "category_id": 0, "iscrowd": 0} for i in (1, 2, 3)]
    table = segment_table(ids, truth, ids, segments(0, 1, 0))
    rows = recall_rows(recall_counts(table, 4).sum(0))
    assert rows["small"] == {"regions": 1, "found": 100, "named": 0}
    assert rows["medium"] == {"regions": 1, "found": 100, "named": 100}
    assert (rows["large"]["regions"], rows["all"]["regions"]) == (1, 3)


def test_calibration_by_hand():
    """Scores 0.85 (right) and 0.85 (wrong): 50 % right; 1.0 (right) and 0.0 (wrong)."""
    found = segments(0, 0, 2, 1, scores=[0.85, 0.85, 1.0, 0.0])
    row = calibration_row(calibration_counts(segment_table(IDS, TRUTH, QUARTERS, found), 4).sum(0))
    assert (row["bins"][8]["segments"], row["bins"][8]["precision"]) == (2, 50)
    assert (row["bins"][9]["precision"], row["bins"][0]["precision"]) == (100, 0)
    assert row["ECE"] == pytest.approx(100 * (2 * 0.35 + 0 + 0) / 4)
    unscored = [{"id": 1, "category_id": 0}]
    table = segment_table(IDS, TRUTH, QUARTERS, unscored)
    assert not calibration_counts(table, 4).any()


def test_unlabelled_pixels_and_crowds_are_not_invented():
    truth = [{"id": 7, "category_id": 0, "iscrowd": 1}, *TRUTH[2:]]  # 300 is unlabelled
    scores = diagnosed(IDS, truth, QUARTERS, segments(0, 1, 2, 3))
    assert pq(scores) == [100, 100, 100]
    assert sum(row["invented"] + row["inexact"] for row in scores["per_class"].values()) == 0
    assert scores["calibration"]["all"]["bins"][9]["segments"] == 2


def test_boundary_iou_of_a_shifted_square():
    """Squares of 6 pixels, distance 1: 20 boundary pixels each; shifted by one they share 10."""
    ids = np.zeros((20, 20), dtype=np.int64)
    ids[4:10, 4:10] = 1
    truth = [{"id": 1, "category_id": 0}, {"id": 5, "category_id": 2}]
    ids[ids == 0] = 5
    shifted = np.full_like(ids, 2)
    shifted[4:10, 5:11] = 1
    assert boundary_distance(ids.shape) == 1
    rings = [np.zeros_like(ids, bool) for _ in range(2)]
    for ring, left in zip(rings, (4, 5), strict=True):
        ring[4:10, left : left + 6] = True
        ring[5:9, left + 1 : left + 5] = False
    expected = (rings[0] & rings[1]).sum() / (rings[0] | rings[1]).sum()
    assert boundary_iou(ids, truth, shifted, segments(0, 2))[1, 0] == pytest.approx(expected)


def test_boundaries_are_each_mask_less_its_erosion():
    from scipy.ndimage import binary_erosion

    ids = np.random.default_rng(0).integers(0, 3, (6, 7)).repeat(5, 0).repeat(5, 1)
    found = boundary_pixels(ids, 2)
    for value in range(3):
        inside = binary_erosion(ids == value, np.ones((5, 5)))
        assert ((ids == value) & ~inside == found & (ids == value)).all()


def test_positions_of_ids():
    assert positions(np.array([[5, 0], [300, 7]]), [300, 5]).tolist() == [[2, 0], [1, 0]]
    assert positions(np.array([[5]]), []).tolist() == [[0]]


@st.composite
def images(draw):
    """(ids, truth, predicted, found) of any small images, with crowds, gaps and merged stuff."""
    seed = draw(st.integers(0, 2**16))
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, 5, (3, 4)).repeat(3, 0).repeat(3, 1)
    predicted = np.where(
        generator.random(ids.shape) < 0.3, generator.integers(0, 5, ids.shape), ids
    )
    truth = [
        {"id": i, "category_id": int(generator.integers(0, 4)), "iscrowd": int(i == 4), "area": 1}
        for i in range(1, 5)
    ]
    found = segments(*generator.integers(0, 4, 4).tolist(), scores=generator.random(4).tolist())
    return ids, truth, predicted, [s for s in found if s["id"] in predicted]


@given(images())
def test_the_table_counts_as_panopticapi_does(tmp_path_factory, image):
    from PIL import Image

    ids, truth, predicted, found = image
    path = tmp_path_factory.mktemp("pq") / "1.png"
    Image.fromarray(rgb_of_ids(ids)).save(path)
    predicted = np.where(np.isin(predicted, [s["id"] for s in found]), predicted, 0)
    record = {"pan_seg_file_name": str(path), "segments_info": truth, "image_id": 1}
    expected = match_image({**record, "file_name": "1.jpg"}, predicted, found, 4)
    table = segment_table(ids, truth, predicted, found)
    assert pq_counts(table, 4) == pytest.approx(expected)
    errors = dict(zip(ERRORS, error_counts(table, 4).T, strict=True))
    assert (errors["missed"] + errors["misnamed"]).tolist() == expected[:, 2].tolist()
    wrong = errors["invented"] + errors["inexact"] + errors["taken_for"]
    assert wrong.tolist() == expected[:, 1].tolist()


@given(images(), images(), st.permutations(range(4)))
def test_images_add_up_and_classes_and_ids_have_no_order(first, second, order):
    near = text_similarity(COSINE)
    both, one, other = (
        SegmentDiagnosis(NAMES, class_groups(THINGS), THINGS, COSINE, [near]) for _ in range(3)
    )
    for image in (first, second):
        both.diagnose(*image)
    other.diagnose(*second)
    one.diagnose(*first)
    assert one.counts + other.counts == pytest.approx(both.counts)
    assert one.confusions + other.confusions == both.confusions
    ids, truth, predicted, found = first
    things = [THINGS[order.index(c)] for c in range(4)]
    cosine = COSINE[np.ix_(*[np.argsort(order)] * 2)]
    renamed = SegmentDiagnosis(
        NAMES, class_groups(things), things, cosine, [text_similarity(cosine)]
    )
    renamed.diagnose(
        ids,
        [{**s, "category_id": order[s["category_id"]]} for s in truth],
        predicted,
        [{**s, "category_id": order[s["category_id"]]} for s in found],
    )
    one.reset()
    one.diagnose(*first)
    assert renamed.counts[list(order)] == pytest.approx(one.counts)


def test_memory_of_many_classes_is_one_row_each():
    classes = 1203
    names = tuple(map(str, range(classes)))
    evaluator = SegmentDiagnosis(names, class_groups([True] * classes), [True] * classes)
    evaluator.diagnose(IDS, TRUTH, QUARTERS, segments(0, 1, 2, 1202))
    assert evaluator.counts.size == classes * evaluator.columns
    rows = confusion_rows({(3, 1202): 1}, names)
    assert rows == [{"truth": "3", "predicted": "1202", "count": 1, "cosine": None}]
