"""Ray on one machine, out of reach of the network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loopback_only() -> Iterator[None]:
    """Have the Ray that is started inside the block listen on this machine's loopback alone.

    Ray does so where it takes it that there are no clusters, and has no other switch for it.
    """
    from ray._private import ray_constants

    name = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    before = os.environ.get(name), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        inherited, ray_constants.ENABLE_RAY_CLUSTER = before
        if inherited is None:
            del os.environ[name]
        else:
            os.environ[name] = inherited
