from relay.console import words


def test_a_running_box_is_shown_fact_by_fact() -> None:
    result = {
        "running": True,
        "listening": {"client": "http://127.0.0.1:1"},
        "outboxes": [{"server": "a.example", "to_device_bytes": 5}],
        "uptime_s": 1.5,
    }
    assert words.status(result) == [
        "running: True",
        "listening",
        "  client: http://127.0.0.1:1",
        "outboxes: 1",
        "  server a.example, to_device_bytes 5",
        "uptime s: 1.5",
    ]


def test_a_box_that_is_off_comes_with_what_to_do_next() -> None:
    assert words.status({"running": False}) == ["not set up", "next: relay provision, or relay console"]
    off = {"running": False, "provisioned": True, "server": "box.example"}
    assert words.status({**off, "locked": True})[1] == "next: relay doctor"
    assert words.status(off) == ["box.example is not running", "next: relay up"]


def test_people_and_findings_are_lists_with_a_line_for_none() -> None:
    assert words.users({"users": []}) == ["nobody yet"]
    assert words.users({"users": [{"user": "@a:b", "admin": True, "active": False}]}) == ["@a:b  admin  deactivated"]
    assert words.findings({"findings": []}) == ["nothing wrong"]


def test_a_new_box_says_that_its_name_is_for_ever_and_what_its_fingerprint_means() -> None:
    lines = words.provisioned({"server": "box.example", "owner": None, "fingerprint": "AB:CD", "url": "http://x"})
    assert "can never change" in lines[0]
    assert any("refuse it until they trust" in line for line in lines)
    assert not any("Owner" in line for line in lines)


def test_an_invitation_says_when_it_ends() -> None:
    lines = words.invitation({"url": "http://x/#invite=t", "token": "t", "expires_ms": 1_800_000_000_000})
    assert lines == ["http://x/#invite=t", "Registration token: t  (once, until 2027-01-15 08:00 UTC)"]
