from __future__ import annotations

import gc

import pytest

from ganbench.quick import no_garbage


def test_garbage_is_left_alone_in_the_block_and_collected_after_it() -> None:
    assert gc.isenabled()
    with no_garbage():
        assert not gc.isenabled()
        with no_garbage():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_is_collected_after_a_failure_too() -> None:
    with pytest.raises(ValueError), no_garbage():
        raise ValueError
    assert gc.isenabled()
