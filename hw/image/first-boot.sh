#!/bin/sh
# The first start of a card: grow to its size, make what must be this box's own, do what doorstep.toml asks for.
# Every step may be done twice; the mark goes last, so that a power cut only means another first start.
set -u

mark=/etc/doorstep/first-boot

grow() {
    device=$(findmnt --noheadings --output SOURCE /)
    name=$(basename "$(readlink -f "$device")")
    number=$(cat "/sys/class/block/$name/partition") || return 0
    disk=$(basename "$(readlink -f "/sys/class/block/$name/..")")
    # A disk larger than its table says gets its second copy moved by this too.
    echo ", +" | sfdisk --quiet --no-reread --force --partno "$number" "/dev/$disk"
    partx --update --nr "$number" "/dev/$disk"
    resize2fs "$device"
}

grow || echo "doorstep: the file system stays as it is" >&2
[ ! -x /usr/sbin/sshd ] || ssh-keygen -A
for folder in /boot/firmware /boot/efi; do
    [ ! -e "$folder/doorstep.toml" ] || python3 /usr/lib/doorstep-image/zero_touch.py "$folder/doorstep.toml"
done
rm -f "$mark"
sync
