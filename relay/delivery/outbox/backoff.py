"""When to try a silent destination again."""

from relay.base.config import DeliveryConfig


def next_delay_s(failures: int, config: DeliveryConfig, *, jitter: float, asked_s: float | None = None) -> float:
    """Return how long to wait before the next attempt, in seconds.

    Doubles from `retry_first_s` to `retry_most_s`; between half and all of that is waited, so that the peers of a
    server that comes back do not all knock in the same second.

    Args:
        failures: consecutive failed attempts, at least 1.
        config: the bounds.
        jitter: 0.0 to 1.0, drawn by the caller.
        asked_s: what the peer itself asked for; never less than that, and never more than `retry_most_s`.

    Raises:
        ValueError: `failures` is below 1.
    """
    if failures < 1:
        raise ValueError("nothing has failed yet")
    # Beyond 2^32 the exponent would only overflow a float after a thousand failures.
    delay_s = min(config.retry_first_s * 2.0 ** min(failures - 1, 32), config.retry_most_s)
    delay_s *= 0.5 + 0.5 * jitter
    return delay_s if asked_s is None else min(max(delay_s, asked_s), config.retry_most_s)


def is_given_up(failing_since_ms: int | None, now_ms: int, config: DeliveryConfig) -> bool:
    """Return whether a destination has been silent for so long that events no longer wait for it."""
    return failing_since_ms is not None and now_ms - failing_since_ms > config.give_up_after_days * 86_400_000
