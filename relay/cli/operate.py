"""One request of a local operator, carried out wherever that works: by the running box, on files, or on its state.

Beside the verbs of `relay.admin.requests` there are those that concern files and the machine: `show`, `set`,
`usual`, `provision`, `factory_reset`, `time_set`, `renew_certificate`, `format`, and those about the network
(`relay.cli.network`).
"""

import dataclasses
import datetime
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

from relay.admin.advice import next_step
from relay.admin.client import NotRunningError, ask
from relay.admin.requests import Request, parse_request
from relay.base import trial
from relay.base.config import load
from relay.base.errors import ConfigError, ConflictError, ForbiddenError, InvalidInputError, RelayError
from relay.base.limits import ADMIN_CALL_TIMEOUT_S, RESET_WAIT_S
from relay.box.board import DESK
from relay.box.profile import load_profile
from relay.cli import own_ca, reset
from relay.cli.files import act_as_owner, provisioned
from relay.cli.invitation import describe_address, describe_invitation, public_url
from relay.cli.provisioning import ProvisionPlan, provision
from relay.cli.usual import is_appliance, usual


def operate(
    folder: Path, fields: dict[str, Any], *, timeout_s: float = ADMIN_CALL_TIMEOUT_S, descriptor: int | None = None
) -> dict[str, Any]:
    """Return the result of the request `fields`, `{"verb": ..., ...}`, with an open file where it needs one.

    Raises:
        RelayError: it was refused or failed.
    """
    verb = str(fields.get("verb"))
    if verb not in _ABOUT_THE_MACHINE:
        act_as_owner(folder)
    local = _LOCAL.get(verb)
    if local is not None:
        return local(folder, {name: value for name, value in fields.items() if name != "verb"})
    request = parse_request(fields, descriptor)
    try:
        with _guessed(folder, verb):
            result = ask(folder, fields, timeout_s=timeout_s, descriptor=descriptor)
    except NotRunningError:
        result = _carry_out_offline(folder, verb, request)
    if verb == "status":
        return {**result, **on_trial(folder)}
    if verb == "invite_create":
        return {**result, **describe_invitation(_present_url(folder), result["token"])}
    if verb == "doctor":
        from relay.cli.doctor import find_in_files
        from relay.cli.outside import find_outside

        found = find_in_files(folder) + find_outside(folder)
        return {"findings": result["findings"] + [dataclasses.asdict(finding) for finding in found]}
    return result


def _guessed(folder: Path, verb: str) -> AbstractContextManager[None]:
    if verb != "passphrase":
        return nullcontext()
    from relay.cli.owner import counted

    return counted(folder)


def _present_url(folder: Path) -> str:
    try:
        listening = ask(folder, {"verb": "status"}).get("listening", {}).get("client", "")
    except NotRunningError:
        listening = ""
    return public_url(load(folder), listening.rpartition("/")[2])


def _carry_out_offline(folder: Path, verb: str, request: Request) -> dict[str, Any]:
    if verb == "status":
        return offline_status(folder)
    if verb == "doctor":
        from relay.cli.doctor import find_without_box

        return {"findings": [dataclasses.asdict(finding) for finding in find_without_box(folder)]}
    if verb in ("restart", "stop", "passphrase"):
        raise NotRunningError("the box is not running")
    import trio

    from relay.cli.house import open_house

    config = load(folder)

    async def carry_out() -> dict[str, Any]:
        async with open_house(folder, config) as operator:
            return await operator.carry_out(request)

    return trio.run(carry_out)


def offline_status(folder: Path) -> dict[str, Any]:
    """Return what can be said of a box that does not answer."""
    if not provisioned(folder):
        return {"provisioned": False, "running": False}
    known = {"provisioned": True, "running": False, "locked": reset.is_locked(folder)}
    try:
        config = load(folder)
    except ConfigError as error:
        return {**known, "server": "", "url": "", "fault": str(error), "next_step": next_step(error.code)}
    return {**known, "server": config.server.name, "url": public_url(config)}


