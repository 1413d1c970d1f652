#!/bin/sh
# backup.sh STATE FOLDER KEYFILE: the nightly backup. A whole one on the first of the month and where there is none,
# what changed since the last one otherwise. Nothing is removed here: what may go is the owner's to say.
set -eu

state=$1 folder=$2 key=$3
relay=${RELAY:-/usr/bin/relay}
month=$(date -u +%Y-%m)
part=$folder/.part
rm -f "$part"
if [ -e "$folder/$month-whole.doorstep" ]; then
    name=$month-$(date -u +%dT%H%M%SZ).doorstep
    "$relay" backup create --state "$state" --key-file "$key" --since-last --to "$part"
else
    name=$month-whole.doorstep
    "$relay" backup create --state "$state" --key-file "$key" --to "$part"
fi
# Under its name only when it is whole and on the disk.
sync "$part"
mv "$part" "$folder/$name"
sync "$folder"
