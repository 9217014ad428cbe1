"""The "diagnosis" of an entry of results.json: where a model fails.

`frozenseg evaluate --diagnose` asks for it.
Percent as all scores; null where there was nothing to score; groups are those of the scores (all,
things, seen, unseen, ...). Parts that the ground truth or the model cannot give are left out.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from typing_extensions import NotRequired, TypedDict

Score = float | None
Count = Annotated[int, Meta(ge=0)]
Groups = dict[str, Score]  # group of classes -> percent


class Oracles(TypedDict):
    """A score as it is, with the regions of the ground truth under the model's names, and with the
    model's masks under the names of the ground truth; group -> percent each.
    """

    real: Groups
    oracle_masks: Groups
    oracle_names: Groups


class Confusion(TypedDict):
    """`count` segments of a class were found, but named as another.

    On benchmarks with label maps alone these are pixels.
    cosine: of the two words in the text tower, null without one.
    """

    truth: str
    predicted: str
    count: Count
    cosine: float | None


class Recall(TypedDict):
    """Percent of the regions that a mask finds (IoU > 0.5), and that it also names rightly."""

    regions: Count
    found: Score
    named: Score


class Bin(TypedDict):
    """Predicted segments whose score lies in a range; mean score and percent that are right."""

    low: float
    high: float
    segments: Count
    confidence: Score
    precision: Score


class Calibration(TypedDict):
    """ECE: mean distance of score and precision over the bins, by their segments, in points."""

    ECE: Score
    bins: list[Bin]


class Boundary(TypedDict):
    """Mean boundary IoU of the segments that PQ matches, and PQ that needs it, too."""

    boundary_IoU: Score
    boundary_PQ: Score


class ClassErrors(TypedDict):
    """Segments of a class.

    regions, predicted: of the ground truth and of the prediction.
    missed: regions that no mask finds; misnamed: regions found under another name.
    invented: predicted where no such class is in the image and no region fits the mask; inexact:
        the class is there, but no region fits the mask; taken_for: a region of another class.
    """

    regions: Count
    predicted: Count
    missed: Count
    misnamed: Count
    invented: Count
    inexact: Count
    taken_for: Count
    boundary_IoU: Score


class OpenScores(TypedDict):
    """PQ and mIoU in which a near miss in words counts by its similarity.

    similarity: what judges the words, "text tower" or "WordNet"; unknown_classes: of which it knows
        no word: these are similar to nothing.
    """

    similarity: str
    unknown_classes: NotRequired[Count]
    PQ: NotRequired[Groups]
    mIoU: NotRequired[Groups]


class AbsentWords(TypedDict):
    """Scores with `words` words more that no image holds.

    distance: "near" or "far" from the benchmark's words; "none" without further words.
    false_segments: per image, of classes that it does not hold; of_absent_words: those of the added
        words among them; absent_pixels: percent of pixels that got an added word.
    """

    words: Count
    distance: str
    images: Count
    false_segments: Score
    of_absent_words: Score
    absent_pixels: Score
    PQ: Score
    PQ_lost: Score
    mIoU: Score
    mIoU_lost: Score


class Queries(TypedDict):
    """One word at a time, on images that hold it (positive) and that do not (negative).

    precision, recall: of "the word is in the image". presence_AUC: how well its best score tells.
    IL_MCC, pmF1, cgF1: SAM 3's (arXiv 2511.16719): cgF1 = pmF1 * IL_MCC.
    """

    positive: Count
    negative: Count
    precision: Score
    recall: Score
    presence_AUC: Score
    IL_MCC: Score
    pmF1: Score
    cgF1: Score


class Prompt(TypedDict):
    """A way of writing the words: template set, synonyms, word set; and its scores."""

    name: str
    templates: str
    synonyms: bool
    words: str
    scores: Groups  # "PQ", "mIoU" -> percent


class WordChange(TypedDict):
    """A class whose best other prompt gains most, in points of its own PQ (mIoU without PQ)."""

    name: str
    prompt: str
    before: Score
    after: Score


class Prompts(TypedDict):
    """spread: largest less smallest score; per_class: class -> prompt -> percent of `score`."""

    images: Count
    score: str
    prompts: list[Prompt]
    spread: Groups
    per_class: dict[str, Groups]
    cheapest: list[WordChange]


class Diagnosis(TypedDict, total=False):
    """All of it. seconds: what it took beside the evaluation."""

    seconds: float
    oracles: dict[str, Oracles]  # "PQ", "AP", "mIoU"
    confusions: list[Confusion]  # most frequent first
    recall: dict[str, dict[str, Recall]]  # group -> "small", "medium", "large", "all"
    calibration: dict[str, Calibration]  # group ->
    boundary: dict[str, Boundary]  # group ->
    per_class: dict[str, ClassErrors]
    open: list[OpenScores]
    absent_words: list[AbsentWords]
    queries: Queries
    prompts: Prompts
