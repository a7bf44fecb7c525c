#!/bin/sh
# Installs the wakepulse package that lies beside this script, the one for this board, with what it needs of Debian's.
# Run as root on the board. Safe to run again: the same version is left as it is, a newer one keeps the configuration.
set -eu

say() { echo "install: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

[ "$(id -u)" = 0 ] || fail "please run: sudo sh $0"
command -v apt-get >/dev/null || fail "this is no Debian or Raspberry Pi OS; install the wheel with pip instead"
architecture=$(dpkg --print-architecture)
here=$(cd "$(dirname "$0")" && pwd)
# The newest, if several lie there.
package=$(printf '%s\n' "$here"/wakepulse_*_"$architecture".deb | sort -V | tail -n 1)
[ -e "$package" ] || fail "no wakepulse_*_$architecture.deb in $here; copy it there (make deb makes it)"

wanted=$(dpkg-deb --field "$package" Version)
installed=$(dpkg-query --show --showformat '${db:Status-Status} ${Version}' wakepulse 2>/dev/null) || installed=none
if [ "$installed" = "installed $wanted" ]; then
    say "wakepulse $wanted is installed already"
else
    quiet="env DEBIAN_FRONTEND=noninteractive"
    apt_get="$quiet apt-get --yes --no-install-recommends -q -o DPkg::Lock::Timeout=300"
    $apt_get install "$package" >&2 || {
        say "the list of packages may be old; fetching it"
        apt-get update -q >&2
        $apt_get install "$package" >&2
    }
fi
[ -e /etc/wakepulse/satellite.yaml ] || say "now run: sudo wakepulse setup"
