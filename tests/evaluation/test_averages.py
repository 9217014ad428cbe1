"""Means over groups of classes."""

from __future__ import annotations

import numpy as np

from frozenseg.evaluation.averages import class_groups, group_means, per_class

THINGS = [True, True, False, False]
SEEN = [True, False, True, False]


def test_groups_split_by_thing_and_by_seen():
    groups = class_groups(THINGS, SEEN)
    chosen = {name: np.flatnonzero(members).tolist() for name, members in groups.items()}
    assert chosen == {
        "all": [0, 1, 2, 3],
        "things": [0, 1],
        "stuff": [2, 3],
        "seen": [0, 2],
        "unseen": [1, 3],
        "seen_things": [0],
        "unseen_things": [1],
        "seen_stuff": [2],
        "unseen_stuff": [3],
    }
    assert "seen" not in class_groups(THINGS)


def test_instance_groups_hold_things_only():
    groups = class_groups(THINGS, SEEN, stuff=False)
    chosen = {name: np.flatnonzero(members).tolist() for name, members in groups.items()}
    assert chosen == {"all": [0, 1], "seen": [0], "unseen": [1]}


def test_means_count_only_counted_classes():
    counted = np.array([True, True, True, False])
    scores = {"IoU": np.array([0.2, 0.4, 0.9, 1.0])}
    means = group_means(scores, counted, class_groups(THINGS, SEEN))
    assert np.isclose(means["all"]["IoU"], 50)
    assert means["all"]["classes"] == 3
    assert np.isclose(means["unseen"]["IoU"], 40)
    assert np.isnan(means["unseen_stuff"]["IoU"])
    assert means["unseen_stuff"]["classes"] == 0
    assert list(per_class(scores, counted, ["a", "b", "c", "d"])) == ["a", "b", "c"]
