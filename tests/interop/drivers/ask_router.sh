#!/bin/sh
# In a network namespace of its own: the daemon of real routers between two made-up networks, and whoever asks it.
# usage: ask_router.sh MINIUPNPD LIBRARIES FOLDER COMMAND...
set -e
daemon=$1 libraries=$2 folder=$3
shift 3
ip link set lo up
for name in wan lan; do
    ip link add $name type veth peer name ${name}far
    ip link set $name up
    ip link set ${name}far up
done
ip addr add 9.9.9.9/24 dev wan
ip addr add 10.7.0.1/24 dev lan
ip route add default via 9.9.9.1
cat >"$folder/miniupnpd.conf" <<EOF
ext_ifname=wan
listening_ip=lan
enable_natpmp=yes
enable_upnp=no
uuid=11111111-2222-3333-4444-555555555555
allow 1-65535 0.0.0.0/0 1-65535
EOF
cat >"$folder/tables" <<EOF
table inet filter {
    chain forward { type filter hook forward priority 0; policy accept; jump miniupnpd; }
    chain miniupnpd { }
    chain prerouting { type nat hook prerouting priority -100; policy accept; jump prerouting_miniupnpd; }
    chain prerouting_miniupnpd { }
    chain postrouting { type nat hook postrouting priority 100; policy accept; jump postrouting_miniupnpd; }
    chain postrouting_miniupnpd { }
}
EOF
nft=$(dirname "$daemon")/nft
[ -x "$nft" ] || nft=nft
LD_LIBRARY_PATH=$libraries "$nft" -f "$folder/tables"
LD_LIBRARY_PATH=$libraries "$daemon" -d -f "$folder/miniupnpd.conf" -P "$folder/miniupnpd.pid" 2>"$folder/log" &
pid=$!
trap 'kill $pid' EXIT
"$@"
