#!/bin/sh
# Installs what building spanaudit needs beyond cargo: a C compiler and linker (for zstd and xz) and libpcap (for live capture).
# Says what it does, does nothing where nothing is missing.
set -eu

say() { printf 'setup: %s\n' "$*"; }

command -v cargo >/dev/null 2>&1 || {
    say "cargo is missing. Install Rust first: https://rustup.rs" >&2
    exit 1
}

missing=""
command -v cc >/dev/null 2>&1 || missing="$missing compiler"
# The linker is asked, not the file system: that is what the build will do.
if [ -z "$missing" ]; then
    printf 'int main(void){return 0;}' >"${TMPDIR:-/tmp}/spanaudit-setup-$$.c"
    cc -o "${TMPDIR:-/tmp}/spanaudit-setup-$$" "${TMPDIR:-/tmp}/spanaudit-setup-$$.c" -lpcap >/dev/null 2>&1 || missing="$missing libpcap"
    rm -f "${TMPDIR:-/tmp}/spanaudit-setup-$$" "${TMPDIR:-/tmp}/spanaudit-setup-$$.c"
else
    missing="$missing libpcap"
fi
[ -n "$missing" ] || exit 0

root=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || {
        say "missing:$missing. Run as root, or install sudo." >&2
        exit 1
    }
    root=sudo
fi

if command -v apt-get >/dev/null 2>&1; then
    say "missing:$missing. Installing gcc, libc6-dev and libpcap-dev with apt-get."
    $root apt-get update -qq
    # Without a terminal apt would complain about one, and debconf about apt-utils.
    $root env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends gcc libc6-dev libpcap-dev >/dev/null
elif command -v dnf >/dev/null 2>&1; then
    say "missing:$missing. Installing gcc and libpcap-devel with dnf."
    $root dnf install -y -q gcc libpcap-devel
elif command -v zypper >/dev/null 2>&1; then
    say "missing:$missing. Installing gcc and libpcap-devel with zypper."
    $root zypper --non-interactive --quiet install gcc libpcap-devel
elif command -v pacman >/dev/null 2>&1; then
    say "missing:$missing. Installing gcc and libpcap with pacman."
    $root pacman -S --needed --noconfirm gcc libpcap
elif command -v apk >/dev/null 2>&1; then
    say "missing:$missing. Installing gcc, musl-dev and libpcap-dev with apk."
    $root apk add --quiet gcc musl-dev libpcap-dev
else
    say "missing:$missing, and this system's package manager is not known." >&2
    say "Install a C compiler and libpcap with its link library (libpcap-dev on Debian, libpcap-devel on Fedora), then run make again." >&2
    exit 1
fi
say "done."
