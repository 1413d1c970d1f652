"""An operator in memory: a box that can be set up, with the replies of the real one."""

import socket
from typing import Any

from relay.base.limits import FROM_AFAR_TRIAL_S
from relay.console.operator import Call, Place

OWNER_SECRET = "open sesame 1"
URL = "http://127.0.0.1:8008"
PASSPHRASE = "a phrase that only we know"


def reply_of(box: "MemoryBox", fields: dict[str, Any]) -> dict[str, Any]:
    """Carry out `fields` on `box`; return the reply."""
    try:
        return {"ok": True, "result": box.carry_out(dict(fields))}
    except LookupError as error:
        return {"ok": False, "code": "conflict", "fault": "user", "retryable": False, "message": str(error.args[0])}


class MemoryBox:
    def __init__(self, *, provisioned: bool = False, locks: bool = False) -> None:
        self.server = "box.example" if provisioned else ""
        self.users: dict[str, str] = {}
        self.settings: dict[str, str] = {}
        self.asked: list[dict[str, Any]] = []
        self.before: dict[str, str] | None = None
        self.on_trial_s: float | None = None
        self.settled = 0
        self.from_afar = False
        self.network = ""
        self.hostname = "doorstep"
        self.name = "Doorstep"
        self.locks = locks
        self.owner_secret = OWNER_SECRET
        self.waits = 0
        self.long_text: list[str] = []

    def provisioned(self) -> bool:
        return bool(self.server)

    def claimed(self) -> bool:
        return bool(self.server) and self.locks

    def place(self) -> Place:
        return Place(online=bool(self.network), url=URL if self.server else "")

    def carry_out(self, fields: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(dict(fields))
        result: dict[str, Any] = getattr(self, "_" + fields.pop("verb"))(**fields)
        return result

    def _status(self) -> dict[str, Any]:
        if not self.server:
            return {"provisioned": False, "running": False}
        return {"provisioned": True, "running": True, "server": self.server, "ledger": {"segments": 8}}

    def _doctor(self) -> dict[str, Any]:
        return {"findings": [{"level": "warning", "what": "the box is not running", "next_step": "start it"}]}

    def _diagnostics(self, transcript: list[str]) -> dict[str, Any]:
        return {"text": "".join(f"{line}\n" for line in ["== diagnostics ==", *transcript, *self.long_text])}

    def _show(self) -> dict[str, Any]:
        trial = {} if self.on_trial_s is None else {"goes_back_in_s": self.on_trial_s}
        network = {"eth0.address": "dhcp", "eth0.gateway": "auto", "eth0.dns": "auto"}
        ours = {"server": {"name": self.server}, "log": {"level": "info"}} if self.server else {}
        return {"settings": {**ours, "network": network}, **trial}

    def _usual(self, profile: str) -> dict[str, Any]:
        usual = {"federation": "[::]:8448", "client": "127.0.0.1:8008" if profile != "toaster" else "[::]:443"}
        return {"board": "toaster", "asks_addresses": profile != "toaster", **usual}

    def _provision(self, name: str, settings: dict[str, str], **basics: str) -> dict[str, Any]:
        if self.server:
            raise LookupError("a box already")
        self.server, self.settings = name, settings
        self.users[basics["owner"]] = basics["password"]
        owner = f"@{basics['owner']}:{name}"
        return {"server": name, "owner": owner, "fingerprint": "AB:CD", "url": URL, "qr": ["█▀█"], "qr_ascii": ["##"]}

    def _set(self, settings: dict[str, str], confirm_s: float | None = None, **_phrases: str) -> dict[str, Any]:
        if self.before is not None and self.on_trial_s is not None:
            raise LookupError("a change is on trial: commit keeps it, rollback takes it back")
        changed = self.settings != {**self.settings, **settings}
        careful = confirm_s is None and self.from_afar and any(key.startswith("network.") for key in settings)
        confirm_s = FROM_AFAR_TRIAL_S if careful else confirm_s
        if changed:
            self.before, self.on_trial_s = dict(self.settings), confirm_s
        self.settings.update(settings)
        result: dict[str, Any] = {"changed": changed, "restart_needed": changed, "restarting": changed}
        if confirm_s is None:
            return result
        return {**result, "goes_back_in_s": confirm_s, **({"careful": True} if careful else {})}

    def _commit(self) -> dict[str, Any]:
        if self.on_trial_s is None:
            raise LookupError("nothing is on trial")
        self.on_trial_s = None
        return {"kept": True}

    def _rollback(self) -> dict[str, Any]:
        if self.before is None:
            raise LookupError("there are no earlier settings to go back to")
        self.settings, self.before, self.on_trial_s = self.before, None, None
        return {"restarting": True}

    def _settle(self) -> dict[str, Any]:
        self.before, self.on_trial_s, self.settled = None, None, self.settled + 1
        return {"went_back": True, "left_s": None}

    def _user_add(self, name: str, password: str) -> dict[str, Any]:
        if name in self.users:
            raise LookupError("the name is taken")
        self.users[name] = password
        return {"user": f"@{name}:{self.server}"}

    def _user_list(self) -> dict[str, Any]:
        return {"users": [{"user": f"@{name}:{self.server}", "admin": False, "active": True} for name in self.users]}

    def _user_passwd(self, name: str, password: str) -> dict[str, Any]:
        self.users[name] = password
        return {"user": name}

    def _user_deactivate(self, name: str) -> dict[str, Any]:
        del self.users[name]
        return {"user": name}

    def _invite_create(self) -> dict[str, Any]:
        url = f"{URL}/#invite=t0ken"
        return {"token": "t0ken", "expires_ms": 1_800_000_000_000, "url": url, "qr": ["█▀█"], "qr_ascii": ["##"]}

    def _passphrase(self, passphrase: str) -> dict[str, Any]:
        if passphrase != PASSPHRASE:
            raise LookupError("it does not open with this key; nothing was changed")
        return {"unlocked": True}

    def _time_set(self, utc: str) -> dict[str, Any]:
        return {"utc": utc}

    def _about(self) -> dict[str, Any]:
        return {
            "version": "0.1.0",
            "board": "desk",
            "name": self.name,
            "hostname": self.hostname,
            "system": "Debian",
            "system_version": "13",
        }

    def _network(self) -> dict[str, Any]:
        addresses = ["192.0.2.7"] if self.network else []
        ipv4 = {"how": "dhcp", "addresses": [f"{address}/24" for address in addresses], "gateway": "", "dns": []}
        ipv6 = {"how": "auto", "addresses": ["fe80::1/64"], "gateway": "", "dns": []}
        wlan = {"name": "wlan0", "kind": "wifi", "state": "connected", "profile": self.network, "ipv4": ipv4}
        return {
            "interfaces": [{**wlan, "ipv6": ipv6}],
            "online": bool(self.network),
            "wifi": True,
            "ethernet": True,
            "addresses": addresses,
            "hostname": self.hostname,
        }

    def _wifi_scan(self) -> dict[str, Any]:
        return {
            "networks": [
                {"ssid": "home", "signal_dbm": -60, "secured": True},
                {"ssid": "café", "signal_dbm": -75, "secured": False},
                {"ssid": "work", "signal_dbm": -80, "secured": True, "enterprise": True},
            ]
        }

    def _wifi_join(self, ssid: str, password: str) -> dict[str, Any]:
        if (ssid, password) not in (("home", "correct horse"), ("café", "")):
            raise LookupError("the network could not be joined: is the password right?")
        self.network = ssid
        return self._network()

    def _wifi_forget(self, ssid: str) -> dict[str, Any]:
        if ssid != self.network:
            raise LookupError("this box knows no network of that name; it knows: none")
        self.network = ""
        return {"forgotten": ssid}

    def _hostname_set(self, hostname: str) -> dict[str, Any]:
        self.hostname = hostname
        return {"hostname": hostname}

    def _device_name_set(self, name: str) -> dict[str, Any]:
        self.name = name
        return {"name": name}

    def _owner_check(self, secret: str) -> dict[str, Any]:
        if secret != self.owner_secret:
            raise LookupError("this is not the owner's password")
        return {"owner": True}

    def _reset_wait(self) -> dict[str, Any]:
        self.waits += 1
        return {"waited": True}

    def _button_reset(self) -> dict[str, Any]:
        return self._factory_reset(self.server)

    def _restart_safe(self) -> dict[str, Any]:
        return {"stopping": True}

    def _release_back(self) -> dict[str, Any]:
        return {"going_back": True}

    def _repair(self) -> dict[str, Any]:
        return {"lines": ["nothing to repair"]}

    def _restart(self) -> dict[str, Any]:
        return {"stopping": True}

    def _factory_reset(self, confirm: str) -> dict[str, Any]:
        if self.server and confirm != self.server:
            raise LookupError("not confirmed")
        self.server = ""
        self.users.clear()
        return {"reset": True}


class MemoryCall:
    """Answered as soon as it is looked at; `late` ones when `ring` is called."""

    def __init__(self, box: MemoryBox, fields: dict[str, Any]) -> None:
        self._box, self._fields = box, fields
        self._mine, self._theirs = socket.socketpair()
        self.cancelled = False

    def ring(self) -> None:
        self._theirs.send(b"x")

    def fileno(self) -> int:
        return self._mine.fileno()

    def finish(self) -> dict[str, Any] | None:
        return reply_of(self._box, self._fields)

    def cancel(self) -> None:
        self.cancelled = True
        self._mine.close()
        self._theirs.close()


class MemoryOperator:
    def __init__(self, box: MemoryBox, *, late: bool = False) -> None:
        self.box, self.late = box, late
        self.draft: dict[str, str] | None = None
        self.done: dict[str, tuple[str, str]] = {}
        self.calls: list[MemoryCall] = []

    def begin(self, fields: dict[str, Any]) -> Call:
        call = MemoryCall(self.box, fields)
        self.calls.append(call)
        if not self.late:
            call.ring()
        return call

    def provisioned(self) -> bool:
        return self.box.provisioned()

    def claimed(self) -> bool:
        return self.box.claimed()

    def place(self) -> Place:
        return self.box.place()

    def load_draft(self) -> dict[str, str]:
        return self.draft or {}

    def load_done(self) -> dict[str, tuple[str, str]]:
        return self.done

    def keep_done(self, done: dict[str, tuple[str, str]]) -> None:
        self.done = done

    def keep_draft(self, draft: dict[str, str] | None) -> None:
        self.draft = draft