def _show(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    _expect(fields, set())
    try:
        settings = dataclasses.asdict(load(folder)) if provisioned(folder) else {}
    except ConfigError as error:
        raise ConfigError(f"{error}; next: {next_step(error.code)}") from None
    if has_system_bus():
        # D-Bus is a library that most requests do without.
        from relay.cli.network_trial import settings_in_force

        if network := settings_in_force():
            settings["network"] = network
    return {"settings": settings, **on_trial(folder)}


def has_system_bus() -> bool:
    """Return whether there can be anybody to ask about the network."""
    return "DBUS_SYSTEM_BUS_ADDRESS" in os.environ or os.path.exists("/run/dbus/system_bus_socket")


def on_trial(folder: Path) -> dict[str, Any]:
    """Return how long a change of the settings still waits to be said right; nothing where none does."""
    found = trial.pending(folder)
    return {} if found is None else {"goes_back_in_s": round(found.left_s(trial.Uptime.now()))}


def _set(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    from relay.cli import settings

    _expect(fields, {"settings", "confirm_s", "passphrase", "passphrase_now", "from_afar"})
    given = _texts({name: fields[name] for name in ("passphrase", "passphrase_now") if name in fields})
    return settings.change(
        folder,
        _texts(fields.get("settings")),
        settings.confirm_time(fields.get("confirm_s")),
        phrases=(given.get("passphrase_now"), given.get("passphrase")),
        from_afar=fields.get("from_afar") is True,
    )


def _about_settings(verb: str) -> Callable[[Path, dict[str, Any]], dict[str, Any]]:
    def carry_out(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
        from relay.cli import settings

        _expect(fields, set())
        result: dict[str, Any] = getattr(settings, verb)(folder)
        return result

    return carry_out


def _provision(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    from relay.cli.house import open_house

    names = {field.name for field in dataclasses.fields(ProvisionPlan)}
    _expect(fields, names)
    settings = _texts(fields.pop("settings", {}))
    plan = ProvisionPlan(settings=settings, **{"name": "", **_texts(fields)})
    made = provision(folder, plan, partial(open_house, phrase=plan.passphrase or None), _now())
    advice = _advice(folder) if is_appliance(folder) else []
    return {
        "server": made.config.server.name,
        "owner": made.owner,
        "fingerprint": made.fingerprint,
        "advice": advice,
        **describe_address(public_url(made.config)),
    }


def _advice(folder: Path) -> list[str]:
    from relay.cli.doctor import find_in_files

    return [f"{finding.what}: {finding.next_step}" for finding in find_in_files(folder) if finding.level != "note"]


def _usual(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Say what `provision` takes for what nobody names."""
    _expect(fields, {"profile"})
    chosen = usual(folder, _texts(fields).get("profile", ""))
    profile = load_profile(chosen.profile)
    told = {"board": profile.board.name, "asks_addresses": chosen.profile == DESK}
    if chosen.profile == DESK:
        return {**dataclasses.asdict(chosen), **told}
    from relay.cli.key_advice import advise

    return {**dataclasses.asdict(chosen), **told, "key": advise(profile.keystore)}


def _factory_reset(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    _expect(fields, {"confirm"})
    if provisioned(folder):
        try:
            name = str(load(folder).server.name)
        except ConfigError:
            # Settings that cannot be read must not keep anybody from starting afresh.
            name = "reset"
        if fields.get("confirm") != name:
            raise ForbiddenError(f"the confirmation is not {name}")
    reset.wipe(folder)
    return {"reset": True}


def _button_reset(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Reset without a typed word: the button of the board was held for ten seconds."""
    _expect(fields, set())
    if folder.is_dir():
        reset.wipe(folder)
    return {"reset": True}


def _reset_wait(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    _expect(fields, set())
    reset.wait_in_sight(folder, RESET_WAIT_S)
    return {"waited_s": RESET_WAIT_S}


def _time_set(_folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    _expect(fields, {"utc"})
    moment = parse_utc(fields.get("utc"))
    set_clock(moment.timestamp())
    return {"utc": moment.isoformat()}


def set_clock(wall_s: float) -> None:
    """Set the time of day, through the system's service or, where there is none, as root.

    Raises:
        RelayError: neither works here.
    """
    from relay.box.time_service import TimeUnavailableError, set_time

    try:
        set_time(round(wall_s * 1e6))
    except TimeUnavailableError as unavailable:
        try:
            time.clock_settime(time.CLOCK_REALTIME, wall_s)
        except PermissionError:
            raise unavailable from None


def parse_utc(text: object) -> datetime.datetime:
    """Return the moment that an ISO 8601 text in UTC (`2026-11-23T12:00:00Z`) names.

    Raises:
        InvalidInputError: it is none, or not in UTC, or not between 2026 and 2100.
    """
    try:
        moment = datetime.datetime.fromisoformat(str(text))
    except ValueError:
        raise InvalidInputError("the time is written like 2026-11-23T12:00:00Z") from None
    if moment.utcoffset() != datetime.timedelta(0) or not 2026 <= moment.year <= 2100:
        raise InvalidInputError("the time is in UTC, ends in Z and lies between 2026 and 2100")
    return moment


def _repair(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    from relay.cli.house import repair_house

    _expect(fields, set())
    lines = repair_house(folder, load(folder))
    with suppress(RelayError):
        # The folder was free: who answers is in safe mode.
        ask(folder, {"verb": "restart"})
    return {"lines": lines}


def _restart_safe(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Start again without serving anybody; a box that does not run does so at its next start."""
    from relay.app.failed_starts import ask_for_safe

    _expect(fields, set())
    if not provisioned(folder):
        raise ConflictError("the box has not been set up")
    ask_for_safe(folder)
    try:
        return ask(folder, {"verb": "restart"})
    except NotRunningError:
        return {"stopping": False}


def _renew_certificate(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    _expect(fields, set())
    config = load(folder)
    own = not config.tls.cert and (folder / own_ca.FOLDER / "ca.pem").exists()
    return {"renewed": own and own_ca.renew_if_due(folder, config.server.name, _now())}


def _light_waiting(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    from relay.box.board import status_light
    from relay.box.light import Shown

    _expect(fields, set())
    light = status_light(folder)
    light.show(Shown.WAITING)
    return {"light": light.name}


def _format(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Say whether this release can read the state folder: whoever wants to go back to it asks it first."""
    from relay.cli.doctor import folder_format
    from relay.store.tables import STATE_FORMAT

    _expect(fields, set())
    found = folder_format(folder)
    return {"found": found, "known": STATE_FORMAT, "readable": found <= STATE_FORMAT}


_LOCAL: dict[str, Callable[[Path, dict[str, Any]], dict[str, Any]]] = {
    "show": _show,
    "set": _set,
    "commit": _about_settings("commit"),
    "rollback": _about_settings("go_back"),
    "settle": _about_settings("settle"),
    "provision": _provision,
    "usual": _usual,
    "factory_reset": _factory_reset,
    "button_reset": _button_reset,
    "reset_wait": _reset_wait,
    "time_set": _time_set,
    "renew_certificate": _renew_certificate,
    "repair": _repair,
    "restart_safe": _restart_safe,
    "light_waiting": _light_waiting,
    "format": _format,
}


def _about_the_network(verb: str) -> Callable[[Path, dict[str, Any]], dict[str, Any]]:
    # D-Bus is a library that most requests do without.
    def carry_out(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
        from relay.cli import network

        result: dict[str, Any] = getattr(network, verb)(folder, fields)
        return result

    return carry_out


def _owner_check(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    from relay.cli.owner import owner_check

    return owner_check(folder, fields)


_LOCAL["owner_check"] = _owner_check


def _release_back(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    from relay.cli.release import release_back

    return release_back(folder, fields)


_LOCAL["release_back"] = _release_back


def _about_the_certificate(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    # Its libraries are large.
    from relay.cli.certificate import certificate_tend

    _expect(fields, {"at_start"})
    return certificate_tend(folder, fields)


def _about_the_name(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    from relay.cli.name_update import name_update

    _expect(fields, {"ipv4", "ipv6"})
    return name_update(folder, fields)


def _diagnostics(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Return a text about the box that may be sent to anybody; it needs no lock because of that."""
    from relay.cli.diagnostics import diagnose, look_around

    _expect(fields, {"transcript"})
    transcript = fields.get("transcript", [])
    if not isinstance(transcript, list) or not all(isinstance(line, str) for line in transcript):
        raise InvalidInputError("the transcript is a list of texts")
    around, folder = look_around(), folder.absolute()
    # The journal is shown to root, whose files in the state folder the service could not open.
    act_as_owner(folder)
    return {"text": diagnose(folder, partial(operate, folder), around, transcript)}


_LOCAL["diagnostics"] = _diagnostics
_LOCAL.update({"certificate_tend": _about_the_certificate, "name_update": _about_the_name})
_NETWORK_VERBS = ("about", "network", "wifi_scan", "wifi_join", "wifi_forget", "hostname_set", "device_name_set")
_LOCAL.update({verb: _about_the_network(verb) for verb in _NETWORK_VERBS})
# These concern no file of the state folder, and root may do what its owner may not.
_ABOUT_THE_MACHINE = {"time_set", "diagnostics", "release_back", *_NETWORK_VERBS}


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _expect(fields: dict[str, Any], names: set[str]) -> None:
    if unknown := sorted(fields.keys() - names):
        raise InvalidInputError(f"there is no {', '.join(unknown)[:100]} in this request")


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise InvalidInputError("settings are texts by name")
    return value
