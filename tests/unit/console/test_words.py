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


ETH0 = {
    "name": "eth0",
    "kind": "ethernet",
    "state": "connected",
    "profile": "Wired 1",
    "ipv4": {"how": "fixed", "addresses": ["192.0.2.5/24"], "gateway": "192.0.2.1", "dns": ["192.0.2.1"]},
    "ipv6": {"how": "auto", "addresses": ["fe80::1/64", "2001:db8::5/64"], "gateway": "fe80::2", "dns": []},
}


def test_each_interface_is_told_with_how_it_got_its_addresses() -> None:
    off = {"how": "dhcp", "addresses": [], "gateway": "", "dns": []}
    wlan0 = {
        **ETH0,
        "name": "wlan0",
        "kind": "wifi",
        "state": "unavailable",
        "profile": "home",
        "ipv4": off,
        "ipv6": off,
    }
    assert words.network({"online": True, "hostname": "doorstep", "interfaces": [ETH0, wlan0]}) == [
        "online",
        "eth0  Ethernet, connected",
        "  192.0.2.5/24 fixed, gateway 192.0.2.1",
        "  2001:db8::5/64 as the router says, gateway fe80::2",
        "  DNS 192.0.2.1",
        "wlan0  Wi-Fi home, unavailable",
        "name: doorstep",
    ]
    assert "no interface" in words.network({"online": False, "hostname": "x", "interfaces": []})


def test_a_change_of_the_network_says_whether_it_is_kept() -> None:
    changed = {"changed": True, "restart_needed": False, "restarting": False, "interfaces": [ETH0], "notes": ["beware"]}
    lines = words.saved(changed)
    assert (lines[0], lines[-1]) == ("Saved.", "! beware")
    lines = words.saved({**changed, "goes_back_in_s": 120, "careful": True})
    assert lines[0] == "In force."
    assert "over the network" in lines[-2]
    assert "goes back by itself in 120 s" in lines[-1]


def test_a_network_that_asks_for_users_is_told_apart() -> None:
    found = {"ssid": "work", "signal_dbm": -60, "secured": True, "enterprise": True}
    assert words.networks({"networks": [found]}) == ["-60 dBm  users   work"]
