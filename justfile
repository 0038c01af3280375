# `just check` is what CI runs. Everything here is a line that can be typed by hand.

_default:
    @just --list

# Install what is missing, build, start, print how to call.
run *args:
    scripts/run {{args}}

# What CI runs.
check:
    .ci/run

# Format and lints only.
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings

# Fast tests while working: no outside programs, no real-time calls.
quick:
    cargo test --workspace --lib --bins --test architecture

# Simulated calls over real sockets; see `sim_call --help`.
calls via="sip" calls="50":
    cargo run --profile dist --bin sim_call -- --embedded --via {{via}} --calls {{calls}} --concurrency {{calls}}

# The figures of the README.
bench:
    cargo bench --workspace

# Licences, advisories, duplicates, sources (needs cargo-deny).
deny:
    cargo deny check

# A parser against random bytes, for a minute (needs cargo-fuzz and a nightly compiler).
fuzz target seconds="60":
    cd fuzz && cargo +nightly fuzz run {{target}} -- -max_total_time={{seconds}}

image:
    docker build -t offhook .
