# SPDX-License-Identifier: GPL-2.0-or-later

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:

scripts := kamailio-glue/scripts
# Two set-ups in one folder would disturb each other.
locked := mkdir -p build; flock --close build/lock

export ADVISORY_DB KAMAILIO KAMAILIO_SRC DESTDIR MODULES_DIR PACKAGE_DIR KAMAILIO_VERSION

# The number of preemptions that loom explores.
PREEMPTIONS ?= 2

# Builds the servers that tests, benches and the demo run, and exports their paths.
define with_servers
assignments=$$($(locked) $(scripts)/env.sh)
eval "$$assignments"
export STOCK_KAMAILIO HOOKED_KAMAILIO MODULE_PATH STOCK_MODULE_PATH KAMCMD
endef

# Exports the Kamailio tree with the headers that the fuzz targets' C code needs.
define with_fuzz_tree
TCL_FUZZ_TREE=$$(realpath "$${KAMAILIO_SRC:-$$($(locked) $(scripts)/fetch.sh)}")
export TCL_FUZZ_TREE
endef

# Benchmarks are built in a folder of their own: for them and their dependencies cargo builds
# the library with other features of libc, and would replace the one for the module each time.
# Quick runs measure nothing, so they are not optimised at link time, which takes long.
bench = cargo bench --target-dir target/bench $(if $(filter --quick,$(ARGS)),--profile quick) \
    --package tcp_conn_limit-bench

need_tree = $(if $(KAMAILIO_SRC),,$(error $@ needs KAMAILIO_SRC=DIR, a Kamailio source tree))

define targets
Try it, on Debian with a Rust toolchain (builds in build/ and target/):
  make demo               see the module reject one greedy source
  make demo-cluster       see three servers share a limit
  make test               run the tests (tests/README.md lists the others)
  make bench              measure the engine against its alternatives
  make bench-kamailio     measure what the limit costs the server
  make bench-attacks      measure how honest sources fare under attacks (root)
  make bench-cluster      measure a limit over three servers, next to Redis (root)
  make bench-cluster-simulation  measure what sharing limits costs, simulated
  make bench-shield       measure a banned source's flood with the kernel shield (root)
  make bench-peers        compare with HAProxy, nginx, nftables (installs them)
  make bench-profile      measure the limit's share of the user time
  make soak               watch counts and memory under random load (10 minutes)
  make -s env             print the paths of the servers, modules and kamcmd
These use Kamailio's sources from Debian, or, with KAMAILIO_SRC=DIR, build copies
of the source tree in DIR.

For your own Kamailio, with its source tree, or CMake's build folder, in DIR:
  make status    KAMAILIO_SRC=DIR   show its version and the state of the hooks
  make patch     KAMAILIO_SRC=DIR   apply the hooks: the only change to the tree
  make unpatch   KAMAILIO_SRC=DIR   remove them
  make           KAMAILIO_SRC=DIR   build the module for it
  make install   KAMAILIO_SRC=DIR   [DESTDIR=] [MODULES_DIR=]
  make uninstall KAMAILIO_SRC=DIR   [DESTDIR=] [MODULES_DIR=]

For a packaged Kamailio, with its source tree in DIR:
  make package-module KAMAILIO_SRC=DIR   build the module in a folder [PACKAGE_DIR=]
  make package-deb    KAMAILIO_SRC=DIR   build a Debian package [PACKAGE_DIR=]
  make package-rpm    KAMAILIO_SRC=DIR   build an RPM [PACKAGE_DIR=] [KAMAILIO_VERSION=]
With KAMAILIO=/usr/sbin/kamailio these build the module that this server loads.
  make packages       build them for the servers of Debian 12 and 13 [PACKAGE_DIR=]

For work on this project:
  make sanitize           run tests with sanitizers (more tests: ARGS=--long)
  make memcheck           run a real server from start to end under valgrind
  make bench-instructions  check the hot path's budget of instructions, cache misses
  make test-distributions test with the packaged servers of Debian (root)
  make test-systemd       test the units of the cookbook with a real systemd (root)
  make test-linkages      test with servers that are linked differently
  make test-arm64         test with Debian's arm64 server, emulated
  make fuzz               fuzz each target for a minute [SECONDS=60] [SEED=] [TARGET=]
  make loom               check all thread orders with loom [PREEMPTIONS=2]
  make lint               check format, warnings, rustdoc, spelling and language
  make check-dependencies  check licences, versions and advisories of the crates
  make vendor-check       build the library without a network
  make generate           regenerate the generated sources
  make check-generated    check that they are up to date
  make readme             regenerate the module's README from its DocBook
  make check-readme       check that it is up to date
  make clean              remove build/ and target/
endef

.DEFAULT_GOAL := $(if $(KAMAILIO_SRC)$(KAMAILIO),module,help)

.PHONY: help
help:
	@: $(info $(targets))

.PHONY: env
env:
	@$(locked) $(scripts)/env.sh

.PHONY: demo
demo:
	@$(with_servers)
	cargo run --package tcp_conn_limit-support --example demo

.PHONY: demo-cluster
demo-cluster:
	@$(with_servers)
	cargo run --package tcp_conn_limit-support --example demo-cluster

.PHONY: test
test:
	@$(scripts)/deps.sh build cmake package recipes rpm test
	$(with_servers)
	# Tests with a server wait more than they compute.
	cargo test -- --test-threads=$$((2 * $$(nproc)))
	for test in tests/setup/test_*.sh; do "$$test"; done

