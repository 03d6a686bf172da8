#!/usr/bin/env bash
# RUSTC_WORKSPACE_WRAPPER of the fuzzer's build: rustc, with what libFuzzer sees of a run. Only for the crates of this
# workspace, so that the dependencies of the other tests' build are used as they are. All of it is stable.
rustc=$1
shift
case " $* " in
    *" --crate-name build_script_"*) exec "$rustc" "$@" ;;
esac
exec "$rustc" "$@" --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
