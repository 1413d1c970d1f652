"""The running box: opens every room, connects them, serves until stopped. Only `app` and `cli` know every room."""

from relay.app.running import open_offline, run

__all__ = ["open_offline", "run"]
