"""How much is made up in tests by hypothesis: a little or, by ``MRMD_TEST_FUZZ=N``, N examples of each."""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings


def examples(few: int) -> Callable[[Any], Any]:
    """Return the decorator for a test that makes up `few` examples, or N."""
    return settings(
        max_examples=int(os.environ.get("MRMD_TEST_FUZZ", few)),
        deadline=None,
        database=None,
        derandomize="MRMD_TEST_FUZZ" not in os.environ,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
