#!/bin/sh
# Two slots, a and b, each a whole release; `current` names the one that runs. A release on trial goes back by itself
# unless it is found healthy ten minutes after it began.
#
#   slots.sh install   copy the package into the slot that does not run, switch to it, put it on trial
#   slots.sh judge     end a trial: keep what is healthy, go back from what is not
#   slots.sh back      go back to the other slot now
#   slots.sh failed    count an end of the service other than well; relay up is in safe mode after three in a row
#   slots.sh show      say what runs and what would be gone back to
set -eu

home=${DOORSTEP_HOME:-/usr/lib/doorstep}
state=${DOORSTEP_STATE:-/var/lib/doorstep}
health_wait_s=${DOORSTEP_HEALTH_WAIT_S:-60}

running() { basename "$(readlink "$home/current" 2>/dev/null || echo none)"; }
other() { [ "$(running)" = a ] && echo b || echo a; }
version_of() { cat "$home/$1/version" 2>/dev/null || echo nothing; }

# The link is replaced in one step: at any moment there is a whole release behind it, also after a power cut.
switch_to() {
    ln -sfn "$1" "$home/current.new"
    mv -T "$home/current.new" "$home/current"
    sync "$home"
    # Another release fails or works for itself.
    rm -f "$state/failed-starts"
}

restart() {
    systemctl daemon-reload
    # What has given up is started, too; what somebody has stopped stays so.
    if systemctl is-failed --quiet relay.service; then
        systemctl reset-failed relay.service
        systemctl start relay.service
    fi
    systemctl try-restart relay.service 'relay-console@*.service'
}

install_package() {
    # During a trial the release on trial makes room, never the good one.
    if [ -e "$home/trial" ]; then
        switch_to "$(cat "$home/trial")"
    fi
    before=$(running)
    slot=$(other)
    rm -rf "$home/$slot.new" "$home/$slot"
    # Hard links: a second release costs only what differs. dpkg replaces files, it does not write into them.
    cp -al "$home/package" "$home/$slot.new"
    "$(cat "$home/$slot.new/python")" -m compileall -q "$home/$slot.new" || :
    sync "$home/$slot.new"
    mv -T "$home/$slot.new" "$home/$slot"
    # What a trial goes back to is written down before it begins: a power cut between the two ends in a judged trial.
    [ "$before" = none ] || echo "$before" >"$home/trial"
    switch_to "$slot"
}

healthy() {
    # A box that nobody has set up is healthy when its program runs at all.
    [ -e "$state/relay.toml" ] || {
        "$home/current/bin/relay" board >/dev/null
        return
    }
    systemctl is-active --quiet relay.service &&
        "$home/current/bin/relay" status --state "$state" --wait "$health_wait_s" >/dev/null
}

# Asked of the release that would run: what a newer one has upgraded it refuses, and would start in vain for ever.
reads_state() {
    ! echo '{"verb":"format"}' | "$home/$1/bin/relay" ask --state "$state" 2>/dev/null | grep -q '"readable":false'
}

stay() {
    rm -f "$home/trial"
    echo "release $(version_of "$(running)") stays: the other one cannot read what it has upgraded;" \
        "relay doctor says what is wrong, and a backup from before restores into the other one" >&2
    exit 1
}

judge() {
    [ -e "$home/trial" ] || exit 0
    # Nothing is learnt from a box that waits for a stick or a passphrase: it gets ten more minutes.
    if [ -e "$state/relay.toml" ] && "$home/current/bin/relay" status --state "$state" --json 2>/dev/null | grep -q '"waits"'; then
        echo "release $(version_of "$(running)") waits for its key: the trial goes on"
        systemctl restart --no-block relay-health.timer || :
        return
    fi
    if healthy; then
        rm -f "$home/trial"
        echo "release $(version_of "$(running)") is healthy and stays"
    else
        back
    fi
}

back() {
    slot=$(cat "$home/trial" 2>/dev/null || other)
    [ -x "$home/$slot/bin/relay" ] || {
        echo "there is no other release to go back to" >&2
        exit 1
    }
    reads_state "$slot" || stay
    echo "going back from $(version_of "$(running)") to $(version_of "$slot")"
    switch_to "$slot"
    rm -f "$home/trial"
    restart
}

failed() {
    [ "${SERVICE_RESULT:-success}" != success ] || exit 0
    # Bounded, also where safe mode itself should fail.
    count=$(grep -c . "$state/failed-starts" 2>/dev/null) || count=0
    [ "$count" -lt 9 ] || exit 0
    echo "$SERVICE_RESULT ${EXIT_CODE:-} ${EXIT_STATUS:-}" >>"$state/failed-starts"
}

case "${1:-}" in
install) install_package ;;
judge) judge ;;
back) back ;;
failed) failed ;;
show)
    echo "runs: $(running) $(version_of "$(running)")"
    echo "other: $(other) $(version_of "$(other)")"
    [ ! -e "$home/trial" ] || echo "on trial"
    ;;
*)
    echo "usage: slots.sh install|judge|back|failed|show" >&2
    exit 2
    ;;
esac
