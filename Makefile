# Every target sets up by itself what it needs. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test test-long bench lint install uninstall
# Of install and uninstall; see there.
export PREFIX SYSCONFDIR DESTDIR BINARY

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## One node from nothing: build, apply, watch a repair and an update, clean up (minutes)
	@examples/demo.sh

test: ## All tests, with a Docker engine of their own in a network namespace (root; installs packages)
	@tests/setup/lab.sh test

test-long: ## The same tests with ten times the counts
	@CONSTELLATION_TEST_LONG=1 tests/setup/lab.sh test

bench: ## Store beside etcd, queue, 30 replicas beside raw Docker calls, idle footprint (root)
	@tests/setup/bench.sh

install: ## Program, systemd unit, configuration, completions, manual (root; PREFIX, DESTDIR, BINARY=one that is built)
	@tests/setup/install.sh install

uninstall: ## Takes them away again; configuration and data stay
	@tests/setup/install.sh uninstall

lint: ## Format, clippy, licences and sources of dependencies, shell syntax
	@tests/setup/lint.sh
