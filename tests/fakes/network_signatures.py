"""What the fake network service offers: members and their D-Bus types, compared with a real NetworkManager's own words.

`tests/interop/test_real_network.py` does that by introspection; nothing answers here that is not in these tables.
"""

_NM = "org.freedesktop.NetworkManager"
_SETTINGS, _PROFILE = f"{_NM}.Settings", f"{_NM}.Settings.Connection"
_DEVICE, _WIRELESS, _POINT = f"{_NM}.Device", f"{_NM}.Device.Wireless", f"{_NM}.AccessPoint"
_ACTIVE, _IP4, _IP6 = f"{_NM}.Connection.Active", f"{_NM}.IP4Config", f"{_NM}.IP6Config"
_HOST, _TIME = "org.freedesktop.hostname1", "org.freedesktop.timedate1"

METHODS = {
    (_NM, "GetDevices"): ("", "ao"),
    (_NM, "ActivateConnection"): ("ooo", "o"),
    (_NM, "AddAndActivateConnection2"): ("a{sa{sv}}ooa{sv}", "ooa{sv}"),
    (_NM, "CheckpointCreate"): ("aouu", "o"),
    (_NM, "CheckpointDestroy"): ("o", ""),
    (_NM, "CheckpointRollback"): ("o", "a{su}"),
    (_NM, "CheckpointAdjustRollbackTimeout"): ("ou", ""),
    (_SETTINGS, "ListConnections"): ("", "ao"),
    (_SETTINGS, "GetConnectionByUuid"): ("s", "o"),
    (_SETTINGS, "AddConnection2"): ("a{sa{sv}}ua{sv}", "oa{sv}"),
    (_SETTINGS, "SaveHostname"): ("s", ""),
    (_PROFILE, "GetSettings"): ("", "a{sa{sv}}"),
    (_PROFILE, "Update2"): ("a{sa{sv}}ua{sv}", "a{sv}"),
    (_PROFILE, "Save"): ("", ""),
    (_PROFILE, "Delete"): ("", ""),
    (_WIRELESS, "RequestScan"): ("a{sv}", ""),
    (_WIRELESS, "GetAllAccessPoints"): ("", "ao"),
    (_HOST, "SetPrettyHostname"): ("sb", ""),
    (_TIME, "SetNTP"): ("bb", ""),
    (_TIME, "SetTime"): ("xbb", ""),
}
PROPERTIES = {
    (_NM, "State"): "u",
    (_SETTINGS, "Hostname"): "s",
    (_DEVICE, "Interface"): "s",
    (_DEVICE, "DeviceType"): "u",
    (_DEVICE, "State"): "u",
    (_DEVICE, "Managed"): "b",
    (_DEVICE, "ActiveConnection"): "o",
    (_DEVICE, "Ip4Config"): "o",
    (_DEVICE, "Ip6Config"): "o",
    (_DEVICE, "AvailableConnections"): "ao",
    (_WIRELESS, "LastScan"): "x",
    (_ACTIVE, "State"): "u",
    (_ACTIVE, "Connection"): "o",
    (_IP4, "AddressData"): "aa{sv}",
    (_IP4, "Gateway"): "s",
    (_IP4, "NameserverData"): "aa{sv}",
    (_IP6, "AddressData"): "aa{sv}",
    (_IP6, "Gateway"): "s",
    (_IP6, "Nameservers"): "aay",
    (_POINT, "Ssid"): "ay",
    (_POINT, "Strength"): "y",
    (_POINT, "Flags"): "u",
    (_POINT, "WpaFlags"): "u",
    (_POINT, "RsnFlags"): "u",
    (_HOST, "PrettyHostname"): "s",
    (_TIME, "NTP"): "b",
}
WIRELESS_INTERFACES = (_WIRELESS, _POINT)
"""Those that only a machine with a radio shows."""
