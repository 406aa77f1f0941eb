# Two commands matter: `make demo` and `make test`. `make help` lists the others.

# Where rustup puts cargo; behind the user's own PATH, since a shell that was opened before the
# installation does not have it.
export PATH := $(PATH):$(HOME)/.cargo/bin

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
DATA_DIR ?= $(shell scripts/demo-data-dir)
SEND ?= 200

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 12

.PHONY: demo
demo: build ## receive signed Segment events into a PostgreSQL of its own, and count them
	@# Free ports: nothing that runs here already can be in the way.
	$(TARGET_DIR)/release/trunkline dev -f examples --data-dir "$(DATA_DIR)" \
		--listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --send $(SEND) --once
	@echo 'stopped; `make dev` serves the same data until Ctrl-C, for the psql line and for posts of your own'

.PHONY: dev
dev: build ## serve the demo's source until Ctrl-C
	$(TARGET_DIR)/release/trunkline dev -f examples --data-dir "$(DATA_DIR)"

.PHONY: build
build: ## install what is missing and build the command line
	@scripts/install
	cargo build --release --locked -p trunkline-cli

# Tests mostly wait for each other's processes and for time to pass: several for each processor.
TEST_THREADS ?= $(shell expr 4 \* $$(getconf _NPROCESSORS_ONLN))

.PHONY: test
test: lint ## every check and every test
	@# Before anything runs side by side: packages are installed by one at a time.
	@set -e; for part in fuzz images e2e; do scripts/install $$part; done
	@# The chart's tests need no Kubernetes, but Helm.
	tests/kubernetes/build helm
	RUST_TEST_THREADS=$(TEST_THREADS) cargo test --workspace --locked
	@# The fuzzers need processors, and a Kubernetes that starts mostly waits.
	$(MAKE) --jobs=2 fuzz e2e FUZZ_SECONDS=5

.PHONY: lint
lint: ## formatting, clippy, dependencies
	@scripts/install test
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo deny --locked check --hide-inclusion-graph licenses bans sources
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo deny --manifest-path fuzz/Cargo.toml --locked check --hide-inclusion-graph licenses bans sources

.PHONY: acceptance
acceptance: ## the fault and load tests at full scale, in release mode (long)
	TRUNKLINE_TEST_SCALE=full cargo test --release --locked -p trunkline-tests -- --nocapture

# Seconds for each target.
FUZZ_SECONDS ?= 1200
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))

# Without a sanitizer, which would need a nightly compiler: there is no unsafe code to watch, and a
# finding is a panic, an overflow, a hang or too much memory. What is learnt stays in fuzz/corpus.
.PHONY: fuzz
fuzz: ## feed what receives bytes with bytes that nobody would send (20 minutes for each target)
	@scripts/install fuzz
	@set -e; for target in $(FUZZ_TARGETS); do \
		mkdir -p fuzz/corpus/$$target; \
		echo "fuzz: $$target"; \
		cargo fuzz run --sanitizer none $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=1024 -max_len=100000 \
			-print_final_stats=1 -verbosity=0; \
	done

# The number of rounds, and the seconds of each of their fifteen runs.
PAIRS ?= 10
SECONDS_PER_RUN ?= 5
BENCH_PACKAGES := -p trunkline-bench -p trunkline-ingester
BENCH := $(TARGET_DIR)/release/trunkline-bench

.PHONY: bench
bench: ## the ingester's speed beside a bare program and fastify (25 minutes; PAIRS=1 SECONDS_PER_RUN=2 to try)
	@scripts/install bench
	npm ci --prefix bench/fastify --no-fund --no-audit --loglevel error
	cargo build --release --locked $(BENCH_PACKAGES)
	$(BENCH) --pairs $(PAIRS) --seconds $(SECONDS_PER_RUN)

.PHONY: capacity
capacity: ## what a database pays for many sources, dedicated and shared (long; CAPACITY="--help" for less)
	@scripts/install
	cargo build --release --locked -p trunkline-bench --bin trunkline-capacity
	$(TARGET_DIR)/release/trunkline-capacity $(CAPACITY)

