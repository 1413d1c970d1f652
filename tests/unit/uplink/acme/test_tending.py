import contextlib
import datetime
import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relay.base.config_names import AcmeConfig
from relay.base.errors import InvalidInputError
from relay.base.limits import MAX_CERTIFICATE_ORDERS_PER_DAY
from relay.cli.files import write_whole
from relay.transport.tls import server_context
from relay.uplink.acme.folder import AcmeFolder, Order
from relay.uplink.acme.jose import Binding, encode, make_key, parse_binding
from relay.uplink.acme.ordering import Waiting
from relay.uplink.acme.places import CERTIFICATE, CHALLENGES
from relay.uplink.acme.session import Answer
from relay.uplink.acme.tending import Tended, Tending, settings_mark
from relay.uplink.acme.tls_alpn import TlsAlpn
from tests.fakes.authority import BASE, DIRECTORY, Authority

NOW = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)
DAY_S = 24 * 3600.0
RATE_LIMITED = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many certificates"}


class Solving:
    """Has every challenge answered, and says for whom."""

    kind = "tls-alpn-01"

    def __init__(self) -> None:
        self.names: list[str] = []

    @contextlib.contextmanager
    def answering(self, name: str, authorization: str) -> Iterator[None]:
        assert authorization.startswith(f"token-of-{name}.")
        self.names.append(name)
        yield


class CutError(BaseException):
    """The power is gone."""


class Box:
    """A state folder that looks after its certificate; `cut_after` is the number of writes before the power goes."""

    def __init__(self, state: Path, authority: Authority, **settings: object) -> None:
        self.state, self.authority = state, authority
        self.settings = AcmeConfig(**{"directory": DIRECTORY, "terms_agreed": True, **settings})  # type: ignore[arg-type]
        self.names = ["box.example"]
        self.cut_after: int | None = None
        self.writes = 0
        self.solving = Solving()
        self.binding: Binding | None = None

    def keep(self, path: Path, data: bytes) -> None:
        if self.cut_after is not None and self.writes >= self.cut_after:
            raise CutError
        self.writes += 1
        write_whole(path, data)

    def tend(self, *, at_start: bool = False) -> Tended:
        return Tending(
            AcmeFolder(self.state, self.keep),
            self.settings,
            self.names,
            fetch=self.authority.fetch,
            solver=lambda: self.solving,
            waiting=Waiting(lambda: self.authority.now_s, self.authority.pause),
            draw=lambda most: most // 2,
            binding=lambda: self.binding,
        ).tend(at_start=at_start)

    def shown(self) -> int:
        """Return how many certificates were issued before the one in use, -1 for none; it fits its key."""
        path = self.state / CERTIFICATE
        if not path.exists():
            return -1
        assert isinstance(server_context(path), ssl.SSLContext)
        pem = path.read_text()
        serials = [certificate.serial_number for certificate in self.authority.issued]
        from cryptography import x509

        return serials.index(x509.load_pem_x509_certificate(pem.encode()).serial_number)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path, Authority(NOW))


def test_a_new_box_gets_a_certificate_and_looks_again_before_two_thirds_of_its_life(box: Box) -> None:
    tended = box.tend(at_start=True)
    assert tended.renewed
    assert box.shown() == 0
    assert box.solving.names == ["box.example"]
    assert tended.record.renew_s == pytest.approx(NOW.timestamp() + 60 * DAY_S, abs=60)
    assert tended.pause_s == 6 * 3600
    assert (box.state / CERTIFICATE).stat().st_mode & 0o777 == 0o600


def test_while_it_is_good_nothing_is_ordered_and_nothing_written(box: Box) -> None:
    box.tend()
    box.writes = 0
    assert not box.tend(at_start=True).renewed
    assert box.writes == 0
    assert len(box.authority.orders) == 1


