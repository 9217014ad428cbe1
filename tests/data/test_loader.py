"""The training stream: reproducible, resumable, the same for any number of workers and ranks."""

from __future__ import annotations

from itertools import islice
from operator import itemgetter

import pytest

from frozenseg.data.loader import StreamSampler, TrainLoader

RECORDS = [{"name": i} for i in range(7)]


def draw(record, generator):
    return {**record, "draw": generator.random()}


def batches(count, *, start=0, **options):
    loader = TrainLoader(RECORDS, draw, **{"batch_size": 2, "seed": 5, **options})
    loader.start = start
    return list(islice(iter(loader), count))


def test_every_epoch_is_a_permutation_and_they_differ():
    stream = [index for _, index in islice(StreamSampler(7, seed=0), 21)]
    epochs = [stream[:7], stream[7:14], stream[14:]]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_stream_continued_anywhere_is_the_rest_of_the_stream():
    whole = batches(10)
    for used in (1, 3, 4, 7):
        assert batches(10 - used, start=2 * used) == whole[used:]


def test_the_seed_decides():
    assert batches(4) == batches(4)
    assert batches(4) != batches(4, seed=6)


def test_workers_change_nothing():
    assert batches(5, num_workers=2) == batches(5)


def test_ranks_share_the_stream_without_overlap():
    whole = batches(3, batch_size=4)
    parts = [batches(3, batch_size=4, rank=rank, world_size=2) for rank in range(2)]
    for together, first, second in zip(whole, *parts, strict=True):
        assert sorted(together, key=itemgetter("draw")) == sorted(
            first + second, key=itemgetter("draw")
        )


def test_draws_of_one_record_differ_between_epochs():
    draws = [s["draw"] for batch in batches(14) for s in batch if s["name"] == 3]
    assert len(set(draws)) == len(draws) >= 3


def test_nothing_starts_before_the_first_batch_is_asked_for():
    loader = TrainLoader(RECORDS, draw, batch_size=2, seed=5)
    iterator = iter(loader)
    loader.start = 6
    assert next(iterator) == batches(1, start=6)[0]


@pytest.mark.parametrize(("batch_size", "world_size"), [(3, 2), (0, 1)])
def test_a_batch_that_cannot_be_shared_is_refused(batch_size, world_size):
    with pytest.raises(ValueError, match="IMS_PER_BATCH"):
        batches(1, batch_size=batch_size, world_size=world_size)


def test_no_records_are_refused():
    with pytest.raises(ValueError, match=r"DATASETS\.TRAIN"):
        StreamSampler(0, seed=0)


FACTORS = [1.0, 1.0, 2.5, 1.0, 1.0, 3.0, 1.0]


def test_repeated_records_come_as_often_as_their_factors_say():
    sampler = StreamSampler(7, seed=0, factors=FACTORS)
    epochs = [sampler._epoch(epoch).tolist() for epoch in range(200)]
    counts = [sum(epoch.count(i) for epoch in epochs) / 200 for i in range(7)]
    assert counts == pytest.approx(FACTORS, abs=0.1)
    assert {epoch.count(2) for epoch in epochs} == {2, 3}
    stream = [index for _, index in islice(sampler, 25)]
    assert stream == [index for epoch in epochs for index in epoch][:25]


def test_a_stream_with_repeats_goes_on_anywhere_and_is_shared_without_overlap():
    whole = batches(30, factors=FACTORS)
    for used in (1, 4, 5, 6, 11, 29):
        assert batches(30 - used, start=2 * used, factors=FACTORS) == whole[used:]
    first, second = (
        batches(30, factors=FACTORS, batch_size=2, rank=rank, world_size=2) for rank in range(2)
    )
    assert [a + b for a, b in zip(first, second, strict=True)] == whole


@pytest.mark.filterwarnings("ignore:.*pin_memory")  # without a GPU
def test_pinned_batches_are_the_same():
    assert batches(4, pin_memory=True) == batches(4)