.PHONY: test-distributions
test-distributions:
	@$(scripts)/deps.sh build chroot package
	for suite in bookworm trixie sid; do tests/platforms/distributions.sh "$$suite"; done

.PHONY: test-systemd
test-systemd:
	@$(scripts)/deps.sh build chroot package
	tests/platforms/systemd.sh

.PHONY: test-linkages
test-linkages:
	@$(with_servers)
	for kind in relro no-plt; do tests/platforms/linkages.sh "$$kind"; done

.PHONY: test-arm64
test-arm64:
	@$(scripts)/deps.sh build arm64
	$(locked) tests/platforms/arm64.sh $(ARGS)

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
	BENCH_STOCK_MODULE=$$($(locked) tests/bench/build_module.sh "$$STOCK_KAMAILIO" \
	    tests/bench/engine/bench_stock)
	export BENCH_STOCK_MODULE
	$(bench) --bench bench-engine -- $(ARGS)

.PHONY: bench-kamailio
bench-kamailio:
	@$(with_servers)
	$(bench) --bench bench-kamailio -- $(ARGS)

.PHONY: bench-attacks
bench-attacks:
	@$(with_servers)
	$(bench) --bench bench-attacks --bench bench-full -- $(ARGS)

.PHONY: bench-cluster
bench-cluster:
	@$(scripts)/deps.sh cluster
	$(with_servers)
	BENCH_NDB_REDIS_MODULE=$$($(locked) tests/bench/build_module.sh "$$STOCK_KAMAILIO" \
	    "$${STOCK_KAMAILIO%/*}/modules/ndb_redis")
	export BENCH_NDB_REDIS_MODULE
	$(bench) --bench bench-cluster -- $(ARGS)

.PHONY: bench-cluster-simulation
bench-cluster-simulation:
	@$(bench) --bench bench-cluster-simulation -- $(ARGS)

.PHONY: bench-shield
bench-shield:
	@$(scripts)/deps.sh shield
	$(with_servers)
	$(bench) --bench bench-shield -- $(ARGS)

.PHONY: bench-peers
bench-peers:
	@$(scripts)/deps.sh peers
	$(with_servers)
	$(bench) --bench bench-peers -- $(ARGS)

.PHONY: bench-profile
bench-profile:
	@$(scripts)/deps.sh profile
	$(with_servers)
	$(bench) --bench bench-profile -- $(ARGS)

.PHONY: soak
soak:
	@$(with_servers)
	$(bench) --bench soak -- $(ARGS)

.PHONY: fuzz
fuzz: SECONDS := 60
fuzz: SEED := 0
fuzz: TARGET := rules rpc sockaddr sequences cluster
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

.PHONY: package-rpm
package-rpm:
	@$(need_tree)$(scripts)/deps.sh build rpm
	$(locked) $(scripts)/rpm.sh "$$KAMAILIO_SRC"

.PHONY: packages
packages:
	@$(scripts)/deps.sh build package
	$(locked) $(scripts)/packages.sh

.PHONY: lint
lint:
	@$(scripts)/deps.sh build check fuzz
	$(with_fuzz_tree)
	cargo fmt --all --check
	cargo fmt --check --manifest-path tests/fuzz/Cargo.toml
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --all-targets --locked --manifest-path tests/fuzz/Cargo.toml \
	    --target-dir target/fuzz -- -D warnings
	RUSTFLAGS="--cfg loom" cargo clippy --target-dir target/loom --profile loom \
	    --lib --test loom -- -D warnings
	shellcheck --external-sources --check-sourced --source-path=SCRIPTDIR \
	    $$(find $(scripts) kamailio-glue/tools tests .ci -type f -perm -u+x)
	tree=$$($(locked) $(scripts)/fetch.sh)
	clang-format --dry-run -Werror --style="file:$$tree/.clang-format" \
	    kamailio-glue/tcp_conn_limit/*.[ch] \
	    $$(find tests -name '*.[ch]')
	$(scripts)/warnings.sh "$$tree"
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps
	$(scripts)/language.sh check

.PHONY: check-dependencies
check-dependencies:
	@$(locked) $(scripts)/dependencies.sh full

.PHONY: vendor-check
vendor-check:
	@$(scripts)/vendor-check.sh

# What `build.rs` writes.
generated := src/host.rs include/tcp_conn_limit.h kamailio-glue/monitoring/metrics.md \
    kamailio-glue/tcp_conn_limit/doc/tcp_conn_limit_counters.xml

.PHONY: generate
generate:
	@$(scripts)/deps.sh build check
	cargo check --quiet --features generate
	$(scripts)/abi.sh add

.PHONY: check-generated
check-generated:
	@$(scripts)/deps.sh build check
	dir=$$(mktemp -d)
	trap 'rm -rf "$$dir"' EXIT
	for file in $(generated); do mkdir -p "$$dir/$$(dirname "$$file")"; done
	TCL_GENERATE_DIR=$$dir cargo check --quiet --features generate
	for file in $(generated); do
	    diff -u "$$file" "$$dir/$$file" || { echo "$$file: run 'make generate'" >&2; exit 1; }
	done
	$(scripts)/abi.sh check

.PHONY: readme check-readme
readme check-readme:
	@$(scripts)/deps.sh docs
	$(locked) $(scripts)/readme.sh $(if $(filter check-readme,$@),--check)

.PHONY: clean
clean:
	rm -rf build target
