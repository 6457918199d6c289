"""What nobody needs any more is freed, from the outside in; what somebody needs stays as it is."""

import threading
import weakref
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runtime.training.leftovers import PIECE, Leftovers, take_apart
from runtime.training.slots import Published

VALUES = st.recursive(
    st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


class Thing:
    """Can be seen to be freed."""

    def __init__(self, inner: object = None) -> None:
        self.inner = inner


def test_all_of_a_structure_is_freed() -> None:
    things = [Thing() for _ in range(8)]
    seen = [weakref.ref(thing) for thing in things]
    a, b, c, d, e, f, g, h = things
    bundle = Published(model=g, version=1, trained_at=0, job="j", extras={"h": h})
    pile: list[Any] = [[a, (b, {c})], {"k": d, e: [[f]]}, Thing([bundle]), range(3)]
    del things, a, b, c, d, e, f, g, h, bundle
    take_apart(pile)
    assert [one() for one in seen] == [None] * 8
    assert pile == []


def test_large_and_deep_is_no_obstacle() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    pile: list[Any] = [list(range(3 * PIECE + 1)), dict.fromkeys(range(3 * PIECE + 1), "x"), nested]
    del nested
    take_apart(pile)
    assert pile == []


@given(VALUES)
def test_what_somebody_needs_is_untouched(value: Any) -> None:
    copy = repr(value)
    take_apart([value, [value, {"x": value}], (value,)])
    assert repr(value) == copy


def test_a_thread_does_it_and_empties_the_list() -> None:
    freed = threading.Event()
    thing = Thing()
    weakref.finalize(thing, freed.set)
    values: list[object] = [[thing]]
    del thing
    Leftovers().take(values)
    assert freed.wait(30)
    assert values == []
