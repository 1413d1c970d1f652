"""Requests about the network this box is in: what the console's people, programs and browsers ask."""

import platform
import socket
from dataclasses import asdict
from pathlib import Path
from typing import Any

from relay.app.version import VERSION
from relay.base.errors import InvalidInputError
from relay.base.limits import FROM_AFAR_TRIAL_S
from relay.base.trial import Trial, Uptime
from relay.box.board import choose_profile, identify
from relay.box.network_bus import NetworkUnavailableError
from relay.box.network_service import NetworkService, open_network_service
from relay.cli import network_trial, settings
from relay.cli.files import act_as_owner

_MOST_SSID_BYTES = 32
_NAME = "Doorstep"


def about(_folder: Path, _fields: dict[str, Any]) -> dict[str, Any]:
    """Return what this box is, in short texts."""
    system = platform.freedesktop_os_release()
    hostname = socket.gethostname()
    name = ""
    try:
        with open_network_service() as network:
            hostname, name = network.hostname() or hostname, network.device_name()
    except NetworkUnavailableError:
        # A box without the service has a name all the same: the kernel's.
        pass
    return {
        "version": VERSION,
        "board": choose_profile(identify()),
        "name": name or _NAME,
        "hostname": hostname,
        "system": system.get("NAME", ""),
        "system_version": system.get("VERSION_ID", ""),
    }


def network(_folder: Path, _fields: dict[str, Any]) -> dict[str, Any]:
    """Return how the box is connected."""
    with open_network_service() as service:
        return _described(service)


def _described(service: NetworkService) -> dict[str, Any]:
    state = service.state()
    return {**asdict(state), "addresses": list(state.addresses), "interfaces": list(state.interfaces)}


def wifi_scan(_folder: Path, _fields: dict[str, Any]) -> dict[str, Any]:
    """Return the networks in reach, the strongest first."""
    with open_network_service() as service:
        return {"networks": [asdict(found) for found in service.wifi.scan()]}


def wifi_join(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Join a network; on failure everything is as it was. With `confirm_s`, or from afar, it is on trial.

    Raises:
        ConflictError: a change is on trial already.
    """
    ssid, password = _text(fields, "ssid"), _text(fields, "password")
    if not 0 < len(ssid.encode()) <= _MOST_SSID_BYTES:
        raise InvalidInputError(f"the name of a network has 1 to {_MOST_SSID_BYTES} bytes")
    confirm_s = settings.confirm_time(fields.get("confirm_s"))
    careful = confirm_s is None and fields.get("from_afar") is True
    settings.settle(folder)
    settings.refuse_second(folder)
    with open_network_service() as service:
        if confirm_s is None and not careful:
            service.wifi.join(ssid, password)
            return _described(service)
        confirm_s = confirm_s or FROM_AFAR_TRIAL_S
        joined = service.wifi.try_network(ssid, password, confirm_s)
        with service.changes.guarded(joined.checkpoint):
            act_as_owner(folder)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            settings.keep_ways(folder, [joined.way_back])
            settings.put_on_trial(folder, Trial(Uptime.now(), 0.0, checkpoint=joined.checkpoint), confirm_s)
            service.changes.prolong(joined.checkpoint, confirm_s + network_trial.SLACK_S)
        told = {**_described(service), "goes_back_in_s": confirm_s}
        return {**told, "careful": True} if careful else told


def wifi_forget(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Forget a network and its password.

    Raises:
        ConflictError: a change is on trial, which may want to go back to it.
    """
    settings.refuse_second(folder)
    ssid = _text(fields, "ssid")
    with open_network_service() as service:
        service.wifi.forget(ssid)
    return {"forgotten": ssid}


def hostname_set(_folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Give the box another host name."""
    hostname = _text(fields, "hostname")
    with open_network_service() as service:
        service.set_hostname(hostname)
    return {"hostname": hostname}


def device_name_set(_folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Give the box another name for people."""
    name = _text(fields, "name")
    with open_network_service() as service:
        service.set_device_name(name)
    return {"name": name}


def _text(fields: dict[str, Any], key: str) -> str:
    value = fields.get(key, "")
    if not isinstance(value, str) or "\0" in value:
        raise InvalidInputError(f"{key} is a text")
    return value
