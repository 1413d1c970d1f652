#!/bin/sh
# In a network and mount namespace of its own: two Ethernet interfaces with a cable each, a machine at the other end of
# the first one, and a system bus. Prints "ready" and stays.
# usage: unshare --net --mount own_network.sh DBUS_DAEMON LIBRARIES FOLDER INTERFACES_SET_UP_BY_HAND_ONLY
set -e
daemon=$1 libraries=$2 folder=$3 by_hand=$4
mount --make-rprivate /
for place in /run /var/lib; do
    mount -t tmpfs tmpfs $place
done
mkdir /run/NetworkManager /var/lib/NetworkManager
# Where it is writable, the service waits for udev to name each interface.
mount -t sysfs -o ro sysfs /sys
ip link set lo up
for number in 0 1; do
    ip link add eth$number type veth peer name far$number
done
ip link set far0 up
ip addr add 192.0.2.1/24 dev far0
cat >"$folder/bus.conf" <<EOF
<busconfig>
  <type>system</type>
  <listen>unix:path=$folder/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*"/>
    <allow send_type="method_call"/><allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/><allow receive_type="signal"/>
    <allow receive_type="method_return"/><allow receive_type="error"/>
  </policy>
</busconfig>
EOF
mkdir "$folder/profiles"
cat >"$folder/service.conf" <<EOF
[main]
plugins=keyfile
auth-polkit=false
dns=none
rc-manager=unmanaged
no-auto-default=$by_hand
systemd-resolved=false
[connectivity]
enabled=false
[keyfile]
path=$folder/profiles
unmanaged-devices=interface-name:far*;type:loopback
[logging]
level=INFO
EOF
exec env LD_LIBRARY_PATH="$libraries" "$daemon" --config-file="$folder/bus.conf" --nopidfile --nofork --print-address 2>/dev/null
