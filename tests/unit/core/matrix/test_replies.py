import pytest

from relay.base import errors
from relay.base.errors import RelayError
from relay.core.matrix.replies import REPLIES, matrix_reply


def every_error() -> list[type[RelayError]]:
    kinds, waiting = [], [RelayError]
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        kinds.append(kind)
    return [kind for kind in kinds if kind.__module__.startswith(("relay.base.errors", "relay.core"))]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_of_base_and_core_has_a_line_of_its_own(kind: type[RelayError]) -> None:
    assert kind.code in REPLIES
    status, body = matrix_reply(kind("what went wrong"))
    assert 400 <= status < 600
    assert body["errcode"].startswith("M_")


def test_a_code_nobody_listed_is_answered_as_its_base_is() -> None:
    class OddError(errors.NotFoundError):
        code = "odd.code"

    assert matrix_reply(OddError("no such thing")) == (404, {"errcode": "M_NOT_FOUND", "error": "no such thing"})


def test_the_text_of_a_bug_is_not_shown() -> None:
    assert matrix_reply(RelayError("at line 5")) == (500, {"errcode": "M_UNKNOWN", "error": "internal error"})


def test_a_known_time_to_wait_is_said_in_milliseconds_rounded_up() -> None:
    status, body = matrix_reply(errors.RateLimitedError("slow down", retry_after_s=1.2345))
    assert (status, body["retry_after_ms"]) == (429, 1235)


def test_more_fields_of_an_error_stand_in_the_body() -> None:
    error = errors.UnauthenticatedError("gone")
    error.matrix_fields = {"soft_logout": True}  # type: ignore[attr-defined]
    assert matrix_reply(error)[1]["soft_logout"] is True


def test_a_peers_refusal_is_passed_on() -> None:
    error = errors.PeerRefusedError("you are banned", status=403, errcode="M_FORBIDDEN")
    assert matrix_reply(error) == (403, {"errcode": "M_FORBIDDEN", "error": "you are banned"})


@pytest.mark.parametrize(
    ("status", "errcode"), [(401, "M_UNKNOWN_TOKEN"), (500, "M_UNKNOWN"), (403, "<b>"), (403, ""), (0, "M_FORBIDDEN")]
)
def test_a_peers_refusal_that_would_mislead_an_app_is_a_bad_gateway(status: int, errcode: str) -> None:
    assert matrix_reply(errors.PeerRefusedError("no", status=status, errcode=errcode))[0] == 502
