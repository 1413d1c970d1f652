#!/bin/sh
# The root file system takes the whole card. May be done twice, and says what was in the way when it could not be done.
set -eu

device=$(findmnt --noheadings --output SOURCE /)
name=$(basename "$(readlink -f "$device")")
number=$(cat "/sys/class/block/$name/partition")
disk=$(basename "$(readlink -f "/sys/class/block/$name/..")")
# A disk larger than its table says gets its second copy moved by this too.
echo ", +" | sfdisk --quiet --no-reread --force --partno "$number" "/dev/$disk"
partx --update --nr "$number" "/dev/$disk"
resize2fs "$device"
