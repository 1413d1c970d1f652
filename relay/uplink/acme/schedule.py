"""When the next order is due, and how long to leave the authority alone after one that failed. Pure."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Self

from relay.base.limits import MAX_CERTIFICATE_ORDERS_PER_DAY
from relay.uplink.acme.problems import AcmeError

DAY_S = 24 * 3600.0
# An authority may suggest anew when there are incidents: it is asked so often where it does not say (RFC 9773, 4.3.3),
# and never more often than each minute (4.3.2).
_LOOK_S = 6 * 3600.0
_LEAST_LOOK_S = 60.0
_FIRST_FAILURE_S = 300.0
_MOST_FAILURE_S = 12 * 3600.0
_MOST_TOLD_S = 7 * DAY_S
# These say nothing about the name: the line, the router or the authority has to come back.
_PASSING = frozenset({"unreachable", "serverInternal", "slow", "badNonce", "gone"})
_PASSING_MOST_S = 3600.0


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of orders, in seconds since 1970.

    Attributes:
        made_for: the settings that it is about; with others it starts afresh.
        ends_s: when the certificate in use ends, 0 where there is none.
        renew_s: when it is to be renewed.
        window: the authority's suggestion that this was chosen from.
        failures: orders that failed since the last one that did not.
        next_s: no order before this.
        told: the authority itself said so: a new start does not make it earlier.
        orders: when the last orders were made.
        kind, detail, about: how the last order failed; empty after one that did not.
    """

    made_for: str = ""
    ends_s: float = 0.0
    renew_s: float = 0.0
    window: tuple[float, float] = (0.0, 0.0)
    failures: int = 0
    next_s: float = 0.0
    told: bool = False
    orders: tuple[float, ...] = ()
    kind: str = ""
    detail: str = ""
    about: str = ""

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the record in `data`, an empty one where that cannot be read: it can only be made again."""
        try:
            fields = json.loads(data)
        except (ValueError, RecursionError):
            return cls()
        return cls(**_fitting(fields)) if isinstance(fields, dict) else cls()

    def render(self) -> bytes:
        """Return the record as JSON."""
        return json.dumps(dataclasses.asdict(self)).encode("ascii")


def _fitting(fields: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for field in dataclasses.fields(Record):
        value, usual = fields.get(field.name), field.default
        if (
            isinstance(usual, tuple)
            and isinstance(value, list)
            and all(isinstance(each, int | float) for each in value)
        ):
            kept[field.name] = tuple(map(float, value))
        elif isinstance(usual, float) and isinstance(value, int | float):
            kept[field.name] = float(value)
        elif type(value) is type(usual) and not isinstance(usual, tuple):
            kept[field.name] = value
    if len(kept.get("window", (0, 0))) != 2:
        del kept["window"]
    return kept


def is_due(record: Record, now_s: float, *, at_start: bool) -> bool:
    """Return whether an order is to be made now; a start tries at once unless the authority said when."""
    if now_s < record.renew_s or not has_orders_left(record, now_s):
        return False
    # A clock that was ahead for a while must not put the next order off for years.
    held = record.next_s if record.next_s - now_s <= _MOST_TOLD_S else 0.0
    return now_s >= held or (at_start and not record.told)


def has_orders_left(record: Record, now_s: float) -> bool:
    """Return whether another order fits in this day."""
    return len(last_day(record.orders, now_s)) < MAX_CERTIFICATE_ORDERS_PER_DAY


def ordered(record: Record, now_s: float) -> Record:
    """Return the record with an order made now: written down before it is made."""
    return dataclasses.replace(record, orders=(*last_day(record.orders, now_s), now_s))


def failed(record: Record, now_s: float, error: AcmeError) -> Record:
    """Return the record after an order that failed."""
    most_s = _PASSING_MOST_S if error.kind in _PASSING else _MOST_FAILURE_S
    pause_s = min(_FIRST_FAILURE_S * 2 ** min(record.failures, 20), most_s)
    told_s = min(error.retry_after_s or 0.0, _MOST_TOLD_S)
    return dataclasses.replace(
        record,
        failures=record.failures + 1,
        next_s=now_s + max(pause_s, told_s),
        told=told_s > 0,
        kind=error.kind,
        detail=str(error),
        about=error.about,
    )


def succeeded(record: Record, *, ends_s: float, renew_s: float) -> Record:
    """Return the record after an order that brought a certificate."""
    return Record(made_for=record.made_for, ends_s=ends_s, renew_s=renew_s, orders=record.orders)


def pause_s(record: Record, now_s: float, look_s: float | None) -> float:
    """Return how long nothing has to be done, in seconds; `look_s` is when the authority wants to be asked again."""
    look_s = _LOOK_S if look_s is None else max(_LEAST_LOOK_S, min(look_s, DAY_S))
    if now_s < record.renew_s:
        return min(look_s, record.renew_s - now_s)
    if not has_orders_left(record, now_s):
        oldest_s = min(last_day(record.orders, now_s))
        return max(_LEAST_LOOK_S, oldest_s + DAY_S - now_s)
    return max(1.0, min(record.next_s - now_s, _MOST_TOLD_S))


def last_day(orders: tuple[float, ...], now_s: float) -> tuple[float, ...]:
    """Return those of `orders` that count: none of before, nor of a future that the clock has left again."""
    return tuple(moment for moment in orders if now_s - DAY_S < moment <= now_s)
