from __future__ import annotations

import pytest

from metamcp.downstream.quota import Quota
from metamcp.errors import TooManyRequests


def test_each_owner_has_their_own_and_what_is_over_makes_room() -> None:
    quota = Quota(2, "streams", "streams")
    first = quota.take("a")
    quota.take("a")
    with pytest.raises(TooManyRequests) as refused:
        quota.take("a")
    assert refused.value.data["limit"] == "streams" and refused.value.http_status == 429
    other = quota.take("b")
    first()
    quota.take("a")
    other()
    assert len(quota) == 2
