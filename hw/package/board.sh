#!/bin/sh
# board.sh [--if-changed]: what the board's profile says is settled here: memory, watchdog, consoles. The package does it
# when it is installed, and a start (--if-changed) on another board than last time: a card moves, and an image is built
# elsewhere.
set -eu

home=${DOORSTEP_HOME:-/usr/lib/doorstep}
state=${DOORSTEP_STATE:-/var/lib/doorstep}
etc=${DOORSTEP_ETC:-/etc}
relay=$home/current/bin/relay
units=$etc/systemd/system
known=$etc/doorstep/board

identity() {
    {
        uname -m
        cat /proc/device-tree/compatible /sys/class/dmi/id/product_name "$state/profile.toml" 2>/dev/null || :
    } | sha256sum | cut -d' ' -f1
}

running() { [ -d /run/systemd/system ]; }

# drop_in FILE OPTION: what `relay board OPTION` prints; nothing printed, no file.
drop_in() {
    mkdir -p "${1%/*}"
    if ! "$relay" board --state "$state" "$2" >"$1.new"; then
        # A release that does not run says nothing; what the one before it said still counts.
        rm -f "$1.new"
        silent=yes
    elif cmp -s "$1.new" "$1"; then
        rm "$1.new"
    elif [ -s "$1.new" ]; then
        mv "$1.new" "$1"
        changed=yes
    else
        [ ! -e "$1" ] || changed=yes
        rm -f "$1.new" "$1"
    fi
}

ports() {
    "$relay" board --state "$state" --json |
        "$(cat "$home/current/python")" -c \
            'import json, sys; print(*(port["dev"].removeprefix("/dev/") for port in json.load(sys.stdin)["console"]))'
}

consoles() {
    wanted=$(ports) || {
        silent=yes
        return 0
    }
    for link in "$units"/dev-*.device.wants/relay-console@*.service; do
        [ -L "$link" ] || continue
        port=${link##*/relay-console@} port=${port%.service}
        case " $wanted " in
        *" $port "*) ;;
        *)
            systemctl disable --quiet "relay-console@$port.service" || :
            systemctl unmask --quiet "serial-getty@$port.service" || :
            ! running || systemctl stop --no-block "relay-console@$port.service" || :
            ;;
        esac
    done
    for port in $wanted; do
        # One program a line: a login prompt there would eat every second key.
        systemctl mask --quiet "serial-getty@$port.service" || :
        systemctl enable --quiet "relay-console@$port.service" || :
        if running && [ -e "/dev/$port" ]; then
            systemctl stop --no-block "serial-getty@$port.service" || :
            systemctl start --no-block "relay-console@$port.service" || :
        fi
    done
}

silent='' changed=''
now=$(identity)
if [ "${1:-}" = --if-changed ] && [ "$(cat "$known" 2>/dev/null)" = "$now" ]; then
    exit 0
fi
drop_in "$units/relay.service.d/50-board.conf" --systemd
# A console that sets a box up reaches the device that can hold its key, where the board has one.
drop_in "$units/relay-console@.service.d/50-board.conf" --console
drop_in "$etc/systemd/system.conf.d/60-doorstep.conf" --watchdog
# systemd takes its own settings up at once, too.
! running || systemctl daemon-reexec || :
systemctl daemon-reload || :
consoles
# A relay starts anew in its place: only a restart of its unit lets it reach a device that was none of its unit's before.
# At a start of the board the relay comes after this, and a console stays: somebody may be setting the box up there.
[ -z "$changed" ] || [ "${1:-}" = --if-changed ] ||
    systemctl try-restart --no-block relay.service 'relay-console@*.service' || :
# What was not said is asked for at the next start. What was is on flash before the board counts as known.
if [ -z "$silent" ]; then
    sync
    echo "$now" >"$known"
fi
