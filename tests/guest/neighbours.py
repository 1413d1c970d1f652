"""A Wi-Fi network next door: two simulated radios in the guest, one an access point in a namespace of its own."""

from tests.guest.machine import GuestMachine

SSID, PASSWORD = "next door", "correct horse"
ADDRESS = "192.168.77.1"

_ACCESS_POINT = f"""\
interface=wlan1
driver=nl80211
ssid={SSID}
hw_mode=g
channel=6
wpa=2
wpa_key_mgmt=WPA-PSK
rsn_pairwise=CCMP
wpa_passphrase={PASSWORD}
"""
# mac80211_hwsim: Documentation/networking/mac80211_hwsim/mac80211_hwsim.rst of the kernel.
_SCRIPT = f"""\
modprobe mac80211_hwsim radios=2
udevadm settle
ip netns add neighbour
iw phy "$(cat /sys/class/net/wlan1/phy80211/name)" set netns name neighbour
ip -n neighbour addr add {ADDRESS}/24 dev wlan1
ip -n neighbour link set wlan1 up
cat >/run/access-point.conf <<'END'
{_ACCESS_POINT}END
ip netns exec neighbour hostapd -B /run/access-point.conf
ip netns exec neighbour dnsmasq --interface=wlan1 --bind-interfaces --port=0 \
    --dhcp-range=192.168.77.10,192.168.77.50,1h \
    --dhcp-leasefile=/run/access-point.leases --pid-file=/run/access-point.pid
"""


def move_in(machine: GuestMachine) -> None:
    """Give the guest a Wi-Fi radio and a network within its reach."""
    machine.run("set -e\n" + _SCRIPT)
