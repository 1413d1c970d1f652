"""The time of day, set by the system's own service, which may what this process may not.

Blocking, for a process that ends with its request. Source: org.freedesktop.timedate1(5) of systemd: SetTime is refused
while the clock follows the network, so that is stopped for the moment of setting; on a box that has no network yet, or
never, it is on all the same. SetNTP answers when the stop has begun, and SetTime is refused until it is done
(method_set_ntp and method_set_time in src/timedate/timedated.c).
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jeepney import DBusAddress, DBusErrorResponse, Properties, new_method_call  # type: ignore[import-untyped]
from jeepney.io.blocking import DBusConnection  # type: ignore[import-untyped]
from jeepney.wrappers import unwrap_msg  # type: ignore[import-untyped]

from relay.base.ending import ends_in_order
from relay.base.errors import Fault, RelayError
from relay.box.system_bus import CALL_TIMEOUT_S, NoBusError, connect_to_bus, error_name

_SERVICE = DBusAddress(
    "/org/freedesktop/timedate1", bus_name="org.freedesktop.timedate1", interface="org.freedesktop.timedate1"
)
_FOLLOWS = "AutomaticTimeSyncEnabled"
_STOPPED_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.05


class TimeUnavailableError(RelayError):
    """No service sets the time on this machine, or it refused."""

    code = "time.unavailable"
    fault = Fault.BOX


def set_time(wall_us: int, environment: Mapping[str, str] = os.environ, *, timeout_s: float = CALL_TIMEOUT_S) -> None:
    """Set the clock to `wall_us` microseconds since 1970, and the board's own clock where it has one.

    Raises:
        TimeUnavailableError: there is no such service, or it refused.
    """
    try:
        bus = connect_to_bus(environment, timeout_s=timeout_s)
    except NoBusError:
        raise TimeUnavailableError("there is no system bus here: its clock cannot be set from this console") from None
    except OSError:
        raise TimeUnavailableError("the system bus does not answer") from None
    try:
        with ends_in_order(), _not_followed(bus):
            _set_when_stopped(bus, wall_us)
    except DBusErrorResponse as error:
        raise TimeUnavailableError(f"the time service refused: {error_name(error)}") from None
    except (TimeoutError, OSError):
        raise TimeUnavailableError("the time service does not answer") from None
    finally:
        bus.close()


@contextmanager
def _not_followed(bus: DBusConnection) -> Iterator[None]:
    ((_, follows),) = unwrap_msg(bus.send_and_get_reply(Properties(_SERVICE).get("NTP")))
    if not follows:
        yield
        return
    _call(bus, "SetNTP", "bb", (False, False))
    try:
        yield
    finally:
        _call(bus, "SetNTP", "bb", (True, False))


def _set_when_stopped(bus: DBusConnection, wall_us: int) -> None:
    deadline = time.monotonic() + _STOPPED_WITHIN_S
    while True:
        try:
            return _call(bus, "SetTime", "xbb", (wall_us, False, False))
        except DBusErrorResponse as error:
            if error_name(error) != _FOLLOWS or time.monotonic() >= deadline:
                raise
        threading.Event().wait(_LOOK_EVERY_S)


def _call(bus: DBusConnection, method: str, signature: str, body: tuple[Any, ...]) -> None:
    unwrap_msg(bus.send_and_get_reply(new_method_call(_SERVICE, method, signature, body)))
