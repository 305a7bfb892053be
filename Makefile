# Lectern's make targets; `make help` lists them.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

.PHONY: build
build: ## build bin/lectern, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/lectern ./cmd/lectern

.PHONY: run
run: build ## run the daemon on 127.0.0.1:8420 with the Parquet store in data/
	./bin/lectern serve

.PHONY: run-clickhouse
run-clickhouse: build ## the same on a ClickHouse that is there (LECTERN_CLICKHOUSE_ADDRESS, …_USER, …_PASSWORD)
	./bin/lectern schema --apply
	LECTERN_STORAGE_DRIVER=clickhouse ./bin/lectern serve

.PHONY: test
test: format vet staticcheck vulnerabilities clickhouse-engine ## all checks and tests, with the race detector
	$(GO) test -race -shuffle=on -timeout 20m ./...
	$(GO) test -count=1 -run '^TestSystem$$' ./collector # a million steps and more: seconds without the race detector

# Where the engine cannot be had, the tests that need it say that they did not
# run; with CI=true that is a failure.
.PHONY: clickhouse-engine
clickhouse-engine: ## fetch the ClickHouse engine that tests start (180 MB, once, with npm)
	@CGO_ENABLED=0 $(GO) run ./storage/clickhouse/clickhousetest/engine fetch || \
	{ echo "NOT RUN: the tests that need ClickHouse, for want of its engine"; [ "$$CI" != true ]; }

.PHONY: format
format: # fails where gofmt would change something
	@files=$$(gofmt -l $$(git ls-files '*.go' 2>/dev/null || find . -name '*.go')); \
	if [ -n "$$files" ]; then echo "gofmt would change: $$files"; exit 1; fi

.PHONY: vet
vet:
	$(GO) vet ./...
	GOOS=darwin $(GO) vet ./collector ./wire ./emit ./storage

.PHONY: staticcheck
staticcheck:
	$(GO) tool staticcheck ./...

# Exit code 3 says that something is vulnerable; 1 that the check could not be
# made, which is no failure of ours where its database cannot be reached.
.PHONY: vulnerabilities
vulnerabilities:
	@out=$$($(GO) tool govulncheck ./... 2>&1); code=$$?; \
	if [ $$code = 0 ]; then echo "govulncheck: nothing found"; \
	elif [ $$code = 1 ] && echo "$$out" | grep -qE 'vuln\.go\.dev|fetching vulnerabilities'; then \
		echo "govulncheck: NOT RUN, its database cannot be reached"; \
	else echo "$$out"; exit $$code; fi

.PHONY: bench
bench: ## decode and count, beside a plain Go map; blocks into Parquet and ClickHouse (5 min)
	$(GO) test -run '^$$' -bench . -benchmem ./wire ./emit ./collector ./storage/...

.PHONY: test-handover
test-handover: ## one daemon follows another under load, ten times each way (2 min)
	LECTERN_TEST_HANDOVERS=10 $(GO) test -count=1 -v -timeout 20m -run TestHandover ./cmd/lectern

.PHONY: test-load
test-load: ## ten million events over TCP and as many over UDP, exact (3 min)
	LECTERN_TEST_EVENTS=10000000 $(GO) test -count=1 -v -timeout 30m -run TestCrowdIsExact ./cmd/lectern

.PHONY: test-outage
test-outage: ## ClickHouse away for ten minutes at 100,000 events a second (15 min)
	LECTERN_TEST_OUTAGE=10m $(GO) test -count=1 -v -timeout 40m -run TestOutage ./cmd/lectern

.PHONY: test-clickhouse-kills
test-clickhouse-kills: ## ClickHouse killed before and after each system call of an insert (5 min)
	LECTERN_TEST_KILLS=all $(GO) test -count=1 -v -timeout 30m -run TestKilledAtEachCall ./storage/clickhouse

.PHONY: test-crash
test-crash: ## daemon and client killed at 240 system calls each; a full disk (7 min)
	LECTERN_TEST_CRASH_POINTS=240 $(GO) test -count=1 -v -timeout 60m -run 'TestCrashPoints|TestClientCrashPoints|TestDiskFull' ./cmd/lectern

.PHONY: test-kill
test-kill: ## ten minutes of kill -9 at random, of daemon and clients under load
	LECTERN_TEST_KILL_SECONDS=600 $(GO) test -count=1 -v -timeout 30m -run TestKilledAtRandom ./cmd/lectern

.PHONY: test-mutants
test-mutants: ## each deliberate mistake of mutants/ makes its test fail (10 min)
	GO=$(GO) mutants/run

.PHONY: fuzz
fuzz: ## any bytes, and events to bytes and back, 5 minutes each
	$(GO) test -run '^$$' -fuzz '^FuzzDecode$$' -fuzztime 5m ./wire
	$(GO) test -run '^$$' -fuzz '^FuzzRoundTrip$$' -fuzztime 5m ./wire

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
