# The two commands to know: `make demo` shows what spanaudit does, `make test` runs everything that must hold.
.PHONY: help demo test setup build lint scores fuzz bench instructions degradation live-test replay rate flood soak month events unit

DEMO := testdata/cases/vlan-tagged-mirror
BIN := target/release/spanaudit

help:
	@echo "make demo    build, audit a recording shipped with the project, print the report"
	@echo "make test    format, lints, all tests, documentation, rulesets"
	@echo "make scores  hold the program against the labelled captures beside the project, where they are"
	@echo "make degradation  spoil every lab recording, print what is left, write it to docs/degradation.md"
	@echo "make fuzz    fuzz every parser for SECONDS (default 20) each"
	@echo "make bench   criterion benches"
	@echo "make instructions   what a packet costs in instructions, where valgrind is installed"
	@echo "make lab     real hosts and a real firewall in network namespaces, recorded and audited (root; says what it installs)"
	@echo "make live-test  a small plant in network namespaces, watched while things happen to it (root)"
	@echo "make replay  recordings replayed into a watched interface and audited offline: the same verdicts, every packet accounted for (root)"
	@echo "make month   45 days of a plant compressed into a replay: nothing grows, no packet costs more"
	@echo "make events  events where they are to arrive: rsyslog, files moved aside, a collector that reads nothing (root)"
	@echo "make unit    the systemd unit under a systemd of its own: notify, watchdog, reload, rights (root)"
	@echo "make rate    how fast a watched interface is read without a loss, beside tcpdump (root)"
	@echo "make flood   ten million connections that never come again, and what memory they take"
	@echo "make soak    a watched link at full rate for SECONDS (default 600), its memory as a series (root)"

setup:
	@sh scripts/setup.sh

build: setup
	cargo build --release --locked

# The audit finds something and says so with status 1: for the demo that is success.
demo: build
	@$(BIN) audit $(DEMO)/capture.pcap --site $(DEMO)/site.toml || [ $$? -eq 1 ]

lint: setup
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings

test: lint
	cargo test --locked
	cargo check --locked --no-default-features
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet
	cargo run --locked --quiet -- rules check rulesets/*.toml

scores: build
	@sh scripts/scores.sh $(BIN)

# The table says what the program says, so it is made by the optimised build: seconds instead of a minute.
degradation: setup
	DEGRADATION_WRITE=1 cargo test --locked --release --test program -- --nocapture degradation::table

fuzz: setup
	@sh fuzz/run.sh $(or $(SECONDS),20)

# Builds as who calls it; the lab itself becomes root through sudo, and says why where it can't run.
lab: build
	@python3 lab/lab.py $(BIN) target/lab $(SCENARIO)

bench: setup
	cargo bench --locked

# Guards the packet path without a clock; the bound is what is needed and a third of it again.
instructions: build
	@BIN=$(BIN) benches/instructions.sh polls 1600

live-test: build
	python3 tests/live/live.py $(BIN)

replay: build
	python3 tests/live/replay.py $(BIN)

rate: build
	python3 tests/live/rate.py $(BIN)

flood: build
	python3 tests/live/flood.py $(BIN)

soak: build
	python3 tests/live/soak.py $(BIN) $(or $(SECONDS),600)

month: build
	python3 tests/live/month.py $(BIN)

events: build
	python3 tests/live/events.py $(BIN)

unit: build
	python3 tests/live/unit.py $(BIN)
