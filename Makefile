# The commands that people and CI use. Each installs what it needs and is missing; all work as root without a service manager,
# and offline but for the package registries.

SHELL := /bin/bash
export PATH := $(PATH):/usr/sbin:/sbin
CARGO ?= cargo

.PHONY: help up test test-unit test-e2e test-kubernetes bench lint

help:
	@echo 'make up      build and run a one-node cluster in the foreground; ARGS="--data-dir D" are passed to `orlop up`;'
	@echo '             ARGS="--runtime docker" after scripts/dockerd-start for the Docker Engine'
	@echo 'make test    everything: lint, unit tests, suites against real etcd and Docker, end-to-end tests with real kubectl'
	@echo 'make test-kubernetes   the real kube-scheduler and kube-controller-manager on our API server; the first time they are built (minutes)'
	@echo 'make bench   print the benchmark tables, with the real Kubernetes (built from Debian'"'"'s source, some minutes, once) in the same run;'
	@echo '             ARGS="--server URL --kubeconfig F" benches another API server'
	@echo 'make lint    formatting, clippy, the tidy test'

up:
	@scripts/install build run
	@$(CARGO) build --release --locked --quiet -p orlop-cli -p orlop-shim
	@scripts/example-images
	@exec target/release/orlop up --load-images target/images $(ARGS)

lint:
	@scripts/install build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked --quiet -- -D warnings

# dockerd and containerd run as our own processes, and are stopped by their process ids whatever the tests say.
test: lint
	@scripts/install build run docker cri cni test
	@scripts/dockerd-start
	@trap 'scripts/dockerd-stop; scripts/containerd-stop' EXIT; scripts/test

test-kubernetes:
	@scripts/install build run test
	@scripts/kubernetes
	@$(CARGO) build --workspace --bins --locked --quiet
	@$(CARGO) clippy --workspace --features orlop-e2e/kubernetes --test kubernetes --locked --quiet -- -D warnings
	@$(CARGO) test --workspace --features orlop-e2e/kubernetes --test kubernetes --locked

bench:
	@scripts/install build run docker test
	@scripts/dockerd-start
	@$(CARGO) build --release --locked --quiet --workspace --bins
	@scripts/kubernetes || echo 'Kubernetes cannot be had on this machine: ours is measured by what it did on another' >&2
	@trap scripts/dockerd-stop EXIT; set -- $(ARGS); \
	  [ ! -x target/kubernetes/kube-apiserver ] || set -- --kubernetes target/kubernetes "$$@"; target/release/orlop-bench "$$@"
