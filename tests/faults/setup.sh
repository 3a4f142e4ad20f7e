#!/bin/sh
# setup.sh FOLDER: bring strace into FOLDER/bin, for `make test-faults`.
#
# Guarantees: no root, nothing outside FOLDER is written, no package is installed on the machine. A machine that has
# strace uses its own; else it is unpacked from the machine's own Debian archive, with package lists of its own.
set -eu

mkdir -p "$1"
folder=$(cd "$1" && pwd)
tree=$folder/debian

main() {
    rm -rf "${folder:?}/bin" "$tree" "$folder/apt"
    mkdir -p "$folder/bin"
    command -v strace >/dev/null || unpack
}

unpack() {
    command -v apt-get >/dev/null || {
        echo "strace is missing, and this is no Debian from which it could be fetched" >&2
        exit 1
    }
    mkdir -p "$tree" "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial" "$folder/apt/debs"
    # One third party's archive that is down is no reason to stop: what is really missing shows below.
    archive apt-get -q update >"$folder/apt/update.log" 2>&1 || cat "$folder/apt/update.log" >&2
    wanted=$(packages)
    # shellcheck disable=SC2086 # a list of names
    (cd "$folder/apt/debs" && archive apt-get -q download $wanted >../download.log)
    for package in "$folder"/apt/debs/*.deb; do
        dpkg-deb --extract "$package" "$tree"
    done
    rm -rf "$folder/apt"
    starter
}

# The machine's archives and its record of what is installed, with lists and files in our own folder.
archive() {
    apt_get=$1
    shift
    "$apt_get" -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" -o Dir::State::Lists="$folder/apt/lists" \
        -o Dir::Cache="$folder/apt/cache" "$@"
}

# strace and what its installation would add; the C library has to stay the machine's.
packages() {
    echo strace
    archive apt-get -q --simulate --no-install-recommends install strace |
        sed -n 's/^Inst \([^ ]*\).*/\1/p' | grep -Ev '^(strace|libc6|libc-bin)(:|$)' || true
}

# The unpacked strace, with the libraries that were unpacked with it.
starter() {
    libraries=$(find "$tree" -type d -path '*/lib/*-linux-gnu' | tr '\n' ':' | sed 's/:$//')
    cat >"$folder/bin/strace" <<EOF
#!/bin/sh
export LD_LIBRARY_PATH="$libraries"
exec "$tree/usr/bin/strace" "\$@"
EOF
    chmod +x "$folder/bin/strace"
}

main
