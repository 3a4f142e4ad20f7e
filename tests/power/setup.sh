#!/bin/sh
# setup.sh FOLDER PYTHON: make the machine whose power `make test-power` cuts, in FOLDER.
#
# Needs qemu-system-x86_64, mmdebstrap and mkfs.ext4 (on Debian: apt-get install qemu-system-x86 mmdebstrap e2fsprogs)
# and the machine's Debian archive; root, or what mmdebstrap(1) asks for instead of it. Installs nothing on this machine.
# Leaves FOLDER/vmlinuz, FOLDER/initrd and FOLDER/base.img: Debian's own kernel, and a small Debian with the relay's
# dependencies, as locked, in /opt/site. The relay itself comes in anew with each campaign.
set -eu

mkdir -p "$1"
here=$(cd "$(dirname "$0")" && pwd)
folder=$(cd "$1" && pwd)
python=$2
PATH=$PATH:/usr/sbin:/sbin
suite=bookworm
python_version=3.11

main() {
    needed qemu-system-x86_64 mmdebstrap mkfs.ext4
    rm -rf "$folder/site" "$folder/tree" "$folder/base.tar"
    dependencies
    (cd "$folder" && bootstrap)
    image
    rm -rf "$folder/site" "$folder/tree" "$folder/base.tar"
}

needed() {
    for tool in "$@"; do
        command -v "$tool" >/dev/null || {
            echo "$tool is missing. On Debian: apt-get install qemu-system-x86 mmdebstrap e2fsprogs" >&2
            exit 1
        }
    done
}

# For the guest's Python, whichever this one is; checked by their hashes.
dependencies() {
    "$python" -m pip install --quiet --no-deps --require-hashes -r "$here/../../requirements.lock" \
        --target "$folder/site" --only-binary :all: --implementation cp --python-version "$python_version" \
        --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux_2_28_x86_64
}

# Compiled now, since emulated it takes long.
# shellcheck disable=SC2016 # $1 is the hooks' own
bootstrap() {
    mmdebstrap --quiet --variant=minbase \
        --include=python3,kmod,iproute2,zstd,initramfs-tools,linux-image-cloud-amd64 \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook='copy-in site /opt' \
        --customize-hook='chroot "$1" python3 -m compileall -qq /usr/lib/python3.11 /opt/site || true' \
        --customize-hook="upload '$here/guest/campaign' /sbin/campaign" \
        --customize-hook='chmod 755 "$1/sbin/campaign"' \
        --customize-hook='cat "$1"/boot/vmlinuz-* >vmlinuz; cat "$1"/boot/initrd.img-* >initrd' \
        "$suite" base.tar
}

# Who owns what in there does not matter: in the guest everybody is root.
image() {
    mkdir "$folder/tree"
    tar --extract --no-same-owner --exclude './dev/*' --file "$folder/base.tar" --directory "$folder/tree"
    truncate --size 1G "$folder/base.img"
    mkfs.ext4 -q -F -m 0 -O ^has_journal -E root_owner=0:0 -d "$folder/tree" "$folder/base.img"
}

main
