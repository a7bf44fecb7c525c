#!/bin/sh
# Sets up what `make run` (argument: run), `make test` (test) or `make test-pi` (boards) needs, and nothing that is there
# already: Debian packages, the environment .venv, and wakepulse in it. Safe to run twice. PYTHON names the interpreter.
set -eu
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
VENV=.venv
TARGET=${1:-}
case $TARGET in
run) WHAT='.[demo]' ;;
test | boards) WHAT='.[test]' ;;
*)
    echo "usage: deploy/setup.sh run|test|boards" >&2
    exit 64
    ;;
esac

say() { echo "setup: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

wanted() { # the Debian packages of this target, one line
    echo ca-certificates libportaudio2
    # ensurepip is what Debian moves out of python3 into python3-venv; other Pythons have it.
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    if [ "$BITS" = 32 ]; then
        echo python3-numpy python3-yaml python3-cffi
        # Raspberry Pi OS points pip at ready-made wheels for these boards; plain Debian has to build the rest.
        [ -e /etc/rpi-issue ] || echo gcc libc6-dev python3-dev libffi-dev
    fi
    if [ "$TARGET" != run ]; then
        command -v cc >/dev/null || echo gcc libc6-dev
        "$PYTHON" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null ||
            echo python3-dev
        echo mosquitto openssl pulseaudio pulseaudio-utils libasound2-plugins espeak-ng flite graphviz systemd
        echo festival festlex-cmu festlex-poslex festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts wamerican-small
        # The boards' processors, emulated.
        echo gcc-arm-linux-gnueabi libc6-dev-armel-cross gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
        # What packages for them are made with, and checked by.
        echo gcc-arm-linux-gnueabihf libc6-dev-armhf-cross debian-archive-keyring lintian
    fi
    if [ "$TARGET" = boards ]; then
        echo qemu-system-arm qemu-user-static mmdebstrap arch-test busybox-static cpio kmod e2fsprogs xz-utils
    fi
}

missing() { # of the packages named, those that are not installed
    for package in "$@"; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=none
        [ "$status" = installed ] || echo "$package"
    done
}

debian() { # install the packages named, where this user may
    command="apt-get install --yes --no-install-recommends $*"
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    else
        say "not allowed to install packages here; please run: sudo $command"
        return 0
    fi
    say "installing $*"
    # SYSTEMD_OFFLINE: packages such as mosquitto would otherwise start their service on this machine.
    quiet="env DEBIAN_FRONTEND=noninteractive SYSTEMD_OFFLINE=1"
    $as_root $quiet apt-get update -q -o DPkg::Lock::Timeout=120 >&2 || say "apt-get update failed; going on"
    $as_root $quiet $command -q -o DPkg::Lock::Timeout=120 >&2 || say "that failed; please run: $command"
}

environment() { # .venv with this Python, made anew only if it is of another one
    version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if "$VENV/bin/python$version" -m pip --version >/dev/null 2>&1; then
        return 0
    fi
    say "making $VENV with Python $version"
    options=--clear
    [ "$BITS" = 64 ] || options="--clear --system-site-packages"
    "$PYTHON" -m venv $options "$VENV" || {
        rm -rf "$VENV"
        fail "python3 -m venv does not work here; please run: apt-get install python3-venv"
    }
}

command -v "$PYTHON" >/dev/null || fail "$PYTHON is not here; please run: apt-get install python3"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python 3.11 or newer is needed"
case $(uname -m) in
# A 64-bit kernel may carry a 32-bit system, where pip has no wheels either; the interpreter knows.
armv6l | armv7l | armv8l) BITS=32 ;;
*) BITS=$("$PYTHON" -c 'import struct; print(struct.calcsize("P") * 8)') ;;
esac

if command -v dpkg-query >/dev/null; then
    packages=$(missing $(wanted))
    [ -z "$packages" ] || debian $packages
else
    say "not a Debian system; this needs by other means: $(echo $(wanted))"
fi
environment
install() { "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$1"; }

say "installing wakepulse into $VENV (once; takes a while on a small board)"
if [ "$TARGET$BITS" = run32 ]; then
    # The demo's broker needs compiled packages that not every small board can get; a satellite does without it.
    install .
    install "$WHAT" || say "the demo's broker could not be installed; use a broker of your own (mqtt.embedded: false)"
else
    install "$WHAT"
fi
if [ "$TARGET" = test ]; then
    # Whose messages ours are checked against; it would bring an old paho-mqtt along.
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps rhasspy-hermes==0.6.2
    # Whose rules ours are: the last release for Python 3.11, as the file that it comes in, for it unpacks to 38 000; with
    # what its rules need, of its own versions.
    if "$VENV/bin/python" -c 'import sys; sys.exit(sys.version_info >= (3, 13))' && [ ! -d "$VENV/home-assistant" ]; then
        pip() { "$VENV/bin/python" -m pip "$@" --quiet --disable-pip-version-check --no-deps; }
        pip install --no-compile --target "$VENV/home-assistant.new/libraries" --requirement tests/home_assistant.txt
        pip download --dest "$VENV/home-assistant.new" homeassistant==2024.3.3
        mv "$VENV/home-assistant.new" "$VENV/home-assistant"
    fi
fi