def test_at_two_thirds_it_is_renewed_with_a_new_key_where_nobody_suggests_anything(box: Box) -> None:
    box.tend()
    before = (box.state / CERTIFICATE).read_text()
    box.authority.now_s = NOW.timestamp() + 60 * DAY_S + 60
    assert box.tend().renewed
    assert box.shown() == 1
    assert (
        before.partition("-----BEGIN CERT")[0] != (box.state / CERTIFICATE).read_text().partition("-----BEGIN CERT")[0]
    )


def test_the_authority_says_when_and_hears_which_one_is_replaced(box: Box) -> None:
    box.tend()
    box.authority.window = ("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z")
    tended = box.tend()
    assert not tended.renewed
    assert tended.record.renew_s == datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC).timestamp()
    assert tended.pause_s == 3600
    box.authority.now_s = tended.record.renew_s
    assert box.tend().renewed
    assert len(box.authority.replaced) == 1


def test_a_window_in_the_past_is_an_order_at_once(box: Box) -> None:
    box.tend()
    box.authority.window = ("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z")
    assert box.tend().renewed
    assert len(box.authority.orders) == 2


def test_what_was_replaced_already_is_ordered_like_anything_else(box: Box) -> None:
    box.tend()
    box.authority.window = ("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z")
    box.authority.problems["/newOrder"] = (409, {"type": "urn:ietf:params:acme:error:alreadyReplaced"}, {})
    assert box.tend().renewed
    assert box.authority.replaced == []


def test_refused_nonces_are_replaced(box: Box) -> None:
    box.authority.bad_nonces = 5
    assert box.tend().renewed
    box.authority.bad_nonces = 100
    box.names = ["other.example"]
    assert box.tend().record.kind == "badNonce"


def test_terms_are_agreed_to_by_a_person_only(tmp_path: Path) -> None:
    box = Box(tmp_path, Authority(NOW), terms_agreed=False)
    tended = box.tend(at_start=True)
    assert (tended.renewed, tended.record.kind) == (False, "terms")
    assert box.authority.accounts == []


def test_an_account_is_tied_to_one_made_elsewhere_and_only_once(box: Box) -> None:
    box.authority.mac_keys = {"kid-1": b"a secret of theirs", "kid-2": b"another"}
    assert box.tend(at_start=True).record.kind == "externalAccountRequired"
    box.binding = parse_binding("kid-1", f"{encode(b'not that secret')}\n")
    assert box.tend(at_start=True).record.kind == "binding"
    box.binding = parse_binding("kid-2", encode(b"another"))
    assert box.tend(at_start=True).renewed
    box.authority.now_s = NOW.timestamp() + 60 * DAY_S + 60
    # The authority takes each key once: the second order shows none.
    assert box.tend().renewed
    assert len(box.authority.accounts) == 1
    assert box.authority.mac_keys == {}


@pytest.mark.parametrize("text", ["", "two words", "a" * 5, "a*b="])
def test_a_key_that_no_authority_gives_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="base64url"):
        parse_binding("kid", text)


def test_a_challenge_that_fails_is_named_and_tried_again_later_and_later(box: Box) -> None:
    box.authority.failing = {"type": "urn:ietf:params:acme:error:connection", "detail": "refused\x1b[31m"}
    pauses = []
    for _ in range(4):
        tended = box.tend()
        assert (tended.renewed, tended.record.kind, tended.record.about) == (False, "connection", "box.example")
        assert tended.record.detail == "refused [31m"
        pauses.append(round(tended.pause_s))
        assert not box.tend().renewed
        box.authority.now_s = tended.record.next_s
    assert pauses == [300, 600, 1200, 2400]
    assert len(box.authority.orders) == 4
    box.authority.failing = None
    assert box.tend().record.kind == ""


def test_a_start_tries_at_once_unless_the_authority_said_when(box: Box) -> None:
    box.authority.failing = {"type": "urn:ietf:params:acme:error:dns", "detail": "no such name"}
    box.tend()
    assert box.tend().record.failures == 1
    assert box.tend(at_start=True).record.failures == 2
    box.authority.problems["/newOrder"] = (429, RATE_LIMITED, {"retry-after": "7200"})
    limited = box.tend(at_start=True)
    assert (limited.record.kind, limited.record.failures, round(limited.pause_s)) == ("rateLimited", 3, 7200)
    assert box.tend(at_start=True).record.failures == 3


