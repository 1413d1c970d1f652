#!/bin/sh
# The first start of a card: make what must be this box's own, do what doorstep.toml asks for. It has grown before.
# Every step may be done twice; the mark goes last, so that a power cut only means another first start.
set -u

mark=/etc/doorstep/first-boot

[ ! -x /usr/sbin/sshd ] || ssh-keygen -A
for folder in /boot/firmware /boot/efi; do
    [ ! -e "$folder/doorstep.toml" ] || python3 /usr/lib/doorstep-image/zero_touch.py "$folder/doorstep.toml"
done
rm -f "$mark"
# The relay comes after this and this after the boot partition: each later start would wait minutes for one that is gone.
systemctl disable --quiet --no-reload doorstep-grow.service doorstep-first-boot.service || :
sync