# 1,000,000 events of 10 days show within minutes where it is slow.
EVENTS ?= 10000000
DAYS ?= 30

.PHONY: reading
reading: ## what analysts wait for, beside typed tables made by hand (long; EVENTS=1000000 DAYS=10 to try)
	@scripts/install
	cargo build --release --locked -p trunkline-bench --bin trunkline-reading
	$(TARGET_DIR)/release/trunkline-reading --events $(EVENTS) --days $(DAYS) $(READING)

# Seconds of each of its two windows.
STALL_SECONDS ?= 300

.PHONY: stall
stall: ## whether a change in the database stalls senders at half load (11 minutes; STALL_SECONDS=20 to try)
	@scripts/install
	cargo build --release --locked $(BENCH_PACKAGES)
	$(BENCH) --pairs 1 --scenarios full,calm,changes --receivers trunkline --window $(STALL_SECONDS)

.PHONY: profile
profile: ## where a run at full load spends processor time, by perf
	@scripts/install profile
	cargo build --release --locked $(BENCH_PACKAGES)
	perf record -F 499 --call-graph dwarf,16384 -o $(TARGET_DIR)/perf.data -- $(BENCH) --pairs 1 --seconds 4 \
		--scenarios full --receivers trunkline --out $(TARGET_DIR)/profile.jsonl
	@# Without the programs that make events and an empty server.
	perf report -i $(TARGET_DIR)/perf.data --stdio --no-children -g none --percent-limit 0.5 \
		--comms tokio-rt-worker,writer-0,writer-1,postgres,sender --sort comm,symbol
	@if command -v inferno-flamegraph >/dev/null; then \
		scripts/flamegraph $(TARGET_DIR)/perf.data $(TARGET_DIR)/flamegraph.svg \
		&& echo 'drawn: $(TARGET_DIR)/flamegraph.svg'; fi

# Those of tests/postgres-versions/package.json; for each of them its newest release.
POSTGRES_VERSIONS ?= 14 15 16 17 18
POSTGRES_TESTS ?= commit:: warehouse:: promise::

.PHONY: postgres-versions
postgres-versions: ## the tests of the database on each major version of PostgreSQL, from npm (x86-64 Linux)
	@scripts/install bench
	npm ci --prefix tests/postgres-versions --no-fund --no-audit --loglevel error
	@# On PATH, where the tests look first.
	@set -e; for version in $(POSTGRES_VERSIONS); do \
		programs=$(CURDIR)/tests/postgres-versions/node_modules/postgres-$$version/native/bin; \
		"$$programs/postgres" --version | grep "(PostgreSQL) $$version\."; \
		PATH="$$programs:$$PATH" cargo test --locked -p trunkline-tests --test behaviour -- $(POSTGRES_TESTS); \
	done

.PHONY: audit
audit: ## known vulnerabilities of dependencies; fetches the RustSec database
	@scripts/install test
	cargo deny --locked check advisories

.PHONY: images
images: ## write container images under target/images/, without a container engine
	@scripts/install images
	scripts/images

# Each test has a namespace of its own; 1 for figures that no other test disturbs.
E2E_THREADS ?= 3

.PHONY: e2e
e2e: images kubernetes ## the tests on a real Kubernetes, which they start themselves (as root)
	@# By the whole workspace, as `make test` has built it: for one package alone, dependencies have other features.
	cargo test --workspace --locked --test kubernetes -- --ignored --test-threads=$(E2E_THREADS)

.PHONY: cluster
cluster: images kubernetes ## a Kubernetes with Trunkline to try things on, until Ctrl-C (as root)
	cargo run --locked -p trunkline-tests --bin trunkline-cluster

.PHONY: kubernetes
kubernetes: ## build what the tests' Kubernetes is made of, once for each version
	@scripts/install e2e
	tests/kubernetes/build
