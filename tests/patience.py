"""Patience with a Ray that starts beside much else: by itself it gives up after half a minute."""

from __future__ import annotations

import time
from typing import Any

SECONDS = 240
VARIABLES = {"RAY_agent_register_timeout_ms": str(SECONDS * 1000), "RAY_gcs_server_port_wait_time_s": str(SECONDS)}
"""The same for what a Ray consists of, read by each of its processes."""


def be_patient() -> None:
    """Have this process wait for minutes for the node that it starts."""
    from ray._private import services

    module: Any = services
    once = module.get_node

    def get_node(*given: Any, **named: Any) -> Any:
        begin = time.monotonic()
        while True:
            try:
                return once(*given, **named)
            except RuntimeError:  # it is not there yet
                if time.monotonic() - begin > SECONDS:
                    raise
                time.sleep(0.2)

    module.get_node = get_node
