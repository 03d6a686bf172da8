# make demo    see it at work: starts MongoDB if there is none, the product, and traffic; Ctrl-C ends it all
#              SOURCE=kafka (default change-stream), RATE=500 requests/s (default: what the server keeps up with),
#              DURATION=30s (default: no end), DEMO="--trace FILE" and other flags (--help)
# make dashboard   only builds the usage page, which the next cargo build takes in
# make quick   tests of rules, without servers: under 2 minutes after a change in one crate
# make test    that, and one test of each promise against real servers that it starts itself: under 12 minutes
#              when built
# make test-all   everything: long storms, many kills, many examples, the page in both languages, the fuzzer
#              (at most 3 hours)
# make fuzz    the fuzzer alone, a minute for each of what strangers write (10 minutes)
# make bench   speed and memory on this machine, and the sizes of transactions, as Markdown tables (27 minutes, on an
#              idle machine); BENCH="--scopes lane" and other flags (--help)
# make bench-verify   how fast and in how much memory rows are compared with their entries, as a Markdown table;
#              BENCH="--cases spilled" and other flags (--help)
# make bench-reader   how long the reader takes over a million daily rows, as a Markdown table
# make check   formatting, lints, licences, documentation, and check-deploy
# make check-deploy   only scripts, image, compose, chart, alerts and workflows (half a minute)
# make setup   only installs what the demo needs

TARGET := $(or $(CARGO_TARGET_DIR),target)
SOURCE ?= change-stream
DEMO ?=
BENCH ?=

PAGE := api/dashboard
PAGE_SOURCES := $(shell find $(PAGE)/src $(PAGE)/public -type f) $(PAGE)/index.html $(PAGE)/vite.config.ts

# Tests on real servers wait more than they compute: for leases and sessions to run out, for servers to start.
TEST_THREADS := 4

.PHONY: help demo dashboard quick test test-all fuzz ready bench bench-verify bench-reader check check-deploy setup

help:
	@sed -n '/^#/!q;s/^# \{0,1\}//p' Makefile

setup:
	@deploy/setup.sh demo $(SOURCE)

# What npm installs, and what it builds, is made anew when what it is made of has changed.
dashboard:
	@deploy/setup.sh node
	@$(MAKE) --no-print-directory $(PAGE)/dist/index.html

$(PAGE)/node_modules/.package-lock.json: $(PAGE)/package-lock.json
	@echo "installing what the usage page is built with (half a minute, once) …"
	@deploy/npm.sh ci --silent
	@touch $@

$(PAGE)/dist/index.html: $(PAGE)/node_modules/.package-lock.json $(PAGE_SOURCES)
	@deploy/npm.sh run --silent build

# Not optimized: that is built in less than half the time, and 200 requests/s are little work.
demo:
	@echo "1 of 4: what is missing of system packages, Node and a MongoDB (a minute at first, else nothing) …"
	@$(MAKE) -s setup
	@echo "2 of 4: the usage page (a quarter of a minute at first, else nothing) …"
	@$(MAKE) -s $(PAGE)/dist/index.html
	@echo "3 of 4: builds the program (3 minutes on 2 idle cores at first, else seconds) …"
	@cargo build --locked -p usage-ledger -p stack --bin usage-ledger --bin demo
	@echo "4 of 4: starts (5 s; with Kafka 15 s) …"
	@$(TARGET)/debug/demo --source $(SOURCE) $(if $(RATE),--rate $(RATE)) $(if $(DURATION),--duration $(DURATION)) $(DEMO)

# Unit tests, property tests, and simulations in virtual time.
quick:
	@deploy/setup.sh build
	@echo "quick: builds (10 minutes from a clean clone on 2 cores, a minute after a change), then tests for half a minute …"
	cargo test --workspace --lib --bins --test simulation

# Its output ends with that of `cargo test`.
test: ready
	@echo "3 of 3: quick's tests, and one test of each promise on real servers (10 minutes on 2 cores) …"
	cargo test --workspace -- --test-threads=$(TEST_THREADS)

test-all: ready
	@echo "3 of 3: every test, also the long ones, then the fuzzer (at most 3 hours on 2 cores) …"
	cargo test --workspace --no-fail-fast -- --include-ignored --test-threads=$(TEST_THREADS)
	tests/fuzz/run.sh

fuzz:
	@deploy/setup.sh build
	tests/fuzz/run.sh

# What tests on real servers stand on.
ready:
	@echo "1 of 3: what is missing of servers, browser and page (10 minutes from a clean clone, else nothing) …"
	@deploy/setup.sh test
	@$(MAKE) --no-print-directory $(PAGE)/dist/index.html
	@echo "2 of 3: builds (10 minutes from a clean clone, else a minute or two) …"
	@cargo test --workspace --no-run --quiet

# The table goes to the standard output, everything else to the standard error.
bench:
	@deploy/setup.sh kafka
	@cargo build --release -p usage-ledger -p stack --bins
	@cargo bench -p ingest --bench poll_to_fold
	@$(TARGET)/release/bench $(BENCH)
	@cargo bench --bench batches

bench-verify:
	@deploy/setup.sh mongodb
	@cargo build --release -p usage-ledger -p stack --bins
	@$(TARGET)/release/bench --what verify $(BENCH)

bench-reader:
	@deploy/setup.sh mongodb
	@cargo bench --bench reader

check:
	@deploy/setup.sh build
	@deploy/setup.sh node
	@$(MAKE) --no-print-directory $(PAGE)/node_modules/.package-lock.json
	deploy/npm.sh run --silent check
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets -- -D warnings
	@if [ ! -f deny.toml ] || ! cargo deny --version >/dev/null 2>&1; then \
		echo "cargo-deny is not installed: licences and sources are not checked"; \
	else cargo deny --workspace check bans licenses sources; fi
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
	@$(MAKE) --no-print-directory check-deploy
	deploy/release/inventory.py licences >/dev/null

check-deploy:
	@deploy/setup.sh deploy
	deploy/check.sh
