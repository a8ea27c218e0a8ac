# Each target says what it does; make alone lists them. What is longer than a line is in hack/.
SHELL := /bin/bash
GO ?= go
PREFIX ?= /usr/local
FUZZTIME ?= 60s
# How many tests of a package run at once: most of them wait for a kernel, a client or a time.
PARALLEL ?= $(shell expr 2 \* $$(nproc))
ASSETS := cmd/sekexe/assets
LDFLAGS := -s -w

.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

build: init ## build bin/sekexe, static, with the programs that it embeds
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags="$(LDFLAGS)" -o bin/sekexe ./cmd/sekexe

init: ## build the programs that sekexe embeds: the guest's init, the maker of images, and the keeper of Docker daemons
	GO=$(GO) hack/build-init $(ASSETS)/sekexe-init
	@for p in sekexe-image sekexe-docker; do \
		echo "go build $$p"; \
		CGO_ENABLED=0 $(GO) build -trimpath -ldflags="$(LDFLAGS)" -o $(ASSETS)/$$p ./cmd/$$p && sha256sum $(ASSETS)/$$p | cut -d' ' -f1 >$(ASSETS)/$$p.sha256 || exit; \
	done

install: build ## install sekexe below PREFIX, /usr/local by default
	install -D -m 0755 bin/sekexe $(DESTDIR)$(PREFIX)/bin/sekexe

prerequisites: ## install what is missing to boot sub-kernels, by apt
	hack/prerequisites

test-prerequisites: ## install what is missing for the tests, by apt
	hack/prerequisites test

kernel: build ## build a kernel of our own from Debian's newest source: minutes, once
	bin/sekexe kernel build --debian sid --install-deps

demo: prerequisites build ## boot the sub-kernels of sekexe.hcl.example
	bin/sekexe up -f sekexe.hcl.example

test: test-prerequisites build lint ## run every test: lint, unit with -race, fuzz seeds, integration on real kernels
	GORACE=atexit_sleep_ms=0 $(GO) test -race -parallel $(PARALLEL) -timeout 40m ./...
	GO=$(GO) PARALLEL=$(PARALLEL) hack/test-kernels

lint: init ## gofmt, vet, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt would change:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

bench: build ## measure sekexe against its floor: see bench/README.md
	$(GO) run ./bench

fuzz: init ## fuzz every parser for FUZZTIME each
	hack/fuzz $(FUZZTIME)

clean: ## remove what was built
	rm -rf bin $(ASSETS)/sekexe-*

.PHONY: help build kernel init install prerequisites test-prerequisites demo test lint bench fuzz clean
