# make demo    the whole loop on this machine: bake, boot, break, verify, gate
# make test    format, lints, unit and property tests, the command line, real bakes, real VMs
# make bench   the claims of the README, measured side by side in one run
# make torture ends things at 100 random moments; nothing may be left
# make fuzz    ten minutes for each place where bytes come in from outside

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR
OVENPROOF := $(CARGO_TARGET_DIR)/debug/ovenproof

# Where the demo writes its reports, and where VM tests keep the images that they bake.
OUT := $(CURDIR)/out
OVENPROOF_TEST_HOME ?= $(CARGO_TARGET_DIR)/test-home
export OVENPROOF_TEST_HOME

# To run ovenproof: hypervisor, image tools, sandbox. To build it: a C linker, OpenSSL for libssh2.
# qemu-system-x86 comes first and by itself: on a machine with qemu-utils from backports the two conflict,
# and only this order lets apt settle it.
RUN_PACKAGES := qemu-utils mmdebstrap e2fsprogs erofs-utils cryptsetup-bin dosfstools mtools bubblewrap util-linux uidmap openssh-client
BUILD_PACKAGES := gcc libc6-dev pkg-config libssl-dev
TEST_PACKAGES := libxml2-utils python3-jsonschema python3-venv openssh-server tcpdump wireshark-common iproute2 ovmf postgresql redis-server sqlite3

BENCH_PACKAGES := packer

.PHONY: help demo build test bench torture fuzz fmt lint unit cli moto ec2 ovens vm packages test-packages clean

help:
	@sed -n 's/^# make/make/p' Makefile

# Installs what is missing and says nothing when nothing is.
define install
	@missing=""; for package in $(1); do \
	  [ "$$(dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null)" = installed ] || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	  echo "installing:$$missing"; \
	  $(SUDO) apt-get update -q >/dev/null; \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing >/dev/null; \
	fi
endef

packages:
	$(call install,qemu-system-x86)
	$(call install,$(RUN_PACKAGES) $(BUILD_PACKAGES))
	@command -v cargo >/dev/null || { echo "error: a Rust toolchain is missing; rustup installs one" >&2; exit 4; }

test-packages: packages
	$(call install,$(TEST_PACKAGES))

# Without EC2, whose SDK alone takes minutes to build.
build: packages
	cargo build --quiet --no-default-features

demo: build
	@mkdir -p $(OUT)
	$(SUDO) $(OVENPROOF) gate images/etcd.yaml --scenario scenarios/etcd-*.yaml --channel stable --junit $(OUT)/demo.xml

test: test-packages fmt lint unit cli ec2 ovens vm

fmt:
	cargo fmt --check

lint:
	cargo clippy --quiet --all-targets -- -D warnings

unit:
	cargo test --quiet --lib --bins

cli:
	cargo test --quiet --test cli --test fleets

# An EC2 for tests, in an environment of its own; installed once.
MOTO := $(CARGO_TARGET_DIR)/moto
moto: test-packages
	@[ -x $(MOTO)/bin/moto_server ] || { rm -rf $(MOTO); python3 -m venv $(MOTO); $(MOTO)/bin/pip install --quiet 'moto[ec2,server]==5.2.5'; }

ec2: moto
	cargo test --quiet --test ec2

# One at a time: each is busy with the disk, and some bake what others then reuse.
ovens:
	cargo test --test bake -- --test-threads=1

# A few real machines at a time: two cores without hardware virtualisation are slow at more.
vm:
	cargo test --quiet --test images
	cargo test --quiet --test fleet --test inside
	cargo test --test vm -- --test-threads=1

torture: test-packages
	OVENPROOF_TORTURE=100 cargo test --test vm -- --nocapture torture::

# Needs a nightly toolchain and cargo-fuzz.
fuzz: packages
	for target in $$(cargo +nightly fuzz list); do cargo +nightly fuzz run $$target -- -max_total_time=600; done

# The SDK of EC2 is not built a second time, optimised: that takes minutes and gigabytes.
bench: packages
	$(call install,$(BENCH_PACKAGES))
	cargo bench --no-default-features
	cargo bench --profile dev --bench ec2

clean:
	rm -rf $(OUT)
