# SPDX-License-Identifier: GPL-2.0-or-later

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:

scripts := kamailio-glue/scripts
# two set-ups in one folder would disturb each other
locked := mkdir -p build; flock --close build/lock

export ADVISORY_DB KAMAILIO_SRC DESTDIR MODULES_DIR PACKAGE_DIR KAMAILIO_VERSION

# how far loom looks
PREEMPTIONS ?= 2

# the servers that tests, benches and the demo run
define with_servers
assignments=$$($(locked) $(scripts)/env.sh)
eval "$$assignments"
export STOCK_KAMAILIO HOOKED_KAMAILIO MODULE_PATH STOCK_MODULE_PATH KAMCMD
endef

# the tree whose headers the fuzz targets' C wants
define with_fuzz_tree
TCL_FUZZ_TREE=$$(realpath "$${KAMAILIO_SRC:-$$($(locked) $(scripts)/fetch.sh)}")
export TCL_FUZZ_TREE
endef

need_tree = $(if $(KAMAILIO_SRC),,$(error $@ needs KAMAILIO_SRC=DIR, a Kamailio source tree))

define targets
Try it, on Debian with a Rust toolchain (builds in build/ and target/):
  make demo               see the module reject one greedy source
  make test               run the tests (tests/README.md: what else there is)
  make bench              measure the engine beside what could be used instead
  make bench-kamailio     measure what the limit costs
  make bench-attacks      measure how honest sources fare under attacks (root)
  make bench-peers        compare with HAProxy, nginx, nftables (installs them)
  make bench-profile      see how much of the user time the limit takes
  make soak               random load, counts and memory watched (10 minutes)
  make -s env             print where the servers, modules and kamcmd are
These take the sources of Kamailio from Debian, or with KAMAILIO_SRC=DIR from
DIR, of which they build copies.

For your own Kamailio, the source tree in DIR:
  make status    KAMAILIO_SRC=DIR   its version, and whether the hooks are in
  make patch     KAMAILIO_SRC=DIR   put the hooks in: the one change to the tree
  make unpatch   KAMAILIO_SRC=DIR   take them out again
  make           KAMAILIO_SRC=DIR   build the module for it
  make install   KAMAILIO_SRC=DIR   [DESTDIR=] [MODULES_DIR=]
  make uninstall KAMAILIO_SRC=DIR   [DESTDIR=] [MODULES_DIR=]

For a Kamailio of packages, the source tree of which is in DIR:
  make package-module KAMAILIO_SRC=DIR   the module in a folder [PACKAGE_DIR=]
  make package-deb    KAMAILIO_SRC=DIR   a Debian package of it [PACKAGE_DIR=]

For work on this project:
  make sanitize           tests with sanitizers (all of them: ARGS=--long)
  make memcheck           a life of a real server, all of it under valgrind
  make bench-instructions  guard the hot path: instructions, cache misses
  make test-distributions test with the packaged servers of Debian 12 and 13 (root)
  make test-linkages      test with servers that are linked in other ways
  make fuzz               fuzz: each target a minute [SECONDS=60] [SEED=] [TARGET=]
  make loom               all orders of threads, by loom [PREEMPTIONS=2]
  make lint               rustfmt, clippy, shellcheck, clang-format, -Wshadow
  make check-dependencies  licences, versions, advisories of the crates
  make vendor-check       build the library without a network
  make generate           write the generated sources anew
  make check-generated    compare them with what would be generated
  make readme             write the module's README anew from its DocBook
  make check-readme       compare it with what would be generated
  make clean              remove build/ and target/
endef

.DEFAULT_GOAL := $(if $(KAMAILIO_SRC),module,help)

.PHONY: help
help:
	@: $(info $(targets))

.PHONY: env
env:
	@$(locked) $(scripts)/env.sh

.PHONY: demo
demo:
	@$(with_servers)
	cargo run --release --quiet --example demo

.PHONY: test
test:
	@$(scripts)/deps.sh build package test
	$(with_servers)
	cargo test
	for test in tests/setup/test_*.sh; do "$$test"; done

.PHONY: test-distributions
test-distributions:
	@$(scripts)/deps.sh build chroot package
	for suite in bookworm trixie; do tests/distributions/run.sh "$$suite"; done

.PHONY: test-linkages
test-linkages:
	@$(with_servers)
	for kind in relro no-plt; do tests/linkages/run.sh "$$kind"; done

.PHONY: sanitize
sanitize:
	@$(with_servers)
	tests/sanitize/run.sh $(ARGS)

.PHONY: memcheck
memcheck:
	@$(scripts)/deps.sh build test
	$(with_servers)
	cargo test --test memcheck

