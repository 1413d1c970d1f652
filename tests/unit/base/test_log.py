import io
import json
import subprocess
import sys

from relay.base import log


def test_private_values_never_reach_the_log_above_debug() -> None:
    stream = io.StringIO()
    log.configure(level="info", stream=stream)
    log.get_logger().info("room.joined", user="@anna:box", note="by @anna:box in !abc:box", delay_s=2.5, token="x")
    entry = json.loads(stream.getvalue())
    assert "anna" not in stream.getvalue()
    assert entry["delay_s"] == 2.5
    assert entry["event"] == "room.joined"


def test_a_tag_is_stable_and_hides_the_name() -> None:
    assert log.tag("oma.example") == log.tag("oma.example") != log.tag("opa.example")
    assert "oma" not in log.tag("oma.example")


def test_logging_loads_neither_a_painter_nor_another_event_loop() -> None:
    look = "import sys, relay.base.log; print('rich' in sys.modules, 'asyncio' in sys.modules)"
    afterwards = "import rich.console, asyncio.tasks"
    seen = subprocess.run([sys.executable, "-c", f"{look}; {afterwards}"], capture_output=True, text=True, check=True)
    assert seen.stdout == "False False\n"
