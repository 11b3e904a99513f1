# Two commands do all the set-up on a fresh machine with a Rust toolchain:
#   make demo    a gateway on this machine, and what it does
#   make test    the claims, held by the real program
# What needs longer has a target of its own below.

SHELL := /bin/bash
CARGO ?= cargo
PROFILE := ci
KEYWARD := target/$(PROFILE)/keyward

.PHONY: help demo test lint bench versus instructions floods restarts idle protocols claims faults faults-caught fuzz compose receipts memory deps deps-test deps-bench clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make demo          start a sample API and a gateway, show a key let in and revoked, go on until Ctrl-C
demo: deps
	$(CARGO) build --profile $(PROFILE)
	@.ci/demo $(KEYWARD)

## make test          the claims, held by the real program (about 10 minutes on two cores); what has
##                    a price is measured by make bench
test: deps-test
	$(CARGO) test --profile $(PROFILE)

## make lint          formatting, clippy with warnings as errors, the documentation's links
lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --profile $(PROFILE) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --profile $(PROFILE) --no-deps --document-private-items

## make bench         everything that is measured: versus, protocols, instructions, floods, restarts,
##                    receipts, idle, memory
bench:
	$(MAKE) --keep-going versus protocols instructions floods restarts receipts idle memory

## make versus        CPU per request beside nginx and HAProxy, in turns, one worker each, the keys in
##                    SQLite and in Redis, without limits and with a rate on every key
versus: deps-bench
	$(CARGO) build --release
	$(CARGO) bench --profile $(PROFILE) --bench versus -- --keyward target/release/keyward
	$(CARGO) bench --profile $(PROFILE) --bench versus -- --keyward target/release/keyward --store redis
	$(CARGO) bench --profile $(PROFILE) --bench versus -- --keyward target/release/keyward --limits
	$(CARGO) bench --profile $(PROFILE) --bench versus -- --keyward target/release/keyward --shared-key
	$(CARGO) bench --profile $(PROFILE) --bench versus -- --keyward target/release/keyward --limits --store redis

## make instructions  instructions per request and per check of a key, under valgrind
instructions: deps-bench
	$(CARGO) build --release
	$(CARGO) bench --profile $(PROFILE) --bench instructions -- --keyward target/release/keyward

## make floods        what refused requests cost, and what they do to a valid client
floods: deps-bench
	$(CARGO) build --release
	$(CARGO) bench --profile $(PROFILE) --bench floods -- --keyward target/release/keyward

## make restarts      how soon a gateway with 100,000 keys is ready again
restarts: deps-bench
	$(CARGO) build --release
	$(CARGO) bench --profile $(PROFILE) --bench restarts -- --keyward target/release/keyward

## make protocols     CPU of a request over HTTP/2, and of a new TLS connection, beside nginx
protocols: deps-bench
	$(CARGO) build --release
	$(CARGO) bench --profile $(PROFILE) --bench protocols -- --keyward target/release/keyward

## make receipts      how soon a revocation is complete on Redis, and what followers cost it
receipts: deps-bench
	$(CARGO) build --release
	$(CARGO) bench --profile $(PROFILE) --bench receipts -- --keyward target/release/keyward

## make idle          what a connection costs in memory on which nobody asks
idle: deps-bench
	$(CARGO) build --release
	$(CARGO) bench --profile $(PROFILE) --bench idle -- --keyward target/release/keyward

## make memory        what a key costs in memory and a million of them in time, with SQLite and Redis
memory: deps-bench
	$(CARGO) build --release
	$(CARGO) bench --profile $(PROFILE) --bench memory -- --keyward target/release/keyward

## make claims        the long forms: 1,000 revocations under load, 100 crashes, 100,000 retries
claims: deps-test
	CLAIMS=full $(CARGO) test --profile $(PROFILE) --test it --test model -- --nocapture

## make faults        a fleet on Redis under random faults: FAULTS_SECONDS=1800 over all forms, from FAULTS_SEED
FAULTS_SECONDS := 1800
FAULTS_SEED := $(shell date +%s)
faults: deps-test
	FAULTS_SECONDS=$(FAULTS_SECONDS) FAULTS_SEED=$(FAULTS_SEED) $(CARGO) test --profile $(PROFILE) --test it \
		nemesis:: -- --nocapture --test-threads=1

## make faults-caught the same faults find bugs that are seeded for them, in a build of its own
faults-caught: deps-test
	$(CARGO) test --profile $(PROFILE) --target-dir target/seeded --features seeded-bugs --test it \
		nemesis::caught:: -- --nocapture

## make fuzz          generated requests against the real program: EXECUTIONS=10000000, from SEED
EXECUTIONS := 10000000
SEED := $(shell date +%s)
fuzz: deps
	FUZZ_EXECUTIONS=$(EXECUTIONS) FUZZ_SEED=$(SEED) $(CARGO) test --profile $(PROFILE) --test it \
		corpus::fuzz:: -- --nocapture

## make compose       docker-compose.yml, proven: a key let in and revoked with receipts, load, all down again
compose: deps
	@.ci/compose

deps:
	@.ci/deps curl

# Real peers: what people put on either side of a gateway, and where a fleet keeps its keys.
deps-test:
	@.ci/deps curl h2load chromium haproxy nginx redis-server redis-cli python:grpc python:websockets

deps-bench:
	@.ci/deps curl nginx haproxy wrk h2load valgrind taskset redis-server redis-cli

clean:
	$(CARGO) clean