.PHONY: bench
bench:
	@$(with_servers)
	BENCH_STOCK_MODULE=$$($(locked) tests/bench/engine/stock/build.sh "$$STOCK_KAMAILIO")
	export BENCH_STOCK_MODULE
	cargo bench --bench bench-engine -- $(ARGS)

.PHONY: bench-kamailio
bench-kamailio:
	@$(with_servers)
	cargo bench --bench bench-kamailio -- $(ARGS)

.PHONY: bench-attacks
bench-attacks:
	@$(with_servers)
	cargo bench --bench bench-attacks -- $(ARGS)

.PHONY: bench-peers
bench-peers:
	@$(scripts)/deps.sh peers
	$(with_servers)
	cargo bench --bench bench-peers -- $(ARGS)

.PHONY: bench-profile
bench-profile:
	@$(scripts)/deps.sh profile
	$(with_servers)
	cargo bench --bench bench-profile -- $(ARGS)

.PHONY: soak
soak:
	@$(with_servers)
	cargo bench --bench soak -- $(ARGS)

.PHONY: fuzz
fuzz: SECONDS := 60
fuzz: SEED := 0
fuzz: TARGET := rules rpc sockaddr sequences
fuzz:
	@$(scripts)/deps.sh build fuzz
	$(with_fuzz_tree)
	tests/fuzz/run.sh $(SECONDS) $(SEED) $(TARGET)

.PHONY: bench-instructions
bench-instructions:
	@$(scripts)/deps.sh build package test
	cargo build --release --lib
	tests/bench/instructions/run.sh

.PHONY: loom
loom:
	@$(scripts)/deps.sh build
	export RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom LOOM_MAX_PREEMPTIONS=$(PREEMPTIONS)
	cargo test --profile loom --test loom -- --nocapture

.PHONY: status patch unpatch
status patch unpatch:
	@$(need_tree)$(scripts)/hooks.sh $@ "$$KAMAILIO_SRC"

.PHONY: module
module:
	@$(need_tree)$(scripts)/deps.sh build
	$(locked) $(scripts)/module.sh "$$KAMAILIO_SRC"

.PHONY: install uninstall
install uninstall:
	@$(need_tree)$(scripts)/install.sh $@ "$$KAMAILIO_SRC"

.PHONY: package-module
package-module:
	@$(need_tree)$(scripts)/deps.sh build
	$(locked) $(scripts)/package.sh module "$$KAMAILIO_SRC"

.PHONY: package-deb
package-deb:
	@$(need_tree)$(scripts)/deps.sh build package
	$(locked) $(scripts)/package.sh deb "$$KAMAILIO_SRC"

.PHONY: lint
lint:
	@$(scripts)/deps.sh build check fuzz
	$(with_fuzz_tree)
	cargo fmt --check
	cargo fmt --check --manifest-path tests/fuzz/Cargo.toml
	cargo clippy --all-targets -- -D warnings
	cargo clippy --all-targets --locked --manifest-path tests/fuzz/Cargo.toml \
	    --target-dir target/fuzz -- -D warnings
	RUSTFLAGS="--cfg loom" cargo clippy --target-dir target/loom --profile loom \
	    --lib --test loom -- -D warnings
	shellcheck --external-sources --check-sourced --source-path=SCRIPTDIR \
	    $$(find $(scripts) tests .ci -type f -perm -u+x)
	tree=$$($(locked) $(scripts)/fetch.sh)
	clang-format --dry-run -Werror --style="file:$$tree/.clang-format" \
	    kamailio-glue/tcp_conn_limit/*.[ch] \
	    $$(find tests -name '*.c')
	$(scripts)/warnings.sh "$$tree"

.PHONY: check-dependencies
check-dependencies:
	@$(locked) $(scripts)/dependencies.sh full

.PHONY: vendor-check
vendor-check:
	@$(scripts)/vendor-check.sh

.PHONY: generate
generate:
	@$(scripts)/deps.sh build check
	cargo check --quiet --features generate

.PHONY: check-generated
check-generated:
	@$(scripts)/deps.sh build check
	dir=$$(mktemp -d)
	trap 'rm -rf "$$dir"' EXIT
	mkdir "$$dir/src" "$$dir/include"
	TCL_GENERATE_DIR=$$dir cargo check --quiet --features generate
	for file in src/host.rs include/tcp_conn_limit.h; do
	    diff -u "$$file" "$$dir/$$file" || { echo "$$file: run 'make generate'" >&2; exit 1; }
	done

.PHONY: readme check-readme
readme check-readme:
	@$(scripts)/deps.sh docs
	$(locked) $(scripts)/readme.sh $(if $(filter check-readme,$@),--check)

.PHONY: clean
clean:
	rm -rf build target
