# The two that matter on a fresh machine: `make demo` and `make test`.

ARCH    := $(shell uname -m)
TARGET  := $(ARCH)-unknown-linux-gnu
BINARY  := target/$(TARGET)/release/coracle
MAP     := $(CURDIR)/target/$(TARGET)/release/coracle.map

# One file that runs anywhere: no shared library, no interpreter, position independent.
STATIC  := -C target-feature=+crt-static -C relocation-model=pie
# Relative relocations in the packed form take a tenth of the room, and of the time at start.
STATIC  += -C link-arg=-Wl,-z,pack-relative-relocs
# A panic ends the process where it happens, so nothing reads the tables for unwinding: a
# fourteenth of the file.
STATIC  += -C link-arg=-Wl,--no-eh-frame-hdr -C link-arg=-Wl,-T,$(CURDIR)/build/no-unwinding.ld
# What was linked, and why: integration/linked reads it.
STATIC  += -C link-arg=-Wl,-Map=$(MAP)

# Where tests keep images, cases and the binary: an ordinary user must be able to read it, and
# a clone below /root could not be.
export CORACLE_TEST_DIR ?= /var/tmp/coracle-integration-$(shell id -u)
export CORACLE_TARGET_DIR := $(CURDIR)/target

NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)

.PHONY: all help deps release test unit integration compat projects reference demo check fuzz bench clean

all: release

help:
	@echo 'make demo         show what coracle does, on a fresh machine'
	@echo 'make test         install what the tests need and run all of them'
	@echo 'make release      build $(BINARY)'
	@echo 'make unit         tests that need no privileges and no kernel features'
	@echo 'make integration  real containers, as root and as ordinary users'
	@echo 'make compat       the transcripts of integration/compat on podman'
	@echo 'make projects     projects in C, Python, Node and Rust, built, tested and run'
	@echo 'make reference    docs/reference.md, written anew from the commands'
	@echo 'make check        format, lints, licences'
	@echo 'make fuzz         a minute of every fuzz target (SECONDS_EACH=60)'
	@echo 'make bench        coracle beside its peers'

deps:
	@integration/deps test

release:
	@mkdir -p $(dir $(MAP))
	RUSTFLAGS="$(STATIC)" cargo build --locked --release --target $(TARGET) --bin coracle
	@integration/linked $(BINARY) $(MAP)

test: deps unit integration

unit:
ifdef NEXTEST
	cargo nextest run --locked --lib --test '*' -E 'not binary(integration)' --no-fail-fast
else
	cargo test --locked --lib $(patsubst tests/%.rs,--test %,$(wildcard tests/*.rs)) --no-fail-fast
endif

# CASES selects by name: make integration CASES=exit_code
integration: release
	@integration/prepare $(BINARY)
	@integration/run $(CASES)

# What podman does otherwise than Docker, against the list of what it is known to.
compat:
	@integration/deps compat
	@integration/prepare
	@ENGINE=podman integration/run compat::

# Large images are made once.
projects: deps release
	@integration/projects/run $(BINARY)

# tests/reference.rs fails if it is older than the commands.
reference:
	env -i PATH="$$PATH" HOME="$$HOME" cargo run --locked --quiet -- system reference >docs/reference.md.new
	@mv docs/reference.md.new docs/reference.md

demo:
	@integration/demo

# What is found is in fuzz/artifacts. TARGETS chooses: make fuzz TARGETS="unpack manifest"
fuzz:
	@fuzz/run $(TARGETS)

check:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null; then cargo deny check; else echo 'cargo-deny is not installed: licences and advisories were not checked'; fi

bench: release
	@integration/bench $(BINARY)

clean:
	cargo clean
	rm -rf "$(CORACLE_TEST_DIR)"
