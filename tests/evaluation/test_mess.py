"""The table of MESS: means by hand, and that a part of the sets is never called MESS."""

from __future__ import annotations

import pytest

from frozenseg.evaluation.mess import mess_means, mess_scores, mess_table


def entry(dataset, percent, images):
    groups = {"all": {"mIoU": percent, "classes": 2}}
    metrics = {"semantic": {"ground_truth": groups}}
    return {"dataset": dataset, "benchmark": dataset, "images": images, "metrics": metrics}


ENTRIES = [
    entry("mess_suim", 40.0, 110),
    entry("mess_foodseg103", 20.0, 2135),
    entry("bdd10k_val_sem_seg", 50.0, 1000),
    entry("mess_cwfid", 10.0, 12),
    entry("mess_deepcrack", None, 237),  # nothing to score
    entry("openvocab_pascal20_sem_seg_val", 90.0, 1449),  # none of MESS's
]


def test_means_are_over_sets_and_say_how_many():
    means = {title: rest for title, *rest in mess_means(mess_scores(ENTRIES))}
    assert means == {
        "general": [2, 6, pytest.approx(35.0)],
        "agriculture and biology": [2, 3, pytest.approx(25.0)],
        "all": [4, 22, pytest.approx(30.0)],
    }
    one_more = [*ENTRIES, entry("mess_uavid", 60.0, 840)]
    assert mess_means(mess_scores(one_more))[-1].percent == pytest.approx(36.0)  # of domains: 40


def test_the_table_reads_by_domain_and_names_the_part():
    lines = mess_table(ENTRIES).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:-2]]
    assert rows == [
        ["mess_foodseg103", "2135 images", "20.00"],
        ["bdd100k_19", "1000 images", "50.00"],
        ["mess_suim", "110 images", "40.00"],
        ["mess_cwfid", "12 of 21 images", "10.00"],
        ["mean, general", "2 of 6 sets", "35.00"],
        ["mean, agriculture and biology", "2 of 3 sets", "25.00"],
        ["mean, all", "4 of 22 sets", "30.00"],
    ]
    assert lines[-2:] == ["", "The mean of 4 of the 22 sets is not the mean of MESS."]


def test_an_alias_of_a_set_counts_once():
    twice = [*ENTRIES, entry("openvocab_bdd10k_val_sem_seg", 52.0, 1000)]
    scores = {row.name: percent for row, _, percent in mess_scores(twice)}
    assert scores["bdd10k_val_sem_seg"] == 52.0
    assert len(scores) == 4


def test_there_is_no_table_without_a_set_that_is_there_for_mess():
    assert mess_table([ENTRIES[2], ENTRIES[5]]) == ""
    assert mess_table([]) == ""
