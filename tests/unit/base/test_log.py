import io
import json

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
