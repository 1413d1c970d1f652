#!/bin/sh
# gadget.sh up|down: the board's USB data port becomes a serial line (ACM, the console) and a network link (NCM).
# Source: Documentation/usb/gadget_configfs.rst of the kernel. Composite, so both can be had over one cable.
set -eu

config=${CONFIGFS:-/sys/kernel/config}/usb_gadget
controllers=${UDC_CLASS:-/sys/class/udc}
gadget=$config/doorstep

serial_number() {
    for file in /proc/device-tree/serial-number /etc/machine-id; do
        if [ -s "$file" ]; then
            # Not the number itself: it would tell any computer at the other end of the cable which board this is.
            tr -d '\0\n' <"$file" | sha256sum | cut -c1-12
            return
        fi
    done
    echo 000000000000
}

put() { printf '%s\n' "$2" >"$1"; }

up() {
    [ -d "$config" ] || modprobe libcomposite
    controller=$(ls "$controllers" | head -n 1)
    [ -n "$controller" ] || {
        echo "gadget: this board has no USB device controller" >&2
        exit 1
    }
    # A second start repairs what the first one left half done.
    [ ! -d "$gadget" ] || down
    number=$(serial_number)
    mkdir -p "$gadget/strings/0x409" "$gadget/configs/c.1/strings/0x409"
    put "$gadget/idVendor" 0x1d6b  # Linux Foundation
    put "$gadget/idProduct" 0x0104 # multifunction composite gadget
    put "$gadget/bcdDevice" 0x0100
    put "$gadget/bDeviceClass" 0xef
    put "$gadget/bDeviceSubClass" 0x02
    put "$gadget/bDeviceProtocol" 0x01
    put "$gadget/strings/0x409/manufacturer" Doorstep
    put "$gadget/strings/0x409/product" "Doorstep console"
    put "$gadget/strings/0x409/serialnumber" "$number"
    put "$gadget/configs/c.1/strings/0x409/configuration" "console and network"
    put "$gadget/configs/c.1/MaxPower" 250
    mkdir -p "$gadget/functions/acm.GS0" "$gadget/functions/ncm.usb0"
    ln -s "$gadget/functions/acm.GS0" "$gadget/configs/c.1/"
    # Locally administered addresses, the same at every start: the other end keeps its settings.
    tail=$(printf '%s' "$number" | sed 's/^\(..\)\(..\)\(..\)\(..\).*/\1:\2:\3:\4/')
    put "$gadget/functions/ncm.usb0/host_addr" "02:d0:$tail"
    put "$gadget/functions/ncm.usb0/dev_addr" "06:d0:$tail"
    ln -s "$gadget/functions/ncm.usb0" "$gadget/configs/c.1/"
    put "$gadget/UDC" "$controller"
}

down() {
    [ -d "$gadget" ] || return 0
    printf '\n' >"$gadget/UDC" 2>/dev/null || :
    for link in "$gadget"/configs/c.1/acm.GS0 "$gadget"/configs/c.1/ncm.usb0; do
        [ ! -L "$link" ] || rm "$link"
    done
    for folder in configs/c.1/strings/0x409 configs/c.1 functions/acm.GS0 functions/ncm.usb0 strings/0x409 ''; do
        [ ! -d "$gadget/$folder" ] || rmdir "$gadget/$folder"
    done
}

case "${1:-}" in
up) up ;;
down) down ;;
*)
    echo "usage: gadget.sh up|down" >&2
    exit 2
    ;;
esac