def test_only_so_many_orders_are_made_in_a_day(box: Box) -> None:
    box.authority.failing = {"type": "urn:ietf:params:acme:error:dns", "detail": "no such name"}
    for _ in range(MAX_CERTIFICATE_ORDERS_PER_DAY + 5):
        box.tend(at_start=True)
    tended = box.tend(at_start=True)
    assert len(box.authority.orders) == MAX_CERTIFICATE_ORDERS_PER_DAY
    assert tended.pause_s == pytest.approx(DAY_S, rel=0.1)
    box.authority.failing = None
    box.authority.now_s += DAY_S
    assert box.tend().renewed


def test_other_names_profile_or_authority_are_another_certificate(box: Box) -> None:
    box.tend()
    box.names = ["box.example", "chat.example", "192.0.2.7"]
    assert box.tend().renewed
    assert box.solving.names[1:] == ["box.example", "chat.example", "192.0.2.7"]
    box.settings = AcmeConfig(directory=DIRECTORY, terms_agreed=True, profile="shortlived")
    assert box.tend().renewed
    assert box.authority.orders[-1]["profile"] == "shortlived"
    box.settings = AcmeConfig(directory=DIRECTORY, terms_agreed=True, profile="unheard-of")
    assert box.tend().record.kind == "invalidProfile"
    assert settings_mark(box.settings, ["b", "a"]) == settings_mark(box.settings, ["a", "b"])


def test_an_order_that_the_line_cut_short_goes_on_where_it_stood(box: Box) -> None:
    box.authority.problems["/chain/"] = (503, {"type": "urn:ietf:params:acme:error:serverInternal"}, {})
    assert box.tend().record.kind == "serverInternal"
    box.authority.now_s += DAY_S
    assert box.tend().renewed
    assert (len(box.authority.orders), len(box.authority.issued), box.shown()) == (1, 1, 0)


def test_nobody_answers_and_the_old_certificate_stays(box: Box) -> None:
    box.tend()
    box.authority.now_s += 80 * DAY_S
    box.authority.silent = True
    tended = box.tend()
    assert (tended.renewed, tended.record.kind, tended.pause_s) == (False, "unreachable", 300)
    assert box.shown() == 0


@pytest.mark.parametrize("renewing", [False, True])
def test_a_power_cut_at_any_write_leaves_the_old_certificate_or_the_new_one(tmp_path: Path, renewing: bool) -> None:
    most = 0
    for cut_after in range(12):
        state = tmp_path / str(cut_after)
        state.mkdir()
        box = Box(state, Authority(NOW))
        if renewing:
            box.tend()
            box.authority.now_s += 80 * DAY_S
        old, box.writes, box.cut_after = box.shown(), 0, cut_after
        with contextlib.suppress(CutError):
            box.tend(at_start=True)
            most = max(most, box.writes)
        assert box.shown() in (old, old + 1)
        box.cut_after = None
        box.tend(at_start=True)
        assert box.shown() == len(box.authority.issued) - 1 > old
        assert len(box.authority.issued) - 1 == old + 1, "a certificate was wasted"
        box.writes = 0
        assert not box.tend(at_start=True).renewed
        assert box.writes == 0
    assert most >= 4


def test_an_order_of_other_settings_or_one_that_is_gone_is_dropped(box: Box) -> None:
    folder = AcmeFolder(box.state, box.keep)
    folder.make()
    folder.keep_order(Order(f"{BASE}/order/7", settings_mark(box.settings, box.names), make_key()))
    assert box.tend().renewed
    assert folder.order() is None


def test_damaged_files_are_as_good_as_none(box: Box) -> None:
    box.tend()
    for path in (box.state / "tls" / "acme").iterdir():
        path.write_text("-----BEGIN NOTHING")
    assert box.tend().renewed
    assert box.shown() == 1


