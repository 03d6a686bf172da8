# make demo    see it at work: starts MongoDB if there is none, the product, and traffic; Ctrl-C ends it all
#              SOURCE=kafka (default change-stream), RATE=200 requests/s, DURATION=30s (default: no end),
#              DEMO="--trace FILE" and other flags (--help)
# make dashboard   only builds the usage page, which the next cargo build takes in
# make test    all tests, against real servers that they start themselves
# make bench   speed and memory on this machine, as a Markdown table (10 minutes, on an idle machine);
#              BENCH="--scopes lane" and other flags (--help)
# make bench-reader   how long the reader takes over a million daily rows, as a Markdown table
# make check   formatting, lints, licences, documentation
# make setup   only installs what the demo needs

TARGET := $(or $(CARGO_TARGET_DIR),target)
SOURCE ?= change-stream
RATE ?= 200
DEMO ?=
BENCH ?=

PAGE := api/dashboard
PAGE_SOURCES := $(shell find $(PAGE)/src $(PAGE)/public -type f) $(PAGE)/index.html $(PAGE)/vite.config.ts

.PHONY: help demo dashboard test bench bench-reader check setup

help:
	@sed -n '/^#/!q;s/^# \{0,1\}//p' Makefile

setup:
	@deploy/setup.sh $(if $(filter kafka,$(SOURCE)),kafka,mongodb)

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

demo: setup dashboard
	@[ -x $(TARGET)/release/demo ] || echo "building (about 7 minutes on 2 cores, once) …"
	@cargo build --release -p usage-ledger -p stack --bins
	@$(TARGET)/release/demo --source $(SOURCE) --rate $(RATE) $(if $(DURATION),--duration $(DURATION)) $(DEMO)

test:
	@deploy/setup.sh test
	@$(MAKE) --no-print-directory $(PAGE)/dist/index.html
	cargo test --workspace

# The table goes to the standard output, everything else to the standard error.
bench:
	@deploy/setup.sh kafka
	@cargo build --release -p usage-ledger -p stack --bins
	@cargo bench -p ingest --bench poll_to_fold
	@$(TARGET)/release/bench $(BENCH)

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
	else cargo deny check bans licenses sources; fi
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
