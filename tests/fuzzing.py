"""How many examples hypothesis generates: few by default, N per test with ``MRMD_TEST_FUZZ=N``."""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings


def examples(few: int) -> Callable[[Any], Any]:
    """Return a decorator that runs a test with `few` generated examples, or with N."""
    return settings(
        max_examples=int(os.environ.get("MRMD_TEST_FUZZ", few)),
        deadline=None,
        database=None,
        derandomize="MRMD_TEST_FUZZ" not in os.environ,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
