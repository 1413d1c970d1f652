import datetime
from pathlib import Path

import pytest
import trustme

from relay.base.config import Config
from relay.base.ids import ServerName
from relay.cli.certificate_findings import find_about_the_certificate
from relay.cli.own_ca import make_own_ca
from relay.uplink.acme.places import CERTIFICATE, RECORD
from relay.uplink.acme.schedule import Record

NOW = datetime.datetime.now(datetime.UTC)
ACME = {"directory": "https://acme.example/dir", "terms_agreed": True}
Found = list[tuple[str, str, str]]


def found(folder: Path, *, now: datetime.datetime = NOW, **tables: dict[str, object]) -> Found:
    config = Config.parse({"server": {"name": "box.example"}, "acme": ACME, **tables})
    findings = find_about_the_certificate(folder, config, now)
    return [(finding.level, finding.what, finding.next_step) for finding in findings]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_own_ca(tmp_path, ServerName("box.example"), NOW)
    (tmp_path / CERTIFICATE.parent).mkdir()
    return tmp_path


def certify(folder: Path, *names: str, days: float = 60, record: Record | None = None) -> None:
    ends = NOW + datetime.timedelta(days=days, minutes=1)
    issued = trustme.CA().issue_cert(*names, not_before=NOW - datetime.timedelta(days=90), not_after=ends)
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / CERTIFICATE))
    record = record or Record()
    (folder / RECORD).write_bytes(Record(renew_s=NOW.timestamp() + 1, ends_s=ends.timestamp()).render())
    if record.kind:
        (folder / RECORD).write_bytes(record.render())


def failed(kind: str, **more: float) -> Record:
    return Record(kind=kind, detail="it said so", about="box.example", **more)  # type: ignore[arg-type]


def test_a_certified_box_has_nothing_to_say(folder: Path) -> None:
    certify(folder, "box.example")
    assert found(folder) == []


def test_until_there_is_one_it_is_said_what_others_see(folder: Path) -> None:
    (first, port) = found(folder)
    assert first[0] == "warning"
    assert first[1] == "certificate.none: there is none yet; until then it shows its own CA's, which others refuse"
    assert port[0] == "note"
    assert "port 443; its doors with TLS listen on 8448" in port[1]


def test_a_door_at_443_needs_no_word_about_ports(folder: Path) -> None:
    assert len(found(folder, client={"listen": "[::]:443", "tls": True})) == 1


def test_a_clock_that_is_not_set_is_why(folder: Path) -> None:
    assert "the clock is not set" in found(folder, now=datetime.datetime(1970, 1, 2, tzinfo=datetime.UTC))[0][1]


def test_terms_wait_for_a_person(folder: Path) -> None:
    (first, *_) = found(folder, acme={**ACME, "terms_agreed": False})
    assert "nobody agreed to the terms" in first[1]
    assert "acme.terms_agreed" in first[2]


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("dns", "let the name point to this box"),
        ("connection", "forward it at the router"),
        ("unauthorized", "let the name point to this box alone"),
        ("rateLimited", "wait: "),
        ("userActionRequired", "new terms"),
        ("unreachable", "look at the line"),
        ("update", "dns.key_file"),
        ("unheardOf", "tries again by itself"),
    ],
)
def test_each_failure_has_its_next_step(folder: Path, kind: str, advice: str) -> None:
    certify(folder, "box.example", record=failed(kind, next_s=NOW.timestamp() + 600))
    (first, *_) = found(folder)
    assert first[:2] == ("warning", f"certificate.{kind}: no new one for box.example: it said so")
    assert advice in first[2]
    assert "the box tries again at " in first[2]


def test_one_that_ended_or_is_overdue_is_named(folder: Path) -> None:
    certify(folder, "box.example", days=-1)
    assert ("fault", "the certificate has ended") in [finding[:2] for finding in found(folder)]
    certify(folder, "box.example", days=2)
    late = NOW + datetime.timedelta(days=1, hours=12)
    assert ("warning", "the certificate ends in 0 days") in [finding[:2] for finding in found(folder, now=late)]


def test_a_certificate_for_others_is_named(folder: Path) -> None:
    certify(folder, "other.example")
    ((level, what, _),) = found(folder)
    assert (level, what) == ("warning", "certificate.names: it is for other.example, not for box.example")


def test_a_wildcard_covers_one_label(folder: Path) -> None:
    certify(folder, "*.example")
    assert found(folder) == []


def test_what_apps_are_told_has_to_be_certified_too(folder: Path) -> None:
    certify(folder, "box.example")
    client = {"public_url": "https://chat.example", "listen": "[::]:443", "tls": True}
    ((level, what, advice),) = found(folder, client=client)
    assert level == "warning"
    assert "/.well-known/matrix/client sends apps to chat.example" in what
    assert "acme.names" in advice
    assert found(folder, client={**client, "public_url": "https://[chat.example"}) == []
