# Sourced by scripts/run and scripts/test: finds what is missing and installs it, and nothing else.
# shellcheck shell=bash

# One line about what is being done, apart from what the tools print.
say() { printf '== %s\n' "$*"; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Packages that are not installed, of those named.
missing_packages() {
    local package
    for package in "$@"; do
        dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
            printf '%s\n' "$package"
    done
}

# Runs a command as root.
as_root() {
    if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi
}

# Installs the named Debian packages that are missing; asks apt for nothing when none is.
need_packages() {
    local missing
    command -v dpkg-query >/dev/null || die "this script installs by apt; elsewhere install yourself: $*"
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]})) || return 0
    [[ $(id -u) == 0 ]] || command -v sudo >/dev/null || die "not root and no sudo; as root: apt-get install ${missing[*]}"
    say "installing ${missing[*]}"
    # The lists may be absent (containers) or old: they are fetched once, and only when something is to be installed.
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3 update ||
        die "apt-get update failed: no network, or a broken source in /etc/apt"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends \
        -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 install "${missing[@]}" ||
        die "apt-get install failed; see above"
}

# A C compiler and linker (TLS, SQLite, Opus and the allocator are C; Opus is built by cmake) and the embedded voices.
need_build_tools() {
    command -v cargo >/dev/null || [[ ! -r ${HOME}/.cargo/env ]] || . "${HOME}/.cargo/env"
    command -v cargo >/dev/null || die "no cargo: install Rust 1.95 or newer first (https://rustup.rs)"
    local rust wanted
    rust=$(rustc --version | awk '{print $2}')
    wanted=1.95
    [[ $(printf '%s\n%s\n' "$wanted" "${rust%%-*}" | sort -V | head -n 1) == "$wanted" ]] ||
        die "rustc $rust is older than $wanted: rustup update"
    local packages=(flite espeak-ng)
    command -v cc >/dev/null || packages+=(build-essential)
    command -v cmake >/dev/null || packages+=(cmake)
    need_packages "${packages[@]}"
}

# Where cargo puts what it builds.
target_dir() { printf '%s' "${CARGO_TARGET_DIR:-$PWD/target}"; }

# Whether a URL is answered with success; without curl, which a fresh machine may lack.
http_ok() {
    local host=$1 port=$2 path=$3 status=
    { exec 3<>"/dev/tcp/$host/$port"; } 2>/dev/null || return 1
    printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$path" "$host" >&3
    IFS=' ' read -r -t 5 _ status _ <&3 || true
    exec 3<&- 3>&-
    [[ $status == 200 ]]
}
