"""Structured logging: fixed event names and facts with units; never content, keys, tokens, names.

An event is called `room.past_participle`. What would name a person, room or server is passed through `tag()`.
structlog is imported here and nowhere else.
"""

import hashlib
import logging
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TextIO


@contextmanager
def _left_out(*names: str) -> Iterator[None]:
    """Have imports find nothing behind `names`; whoever asks for them afterwards gets the real ones."""
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update({name: ModuleType(name) for name in absent})
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


# For renderers and loggers that are not used here structlog loads rich (4 MiB) and asyncio (1.5 MiB).
with _left_out("rich", "asyncio"):
    import structlog
    from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

Logger = FilteringBoundLogger

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_PRIVATE_KEYS = frozenset(
    {
        "password",
        "token",
        "access_token",
        "refresh_token",
        "key",
        "secret",
        "content",
        "body",
        "user",
        "room",
        "sender",
    }
)
# Matrix ids, wherever they hide in a text: @user:server, !room, #alias:server, $event.
_PRIVATE_TEXT = re.compile(r"[@#!$][A-Za-z0-9._=/+\-]{1,255}:[A-Za-z0-9.\-:\[\]]+|[!$][A-Za-z0-9_-]{43}|mxc://\S+")
_tag_key = secrets.token_bytes(32)


def tag(name: str) -> str:
    """Return a short tag for a private name: equal for equal names while this process runs, and nothing else."""
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=6, key=_tag_key).hexdigest()


def redact(_logger: WrappedLogger, level: str, event: EventDict) -> EventDict:
    """Replace private values above debug level: the last line of defence, not the first."""
    if level == "debug":
        return event
    return {name: _clean(name, value) for name, value in event.items()}


def _clean(name: str, value: Any) -> Any:  # noqa: ANN401 - a log value is anything
    if name in _PRIVATE_KEYS:
        return "<redacted>"
    if isinstance(value, str):
        return _PRIVATE_TEXT.sub("<redacted>", value)
    if isinstance(value, bool | int | float) or value is None:
        return value
    return _PRIVATE_TEXT.sub("<redacted>", str(value))


def configure(*, level: str = "info", stream: TextIO | None = None) -> None:
    """Send events at `level` (debug, info, warning, error) and above to `stream`, standard error unless told."""
    out = sys.stderr if stream is None else stream
    render: Any = structlog.dev.ConsoleRenderer() if out.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            redact,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=True,
    )


def get_logger() -> Logger:
    """Return a logger bound to nothing; it takes the configuration at its first use."""
    logger: Logger = structlog.get_logger()
    return logger
