# chorusd's tasks; `make help` lists them. What a task needs it installs, into
# this folder and the user's cache; what it cannot install it names.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

GOLANGCI_VERSION := v2.15.0
GOVULNCHECK_VERSION := v1.9.0

TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/chorusd/bin
GOLANGCI := $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)/golangci-lint
GOVULNCHECK := $(TOOLS)/govulncheck-$(GOVULNCHECK_VERSION)/govulncheck

VERSION = $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
DEMO := examples/demo
NODE_MODULES := $(DEMO)/node_modules/.package-lock.json
PAGE := $(DEMO)/dist/index.html
PAGE_SOURCES := $(wildcard $(DEMO)/*.html $(DEMO)/*.ts $(DEMO)/*.json $(DEMO)/public/* $(DEMO)/src/* $(DEMO)/src/*/*)

# How many tries test-full gives each fuzz target: with a time in place of a
# count, Go 1.26 fails at its end now and then (go.dev/issue/75804).
FUZZES := 100000x
# How many random transactions test-long makes.
TRANSACTIONS := 1000000
# bench: the figures to run, such as ONLY=latency.p50,latency.p99; empty: all.
ONLY :=

.PHONY: help
help: ## list the tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

## Building

.PHONY: build
build: preflight-go ## build bin/chorusd, without cgo
	@echo "==> bin/chorusd $(VERSION)"
	@CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/chorusd ./cmd/chorusd

.PHONY: cross
cross: preflight-go ## compile for every supported system, without cgo
	@for target in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64; do \
		echo "==> compile for $$target"; \
		CGO_ENABLED=0 GOOS=$${target%/*} GOARCH=$${target#*/} go build -o /dev/null ./cmd/chorusd; \
	done

.PHONY: clean
clean: ## remove what was built or installed in this folder, not the cache
	rm -rf bin $(DEMO)/dist $(DEMO)/node_modules

## Setting up

.PHONY: preflight-go preflight-all preflight-test
preflight-go:
	@tools/preflight.sh git make go
preflight-all:
	@tools/preflight.sh git make go node
preflight-test:
	@tools/preflight.sh git make go node cc

.PHONY: install-tools
install-tools: preflight-go $(GOLANGCI) $(GOVULNCHECK) ## install the linter and govulncheck, pinned, in the user's cache

# The versions are part of the paths, so that a new one is a new file.
$(GOLANGCI):
	@echo "==> installing golangci-lint $(GOLANGCI_VERSION), some minutes the first time"
	@GOBIN=$(@D) CGO_ENABLED=0 go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

$(GOVULNCHECK):
	@echo "==> installing govulncheck $(GOVULNCHECK_VERSION)"
	@GOBIN=$(@D) CGO_ENABLED=0 go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)

# npm writes this file at the end of a complete install.
$(NODE_MODULES): $(DEMO)/package.json $(DEMO)/package-lock.json
	@echo "==> installing the demo's packages"
	@cd $(DEMO) && npm ci --no-audit --no-fund
	@touch $@

$(PAGE): $(NODE_MODULES) $(PAGE_SOURCES)
	@echo "==> building the demo's page"
	@cd $(DEMO) && npm run --silent build

.PHONY: modules
modules: preflight-go
	@echo "==> Go modules"
	@go mod download

.PHONY: setup
setup: preflight-test modules $(NODE_MODULES) $(PAGE) ## install the servers and the browser that the tests use
	@echo "==> servers and browser"
	@go run ./tools/services/cmd install

## Checking

.PHONY: check
check: preflight-all lint mod-tidy generated lockfiles cross check-demo ## lint, formatting, generated files, builds
	@echo "==> check passed"

.PHONY: lint
lint: preflight-go $(GOLANGCI)
	@echo "==> golangci-lint, and formatting"
	@$(GOLANGCI) run ./...
	@echo "==> go vet"
	@go vet ./...

.PHONY: format
format: preflight-all $(GOLANGCI) $(NODE_MODULES) ## format the Go and the TypeScript code
	@$(GOLANGCI) fmt ./...
	@cd $(DEMO) && npm run --silent format

.PHONY: mod-tidy
mod-tidy: preflight-go
	@echo "==> go.mod"
	@go mod tidy -diff

.PHONY: generated
generated: preflight-go
	@echo "==> generated files"
	@tools/generated.sh

# A lock file that names a registry makes npm ask that one, whatever the
# machine is set up to use.
.PHONY: lockfiles
lockfiles:
	@echo "==> lock files"
	@if git ls-files --cached --others --exclude-standard '*package-lock.json' | xargs grep -Hn '"resolved": "http'; then \
		echo "run npm install --omit-lockfile-registry-resolved there" >&2; exit 1; \
	fi

.PHONY: check-demo
check-demo: preflight-all $(NODE_MODULES)
	@echo "==> the demo's TypeScript"
	@cd $(DEMO) && npm run --silent check

.PHONY: vuln
vuln: preflight-go $(GOVULNCHECK) ## look for known vulnerabilities, where the database can be reached
	@tools/vuln.sh $(GOVULNCHECK)

## Testing

.PHONY: test
test: setup ## install what is missing and run all tests, on real servers and in a browser
	@echo "==> Go tests"
	@go test -race -timeout 20m ./...
	@echo "==> TypeScript and browser tests"
	@cd $(DEMO) && npm test
	@echo "==> test passed"

# TEST_FULL widens what tests go through: more servers, rows and repetitions.
# No test is skipped without it. The name does not begin with CHORUSD_, since
# chorusd refuses variables of that kind which it does not know.
.PHONY: test-full
test-full: export TEST_FULL := 1
test-full: setup ## the same with the longer runs, and fuzzing
	@go run ./tools/services/cmd install percona-toolkit
	@echo "==> Go tests, all"
	@go test -race -count=1 -timeout 120m ./...
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "==> $$target in $$package, $(FUZZES)"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZES) $$package; \
		done; \
	done
	@echo "==> TypeScript and browser tests"
	@cd $(DEMO) && npm test
	@echo "==> test-full passed"

# Without -race, which makes chorusd several times slower; test-full has it. It
# ends with what it has gone through.
.PHONY: test-long
test-long: setup ## judge who sees what in random worlds, for TRANSACTIONS=1000000
	@echo "==> $(TRANSACTIONS) random transactions"
	@TEST_ORACLE_TRANSACTIONS=$(TRANSACTIONS) go test -v -count=1 -timeout 24h -run '^TestWhoSeesWhat$$' ./cmd/chorusd
	@echo "==> test-long passed"

.PHONY: bench
bench: setup ## measure: one line per figure, only some with ONLY=name,name
	@go run ./tools/bench -only '$(ONLY)'

## Trying out

.PHONY: demo
demo: preflight-all modules $(PAGE) demo-servers ## the main job live, on a page whose address it prints
	@go build -o bin/demo ./$(DEMO)
	@exec bin/demo # not `go run`, which keeps a SIGTERM to itself

# The demo takes the machine's own MySQL or MariaDB and Redis where there are
# some; what it lacks is installed into the user's cache.
.PHONY: demo-servers
demo-servers: modules
	@echo "==> servers"
	@export PATH="$$PATH:/usr/sbin"; kinds=soketi; \
	command -v mysqld mariadbd >/dev/null || kinds+=' mysql'; \
	command -v redis-server >/dev/null || kinds+=' redis'; \
	go run ./tools/services/cmd install $$kinds

.PHONY: smoke
smoke: setup ## run the demo once in a headless browser and say what was seen
	@cd $(DEMO) && npm run --silent smoke
