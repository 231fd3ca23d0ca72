from __future__ import annotations

from collections.abc import Iterator

import pytest

from tailrace.transfer.request_stream import Restartable


def test_a_read_error_on_the_way_is_kept() -> None:
    def requests() -> Iterator[int]:
        yield 1
        raise OSError("disk is gone")

    upload = Restartable(requests)
    iterator = upload.restart()
    assert next(iterator) == 1
    with pytest.raises(OSError, match="disk is gone"):
        next(iterator)
    assert str(upload.failure) == "disk is gone"
