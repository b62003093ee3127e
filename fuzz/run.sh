#!/bin/sh
# Builds the fuzz targets with coverage instrumentation on the stable compiler and runs each for the given seconds. Needs a C++ compiler
# (libFuzzer is compiled from source by libfuzzer-sys); says so and ends well where there is none.
set -eu
seconds=${1:-20}
cd "$(dirname "$0")"
command -v c++ >/dev/null 2>&1 || {
    echo "fuzz: no C++ compiler here (package g++), so libFuzzer can't be built; the property tests of 'make test' stand in"
    exit 0
}
target=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1"
cargo build --quiet --release --locked --target "$target"
# To begin with: what the project ships, cut to the size of an input.
mkdir -p corpus/capture corpus/packet corpus/payload corpus/rules artifacts
for file in ../testdata/cases/*/capture.*; do
    head -c 8192 "$file" >"corpus/capture/$(basename "$(dirname "$file")")"
done
for file in ../rulesets/*.toml ../testdata/cases/*/site.toml; do
    head -c 8192 "$file" >"corpus/rules/$(echo "$file" | tr -c 'a-z0-9\n' -)"
done
for bin in capture packet payload rules; do
    echo "fuzz: $bin for $seconds s"
    "target/$target/release/$bin" -max_total_time="$seconds" -max_len=8192 -rss_limit_mb=2048 -timeout=10 -print_final_stats=0 \
        -artifact_prefix="artifacts/$bin-" "corpus/$bin" >"artifacts/$bin.log" 2>&1 || {
        tail -n 30 "artifacts/$bin.log"
        echo "fuzz: $bin failed; the input is in fuzz/artifacts"
        exit 1
    }
    sed -n 's/^\(Done .*\)$/      \1/p' "artifacts/$bin.log"
done
