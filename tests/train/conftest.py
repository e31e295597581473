import jax
import pytest


@pytest.fixture
def compilations():
    """``run -> number of programs that XLA compiled while it ran``."""

    def count(run):
        found = []

        def listen(event, seconds, **_):
            if event == "/jax/core/compile/backend_compile_duration":
                found.append(seconds)

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            run()
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)
        return len(found)

    return count