def distorted(begin: str, changes: dict[str, object] | None) -> Callable[[str, Answer], Answer]:
    """Return what changes the JSON that is answered at paths that begin so; without `changes` it is none any more."""

    def distort(path: str, answer: Answer) -> Answer:
        if not path.startswith(begin) or answer.status >= 400:
            return answer
        body = b"[" * 100_000 if changes is None else json.dumps({**json.loads(answer.body), **changes}).encode()
        return answer._replace(body=body)

    return distort


def test_an_authority_that_names_somebody_else_writes_no_file(tmp_path: Path) -> None:
    box = Box(tmp_path, Authority(NOW))
    box.solving = TlsAlpn(tmp_path / CHALLENGES, box.keep, NOW)  # type: ignore[assignment]
    before = {path.name for path in tmp_path.iterdir()}
    for name in ("../../elsewhere", "other.example", ""):
        box.authority.distort = distorted("/authz/", {"identifier": {"value": name}})
        assert box.tend(at_start=True).record.kind == "malformed"
    assert {path.name for path in tmp_path.iterdir()} == before | {"tls"}
    assert not list((tmp_path / CHALLENGES).iterdir())


@pytest.mark.parametrize(
    ("begin", "changes"),
    [
        ("/dir", {"newNonce": None}),
        ("/dir", {"newOrder": 7}),
        ("/order/", {"authorizations": {"a": 1}}),
        ("/order/", {"authorizations": [None]}),
        ("/order/", {"identifiers": None}),
        ("/order/", {"identifiers": [None]}),
        ("/order/", {"status": "valid", "certificate": None}),
        ("/order/", {"status": "invalid", "error": 7}),
        ("/authz/", {"identifier": None}),
        ("/authz/", {"challenges": None}),
        ("/authz/", {"challenges": ["x"]}),
        ("/authz/", {"challenges": [{"type": "tls-alpn-01", "token": "\u20ac", "url": "https://acme.test/challenge"}]}),
        ("/finalize/", None),
        ("/chain/", None),
    ],
)
def test_answers_of_another_form_are_remembered_as_a_failure(
    box: Box, begin: str, changes: dict[str, object] | None
) -> None:
    box.authority.distort = distorted(begin, changes)
    tended = box.tend(at_start=True)
    assert tended.renewed is (tended.record.kind == "")
    assert tended.renewed is (box.shown() == 0)
    box.authority.distort = lambda _path, answer: answer
    assert box.tend(at_start=True).renewed is not tended.renewed


@pytest.mark.parametrize("body", [b"<html>Bad Gateway</html>", b"[" * 100_000, b'{"type": "about:blank"}', b"[]"])
def test_a_fault_in_front_of_the_authority_passes_and_the_order_stays(box: Box, body: bytes) -> None:
    box.authority.distort = lambda path, answer: Answer(502, {}, body) if path.startswith("/order/") else answer
    for _ in range(3):
        assert box.tend(at_start=True).record.kind == "serverInternal"
    box.authority.distort = lambda _path, answer: answer
    assert box.tend(at_start=True).renewed
    assert len(box.authority.orders) == 1


def test_a_certificate_for_another_key_is_not_put_into_use(box: Box, tmp_path: Path) -> None:
    other = Box(tmp_path / "other", box.authority)
    other.state.mkdir()
    other.tend()
    chain = box.authority.orders[0]["chain"]
    box.authority.distort = lambda path, answer: answer._replace(body=chain) if path.startswith("/chain/") else answer
    assert box.tend().record.kind == "malformed"
    assert not (box.state / CERTIFICATE).exists()


def test_a_moment_that_no_calendar_has_is_none(box: Box) -> None:
    box.authority.problems["/newOrder"] = (429, RATE_LIMITED, {"retry-after": f"Mon, 1 Jan {'9' * 30} 00:00:00 GMT"})
    assert round(box.tend().pause_s) == 3600
