#!/usr/bin/env bash
# Looks for inputs that break a promise: libFuzzer, for a while over each target.
#
#   tests/fuzz/run.sh [TARGET …]   targets are the folders of tests/fuzz/corpus; FUZZ_SECONDS=60 for each
#
# Stable Rust and a C++ compiler are all it needs. What it learns is kept in target/fuzz, for the next time. An input
# that fails goes to tests/fuzz/corpus, where `make quick` repeats it, and stays there when it is mended.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

seconds=${FUZZ_SECONDS:-60}
target=${CARGO_TARGET_DIR:-target}
corpus=tests/fuzz/corpus

if [ $# -eq 0 ]; then
    for folder in "$corpus"/*/; do set -- "$@" "$(basename "$folder")"; done
fi
# With the workspace's features, so that the dependencies are those of the other tests.
RUSTC_WORKSPACE_WRAPPER=$PWD/tests/fuzz/instrument.sh \
    cargo build --quiet --workspace --bin fuzz --features fuzz/libfuzzer

failed=()
for name in "$@"; do
    learned=$target/fuzz/$name
    mkdir -p "$learned"
    echo "fuzz: $name, for $seconds s …"
    # Longer inputs find nothing new: what is read has fields of at most 128 characters.
    if ! FUZZ_TARGET=$name "$target/debug/fuzz" -max_total_time="$seconds" -max_len=2048 -timeout=10 \
        -rss_limit_mb=2048 -dict=tests/fuzz/words.dict -use_value_profile=1 -verbosity=0 -print_final_stats=1 \
        -artifact_prefix="$corpus/$name/" "$learned" "$corpus/$name" >"$target/fuzz/$name.log" 2>&1; then
        tail -n 60 "$target/fuzz/$name.log"
        failed+=("$name")
    fi
    sed -n 's/^stat::number_of_executed_units: */fuzz:   inputs tried: /p' "$target/fuzz/$name.log"
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "fuzz: ${failed[*]} failed: the inputs are in $corpus"
    exit 1
fi
