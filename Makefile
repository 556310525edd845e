# Bellwether: `make run` for the demo, `make test` for the tests.
.PHONY: run build plugins web test test-guests test-servers bench setup setup-test clean help

CARGO ?= cargo

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup:
	@.ci/setup.sh

setup-test:
	@.ci/setup.sh test

plugins: setup ## Build the first-party plugins (WebAssembly components)
	plugins/build.sh

web/node_modules/.package-lock.json: web/package-lock.json
	npm --prefix web ci --no-audit --no-fund

web: setup web/node_modules/.package-lock.json ## Build the web UI
	npm --prefix web run build

build: plugins web ## One self-contained target/release/bellwether
	$(CARGO) build --release

run: build ## Build everything and start the demo
	target/release/bellwether demo

test: setup-test build ## Every test
	.ci/test.sh

test-guests: build ## The plugin templates of all languages, built and run
	plugins/test-guests.sh

test-servers: build ## The probes against real servers
	plugins/test-servers.sh

bench: build ## Figures, each with its baseline in the same run
	$(CARGO) bench --profile release --bench host --bench store --bench rules --bench http --bench engine

clean: ## Remove what was built
	$(CARGO) clean
	rm -rf plugins/target plugins/dist web/dist web/node_modules
