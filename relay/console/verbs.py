"""What a program may say on the cable: every verb with its fields, one table for refusing, for `schema` and for people.

`hw/CONSOLE.md` shows the same table; a test keeps the two the same.
"""

import dataclasses
import enum
from typing import Any

from relay.base.errors import InvalidInputError


class Kind(enum.Enum):
    """What a verb does to the box, and with it what a repeated `seq` does."""

    READS = "reads"
    PLANS = "plans"
    CHANGES = "changes"


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One field of a request. `secret`: never to be shown or kept; `needed`: a request without it is refused."""

    name: str
    form: str
    secret: bool = False
    needed: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Verb:
    """One verb: what it does, in a few words, and its fields."""

    name: str
    kind: Kind
    summary: str
    fields: tuple[Field, ...] = ()


_NAME = Field("name", "text")
_PASSWORD = Field("password", "text", secret=True)
_SETTINGS = Field("settings", "texts by name; `password` is secret")
_CONFIRM = Field("confirm_s", "number", needed=False)
_UTC = Field("utc", "2026-11-23T12:00:00Z", needed=False)
_PHRASES = tuple(Field(name, "text", secret=True, needed=False) for name in ("passphrase", "passphrase_now"))
_OFFSET = Field("offset", "number; a new text is made where it is 0 or absent", needed=False)
_R, _P, _C = Kind.READS, Kind.PLANS, Kind.CHANGES

VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "hello", _R, "which console this is, whether the box is set up and locked; brings a clock the time", (_UTC,)
        ),
        Verb("schema", _R, "this table, and what `set` takes on a new box"),
        Verb("happened", _R, "what became of a changing request", (Field("of", "its seq"),)),
        Verb("transcript", _R, "what was typed and answered since the cable came, without secrets"),
        Verb("unlock", _R, "allow changes", (Field("secret", "the owner's password", secret=True),)),
        Verb("lock", _R, "allow no more changes"),
        Verb("status", _R, "what runs and what is queued"),
        Verb("doctor", _R, "what is wrong and what to do next"),
        Verb("diagnostics", _R, "a redacted text about the box for whoever helps, in pieces", (_OFFSET,)),
        Verb("show", _R, "the settings in force"),
        Verb("plan", _R, "what is planned, what it changes, what is missing"),
        Verb("user_list", _R, "who lives here"),
        Verb("about", _R, "release, board, names"),
        Verb("network", _R, "how the box is connected, interface by interface"),
        Verb("wifi_scan", _R, "networks in reach"),
        # It changes nothing that lasts, and nothing that is derived from it is remembered.
        Verb("passphrase", _R, "open a locked box", (Field("passphrase", "text", secret=True),)),
        Verb("set", _P, "plan settings", (_SETTINGS,)),
        Verb("drop", _P, "take planned settings back", (_SETTINGS,)),
        Verb("apply", _C, "do what is planned; on trial for `confirm_s`", (_CONFIRM, *_PHRASES)),
        Verb("commit", _C, "keep what is on trial"),
        Verb("rollback", _C, "back to the settings before the last change"),
        Verb("user_add", _C, "make an account", (_NAME, _PASSWORD, Field("admin", "true or false", needed=False))),
        Verb("user_passwd", _C, "a new password", (_NAME, _PASSWORD)),
        Verb("user_deactivate", _C, "close an account for good", (_NAME,)),
        Verb("invite_create", _C, "an invitation for one person"),
        Verb("wifi_join", _C, "join a network", (Field("ssid", "text"), _PASSWORD, _CONFIRM)),
        Verb("wifi_forget", _C, "forget a network and its password", (Field("ssid", "text"),)),
        Verb("hostname_set", _C, "the host name", (Field("hostname", "text"),)),
        Verb("device_name_set", _C, "the name for people", (_NAME,)),
        Verb("time_set", _C, "the clock", (Field("utc", "2026-11-23T12:00:00Z"),)),
        Verb("restart", _C, "stop cleanly and start again"),
        Verb("restart_safe", _C, "the same in safe mode: nobody is served until the next `restart`"),
        Verb("release_back", _C, "the release before this one comes back; the console starts anew with it"),
        Verb("repair", _C, "set damaged blocks of a box that does not run or is in safe mode aside"),
        Verb("factory_reset", _C, "forget everything", (Field("confirm", "the server name", needed=False),)),
    )
}


def find_verb(fields: dict[str, Any]) -> Verb:
    """Return the verb of a request whose fields are all known and complete.

    Raises:
        InvalidInputError: the verb or a field is unknown, or one is missing: a damaged line is not half understood.
    """
    name = fields.get("verb")
    verb = VERBS.get(name) if isinstance(name, str) else None
    if verb is None:
        raise InvalidInputError(f"there is no such verb; known are {', '.join(sorted(VERBS))}")
    if unknown := sorted(fields.keys() - {"verb"} - {field.name for field in verb.fields}):
        raise InvalidInputError(f"{verb.name} takes no {', '.join(unknown)[:100]}")
    if missing := [field.name for field in verb.fields if field.needed and field.name not in fields]:
        raise InvalidInputError(f"{verb.name} needs {', '.join(missing)}")
    return verb


def schema() -> dict[str, Any]:
    """Return the table for programs."""
    return {
        verb.name: {"kind": verb.kind.value, "fields": {field.name: _flags(field) for field in verb.fields}}
        for verb in VERBS.values()
    }


def _flags(field: Field) -> dict[str, bool]:
    return {"secret": field.secret, "needed": field.needed}


def _shown(field: Field) -> str:
    notes = [field.form, *["secret"] * field.secret, *["optional"] * (not field.needed)]
    return f"`{field.name}` ({', '.join(notes)})"


def table() -> list[str]:
    """Return the table for people, in Markdown."""
    rows = ["| verb | kind | fields | what it does |", "|---|---|---|---|"]
    for verb in VERBS.values():
        fields = ", ".join(map(_shown, verb.fields))
        rows.append(f"| `{verb.name}` | {verb.kind.value} | {fields} | {verb.summary} |")
    return rows
