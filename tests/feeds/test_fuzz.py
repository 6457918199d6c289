"""Each venue's protocol under fire for a moment; docs/feeds.md has the figures of long runs."""

from pathlib import Path
from random import Random

import pytest

from benchmarks.fuzz import fuzz
from benchmarks.mutations import Specimen, places
from benchmarks.specimens import RECORDINGS, venues
from feeds.protocols.registry import VENUES


@pytest.mark.parametrize("venue", [name for name in venues() if name in {*VENUES, "kraken-v1"}])
def test_every_outcome_is_a_documented_one(venue: str, shared_data: Path) -> None:
    outcome = fuzz(venue, 4_000, 11, shared_data)
    assert outcome.inputs == 4_000
    assert {"Trade", "Quote", "Malformed"} <= set(outcome.kinds)
    assert outcome.counted > 100


def test_recordings_are_of_venues_that_are_known() -> None:
    assert set(RECORDINGS) - {"kraken-v1"} <= set(VENUES)


def test_places_are_the_items_of_objects_and_arrays() -> None:
    text = '{"a": 1, "b": ["x\\"y", {"c": null}], "d": {}}'
    found = [(text[p.start : p.end], text[p.value : p.end]) for p in places(text)]
    assert found == [
        ('"a": 1', "1"),
        ('"x\\"y"', '"x\\"y"'),
        ('"c": null', "null"),
        ('{"c": null}', '{"c": null}'),
        ('"b": ["x\\"y", {"c": null}]', '["x\\"y", {"c": null}]'),
        ('"d": {}', "{}"),
    ]


def test_mutations_differ_and_are_the_same_for_the_same_seed() -> None:
    specimen = Specimen('{"a":1,"b":[2,3]}')
    made = [specimen.mutate(Random(seed)) for seed in range(200)]
    assert made == [specimen.mutate(Random(seed)) for seed in range(200)]
    assert len(set(made)) > 60
