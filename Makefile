# Lectern's make targets; `make help` lists them.

GO      ?= go
# The tags of emit and wire, which are modules of their own, have their directory in front.
VERSION ?= $(shell git describe --tags --match 'v[0-9]*' --always --dirty 2>/dev/null || echo unknown)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
# In the commands below "work" is every package of the modules in go.work; "./..." would leave emit and wire out.
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-21s %s\n", $$1, $$2}'

# One list of what a machine needs, of which these two and the tests speak.
REQUIREMENTS := GO='$(GO)' DOCKER='$(DOCKER)' COMPOSE='$(COMPOSE)' KUBECTL='$(KUBECTL)' .ci/requirements

.PHONY: init
init: ## install what "make requirements" misses: Debian's packages, as root, and where the rest comes from
	@$(REQUIREMENTS) install

.PHONY: setup
setup: ## fetch the modules and build the tools
	$(GO) list -deps -test work >/dev/null
	cd kube/test && $(GO) list -deps -test ./... >/dev/null
	@$(GO) tool -n staticcheck >/dev/null && $(GO) tool -n govulncheck >/dev/null

.PHONY: requirements
requirements: ## say what is here and what is not
	@$(REQUIREMENTS) show

.PHONY: build
build: ## build bin/lectern, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/lectern ./cmd/lectern

# In the first minutes nobody wants to wait for a minute to be over.
.PHONY: run
run: export LECTERN_WINDOW_FLUSH_INTERVAL ?= 1s
run: build ## run the daemon on 127.0.0.1:8420 with the Parquet store in data/, storing each second
	@echo 'Rows are stored every $(LECTERN_WINDOW_FLUSH_INTERVAL) here (LECTERN_WINDOW_FLUSH_INTERVAL), so that you see them soon; by default once a minute.'
	./bin/lectern serve

.PHONY: run-edge
run-edge: export LECTERN_EDGE_DEMO ?= true
run-edge: build ## run an edge for browsers on 127.0.0.1:8480, with a page to read there, beside "make run"
	./bin/lectern edge

.PHONY: run-clickhouse
run-clickhouse: build ## the same on a ClickHouse that is there (LECTERN_CLICKHOUSE_ADDRESS, …_USER, …_PASSWORD)
	./bin/lectern schema --apply
	LECTERN_STORAGE_DRIVER=clickhouse ./bin/lectern serve

# Lectern with ClickHouse, Prometheus and Grafana by compose.yml; STORE=parquet is Lectern alone.
COMPOSE ?= docker compose
STORE   ?= clickhouse

# Passwords and a token for this machine alone. The containers' users read them, so the directory keeps others out.
SECRETS := data/secrets/clickhouse-password data/secrets/grafana-password data/secrets/ops-token
$(SECRETS):
	@mkdir -p data/secrets && chmod 700 data/secrets
	@od -An -N16 -tx1 /dev/urandom | tr -d ' \n' > $@ && chmod 444 $@

.PHONY: up
up: image-here $(SECRETS) ## start Lectern, ClickHouse, Prometheus and Grafana in containers; the image is built where there is none
	STORE=$(STORE) IMAGE=$(IMAGE) $(COMPOSE) up -d $(if $(filter parquet,$(STORE)),--no-deps lectern)

.PHONY: image-here
image-here:
	@if v=$$($(DOCKER) image inspect --format '{{index .Config.Labels "org.opencontainers.image.version"}}' $(IMAGE):dev 2>/dev/null); then \
		echo "$(IMAGE):dev is here, of version $$v; \"make image\" builds it anew"; else $(MAKE) image; fi

.PHONY: down
down: ## stop them; their data stays in volumes
	IMAGE=$(IMAGE) $(COMPOSE) down

# Nothing outside the tree and the caches is changed by it, unless CI=true.
.PHONY: test
test: needed format vet staticcheck vulnerabilities clickhouse-engine test-kube ## all checks and tests, with the race detector (13 min on two cores)
	$(GO) test -race -shuffle=on -timeout 20m work
	$(GO) test -count=1 -run '^TestSystem$$' ./collector # a million steps and more: seconds without the race detector

# Where the engine cannot be had, the tests that need it say that they did not
# run; with CI=true that is a failure.
.PHONY: clickhouse-engine
clickhouse-engine: ## fetch the ClickHouse engine that tests start (180 MB, once, with npm)
	@CGO_ENABLED=0 $(GO) run ./storage/clickhouse/clickhousetest/engine fetch || \
	{ echo "NOT RUN: the tests that need ClickHouse, for want of its engine"; [ "$$CI" != true ]; }

# What is missing, and what brings it; the tests that want it say that they did
# not run.
.PHONY: needed
needed:
	@$(REQUIREMENTS) for test

# What takes its time: simulations, kills, faults of every byte and call, whole
# programs under load. Without its engine the tests on ClickHouse do not run.
LONG := ^Test(System|Simulation|Crash|ClientCrash|Kill|Memory|Lossy|Outage|Handover|BadInput|Fault|AccessLog|DiskFull|EveryByte|AgainstMaps|.*FailingDisk|Daemons|Wait|Older|Bench|ReaderDuring|OddFooters|Queue|TwoPlaces|Release|.*ClickHouse)

.PHONY: check
check: format ## vet, format and the quick tests, without the race detector: for the minute before a commit
	$(GO) vet work
	CI= LECTERN_TEST_CLICKHOUSE_ENGINE=/nonexistent $(GO) test -short -skip '$(LONG)' $$($(GO) list work | grep -v /storage/clickhouse)

.PHONY: format
format: # fails where gofmt would change something
	@files=$$(gofmt -l $$(git ls-files '*.go' 2>/dev/null || find . -name '*.go')); \
	if [ -n "$$files" ]; then echo "gofmt would change: $$files"; exit 1; fi

.PHONY: vet
vet:
	$(GO) vet work
	GOOS=darwin $(GO) vet work

# With replacements for the while: go mod tidy does not read go.work. With -e for the first module: its tests import
# clickhousetest, to which go.work alone leads, since the program's go.mod would have all that an engine needs if it were required
# there or replaced. Without -e tidy ends at that import and changes nothing. What else -e passes over, an import that no module
# has, does not build.
.PHONY: tidy
tidy: ## go mod tidy of every module; of the first one it says that it finds no clickhousetest
	cd emit && $(GO) mod edit -replace github.com/lectern/lectern/wire=../wire && $(GO) mod tidy; \
		code=$$?; $(GO) mod edit -dropreplace github.com/lectern/lectern/wire; exit $$code
	$(GO) mod edit -replace github.com/lectern/lectern/emit=./emit -replace github.com/lectern/lectern/wire=./wire && $(GO) mod tidy -e; \
		code=$$?; $(GO) mod edit -dropreplace github.com/lectern/lectern/emit -dropreplace github.com/lectern/lectern/wire; exit $$code
	cd wire && $(GO) mod tidy
	cd storage/clickhouse/clickhousetest && $(GO) mod tidy
	cd kube/test && $(GO) mod tidy
	cd clients/caddy && GOWORK=off $(GO) mod tidy

.PHONY: staticcheck
staticcheck:
	$(GO) tool staticcheck work

# Exit code 3 says that something is vulnerable; 1 that the check could not be
# made, which is no failure of ours where its database cannot be reached.
.PHONY: vulnerabilities
vulnerabilities:
	@out=$$($(GO) tool govulncheck work 2>&1); code=$$?; \
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

.PHONY: bench-ingest
bench-ingest: ## what a datagram and an event cost in CPU, beside a bare recvmmsg loop and a bare gnet handler (3 min)
	LECTERN_BENCH_INGEST=$${ROUNDS:-15} $(GO) test -count=1 -v -timeout 30m -run '^TestBenchIngest$$' ./collector

.PHONY: test-edge
test-edge: ## an edge with 20,000 open connections: its memory stays where lectern check says; the collector away for ten minutes (12 min)
	LECTERN_TEST_EDGE_CONNECTIONS=$${CONNECTIONS:-20000} LECTERN_TEST_EDGE_AWAY=$${AWAY:-10m} \
		$(GO) test -count=1 -v -timeout 40m -run '^TestEdge(Connections|CollectorAway)$$' ./cmd/lectern

.PHONY: bench-edge
bench-edge: ## what a beacon costs an edge, beside a plain net/http handler, in turns (1 min)
	LECTERN_TEST_BENCH_EDGE=$${SECONDS_EACH:-10} $(GO) test -count=1 -v -timeout 10m -run '^TestBenchEdge$$' ./cmd/lectern

# By line: ONLY="udp into parquet"; with settings: FLUSH=1m,10s,1s.
.PHONY: bench-million
bench-million: clickhouse-engine ## a million readers at once, into Parquet and ClickHouse, beside an earlier build and a plain program (50 min)
	LECTERN_BENCH_MILLION=$${SECONDS_EACH:-120} LECTERN_BENCH_READERS=$${READERS:-1000000} LECTERN_BENCH_ONLY=$$ONLY LECTERN_BENCH_FLUSH=$$FLUSH \
		$(GO) test -count=1 -v -timeout 120m -run '^TestBenchMillion$$' ./cmd/lectern

# ROWS, and DIR where they are kept; ONLY="Most read" for some questions, by title.
.PHONY: bench-questions
bench-questions: clickhouse-engine ## a table of 500 million rows, made once and kept, asked every question of the dashboards and of docs/QUERIES.md (2 h, later 40 min)
	LECTERN_BENCH_QUESTIONS=$${ROWS:-500000000} LECTERN_BENCH_DIR=$$DIR LECTERN_BENCH_ONLY=$$ONLY LECTERN_BENCH_LIMIT=$$LIMIT \
		$(GO) test -count=1 -v -timeout 12h -run '^TestBenchQuestions$$' ./storage/clickhouse

.PHONY: bench-forms
bench-forms: clickhouse-engine ## what other codecs, sort keys and granules of the table would cost and save (20 min)
	LECTERN_BENCH_FORMS=$${ROWS:-20000000} $(GO) test -count=1 -v -timeout 4h -run '^TestBenchForms$$' ./storage/clickhouse

.PHONY: bench-now
bench-now: ## a million readers at once: how long /now.json takes, what part of the daemon's CPU it is, exact against the sender's count (3 min)
	LECTERN_BENCH_NOW=$${SECONDS_EACH:-90} LECTERN_BENCH_READERS=$${READERS:-1000000} \
		$(GO) test -count=1 -v -timeout 20m -run '^TestBenchNow$$' ./cmd/lectern

.PHONY: test-load
test-load: ## ten million events over TCP and as many over UDP, exact (2 min)
	LECTERN_TEST_EVENTS=10000000 $(GO) test -count=1 -v -timeout 30m -run TestCrowdIsExact ./cmd/lectern

.PHONY: test-outage
test-outage: ## ClickHouse away for ten minutes at 100,000 events a second (13 min)
	LECTERN_TEST_OUTAGE=10m $(GO) test -count=1 -v -timeout 40m -run TestOutage ./cmd/lectern

.PHONY: test-clickhouse-kills
test-clickhouse-kills: ## ClickHouse killed before and after each system call of an insert (3 min)
	LECTERN_TEST_KILLS=all $(GO) test -count=1 -v -timeout 30m -run TestKilledAtEachCall ./storage/clickhouse

.PHONY: test-replicas
test-replicas: ## 10,000 seeds of shards and replicas that die, lag and are dropped, as a model (20 s)
	LECTERN_TEST_SEEDS=10000 $(GO) test -count=1 -v -timeout 30m -run '^TestSimulationWithReplicas$$' ./storage/clickhouse

.PHONY: test-flood
test-flood: ## forged frames, and strangers with made-up sources, numbers and contents, for a minute each, beside honest clients; memory as lectern check says (4 min)
	LECTERN_TEST_FLOOD=60 $(GO) test -count=1 -v -timeout 10m -run 'FloodHurtsNobody$$|^TestFloodStays' ./collector ./cmd/lectern

.PHONY: test-crash
test-crash: ## daemon and client killed at 240 system calls each; a full disk (4 min)
	LECTERN_TEST_CRASH_POINTS=240 $(GO) test -count=1 -v -timeout 60m -run 'TestCrashPoints|TestClientCrashPoints|TestDiskFull' ./cmd/lectern

# By language: ONLY="c python". What cannot be done for want of a language says NOT RUN.
.PHONY: test-clients
test-clients: ## the clients of all languages: their tests, the dialogues, an access log and a storm of forks to a daemon (10 min)
	@$(REQUIREMENTS) for clients
	LECTERN_TEST_CLIENTS="$${ONLY:-all}" $(GO) test -count=1 -v -timeout 30m -run '^TestClients(Relay)?$$' ./cmd/lectern

# PICTURES=DIR keeps a picture of each view.
.PHONY: test-page
test-page: ## the daemon's page in a browser: light and dark, a telephone and a wide screen, axe, names that are markup, daemons that are killed (1 min)
	@$(REQUIREMENTS) for page
	@cd cmd/lectern/internal/page/browser && { ./test setup && ./test unit; } || { [ $$? = 77 ] && [ "$$CI" != true ]; }

.PHONY: test-conform
test-conform: ## each of 33 ways to break a client is noticed by lectern conform; make test has six of them (2 min)
	LECTERN_TEST_MISTAKES=all $(GO) test -count=1 -v -timeout 30m -run '^TestConformNoticesMistakes' ./cmd/lectern

.PHONY: test-caddy
test-caddy: ## the module of Caddy: its tests, and a thousand requests through a Caddy that has it (2 min, the first time 10)
	cd clients/caddy && GOWORK=off $(GO) vet ./... && GOWORK=off $(GO) test -count=1 ./... && GOWORK=off $(GO) build -o ../../bin/caddy ./caddy
	LECTERN_TEST_CADDY=$(CURDIR)/bin/caddy $(GO) test -count=1 -v -run '^TestProxies$$/^caddy$$' ./cmd/lectern

.PHONY: bench-clients
bench-clients: ## events a second of each client, beside a plain statsd client in its language
	LECTERN_BENCH_CLIENTS="$${ONLY:-all}" $(GO) test -count=1 -v -timeout 30m -run '^TestBenchClients$$' ./cmd/lectern

.PHONY: test-kill
test-kill: ## ten minutes of kill -9 at random, of daemon and clients under load
	LECTERN_TEST_KILL_SECONDS=600 $(GO) test -count=1 -v -timeout 30m -run TestKilledAtRandom ./cmd/lectern

.PHONY: test-forget
test-forget: clickhouse-engine ## a reader is forgotten under load, command, daemon and ClickHouse killed 20 times each way (3 min)
	LECTERN_TEST_FORGETS=20 $(GO) test -count=1 -v -timeout 30m -run TestForgetKilled ./cmd/lectern

.PHONY: test-mutants
test-mutants: ## each deliberate mistake of mutants/ makes its test fail (10 min)
	GO=$(GO) mutants/run

.PHONY: fuzz
fuzz: ## any bytes, events to bytes and back, and names, 5 minutes each
	$(GO) test -run '^$$' -fuzz '^FuzzDecode$$' -fuzztime 5m ./wire
	$(GO) test -run '^$$' -fuzz '^FuzzRoundTrip$$' -fuzztime 5m ./wire
	$(GO) test -run '^$$' -fuzz '^FuzzNames$$' -fuzztime 5m ./wire

# What is published of a version: the commit's own time is that of every file, and the tag has to be there, so that nobody
# publishes what the repository does not have. The manifests name the version, too.
.PHONY: release
release: ## archives, bills of materials and checksums of the tag on this commit, in dist/: the same bytes each time
	@case "$(VERSION)" in v[0-9]*.*.*-dirty|v[0-9]*-g*) echo "$(VERSION) is no version: tag a commit (git tag -s v1.2.3) and have nothing changed"; exit 1 ;; esac
	@for tag in $(VERSION) emit/$(VERSION) wire/$(VERSION); do \
		git tag --points-at HEAD | grep -qxF $$tag && git diff --quiet HEAD || \
		{ echo "this commit is not $$tag: tag it (git tag -s $$tag), and have nothing changed"; exit 1; }; done
	@for module in go.mod go.work emit/go.mod; do \
		! grep -E 'lectern/(emit|wire) v' $$module | grep -vqE ' $(VERSION)( |$$)' || \
		{ echo "$$module names another version of emit or wire than $(VERSION)"; exit 1; }; done
	@grep -q 'newTag: $(VERSION)$$' kube/overlays/eks/kustomization.yaml && grep -q '?ref=$(VERSION)$$' docs/DEPLOY-EKS.md || \
		{ echo "kube/overlays/eks/kustomization.yaml (newTag) or docs/DEPLOY-EKS.md (?ref=) names another version than $(VERSION)"; exit 1; }
	$(GO) run ./packaging/release -version $(VERSION) -time $$(git log -1 --format=%ct) -out dist
	@cd dist && sha256sum --check --quiet SHA256SUMS && ls -l

.PHONY: test-release
test-release: ## build a release twice, in two directories by two caches: the same bytes (4 min)
	LECTERN_TEST_RELEASE=twice $(GO) test -count=1 -v -timeout 30m -run TestReleaseIsReproducible ./packaging/release

# The image. IMAGE is its name, with the registry in front where it is pushed. What is built for this machine alone is
# lectern:dev too, which never leaves it; no tag of a registry ever moves.
DOCKER   ?= docker
IMAGE    ?= lectern
PLATFORM ?= linux/$(shell $(GO) env GOARCH)

.PHONY: image
image: ## build the image, tagged with the version and as dev
	DOCKER_BUILDKIT=1 BUILDX_NO_DEFAULT_ATTESTATIONS=1 $(DOCKER) build --platform $(PLATFORM) \
		--build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) -t $(IMAGE):$(VERSION) -t $(IMAGE):dev .

.PHONY: push
push: ## build for amd64 and arm64, push both to IMAGE as one image of this version, and print its digest
	@case "$(IMAGE)" in */*) ;; *) echo "say where to: make push IMAGE=REGISTRY/lectern"; exit 1 ;; esac
	for arch in amd64 arm64; do \
		$(MAKE) image PLATFORM=linux/$$arch IMAGE=$(IMAGE) VERSION=$(VERSION) COMMIT=$(COMMIT) && \
		$(DOCKER) tag $(IMAGE):$(VERSION) $(IMAGE):$(VERSION)-$$arch && \
		$(DOCKER) push $(IMAGE):$(VERSION)-$$arch || exit 1; done
	@$(DOCKER) manifest rm $(IMAGE):$(VERSION) 2>/dev/null || true
	$(DOCKER) manifest create $(MANIFEST_FLAGS) $(IMAGE):$(VERSION) $(IMAGE):$(VERSION)-amd64 $(IMAGE):$(VERSION)-arm64
	$(DOCKER) manifest push $(MANIFEST_FLAGS) --purge $(IMAGE):$(VERSION)

# The cluster that kubectl's context names. docs/DEPLOY-EKS.md goes through it.
KUBECTL ?= kubectl
OVERLAY ?= local

.PHONY: deploy
deploy: ## show what would change in the cluster, then apply kube/overlays/OVERLAY
	@if $(KUBECTL) get namespace lectern >/dev/null 2>&1; then \
		$(KUBECTL) diff -k kube/overlays/$(OVERLAY) || [ $$? = 1 ]; fi # without its namespace a diff fails
	$(KUBECTL) -n lectern delete job lectern-schema --ignore-not-found # a Job cannot be changed
	$(KUBECTL) apply -k kube/overlays/$(OVERLAY)
	$(KUBECTL) -n lectern rollout status daemonset/lectern --timeout 30m
	@if $(KUBECTL) -n lectern get job lectern-schema >/dev/null 2>&1; then \
		$(KUBECTL) -n lectern wait --for=condition=complete job/lectern-schema --timeout 10m; fi

.PHONY: rollout
rollout: ## restart the collectors one node after the other, as they are
	$(KUBECTL) -n lectern rollout restart daemonset/lectern
	$(KUBECTL) -n lectern rollout status daemonset/lectern --timeout 30m

.PHONY: kompose
kompose: $(SECRETS) bin/kompose ## a first draft of manifests from compose.yml, in kompose/
	rm -rf kompose && mkdir kompose
	IMAGE=$(IMAGE) STORE=$(STORE) bin/kompose convert -f compose.yml -o kompose/

# Its module has a replacement, so that "go install" refuses it.
bin/kompose:
	d=$$(mktemp -d) && cd $$d && $(GO) mod init kompose && \
	$(GO) mod edit -require github.com/kubernetes/kompose@v1.38.0 \
		-replace github.com/openshift/api@v3.9.0+incompatible=github.com/openshift/api@v0.0.0-20230704153349-abb98ff04d03 && \
	$(GO) get -tool github.com/kubernetes/kompose@v1.38.0 && \
	$(GO) build -o $(CURDIR)/bin/kompose github.com/kubernetes/kompose; code=$$?; rm -rf $$d; exit $$code

.PHONY: test-kube
test-kube: ## manifests, alerts, dashboards and compose.yml, a part of test (20 s)
	cd kube/test && $(GO) vet ./... && $$(cd ../.. && $(GO) tool -n staticcheck) ./... && $(GO) test .

.PHONY: test-image
test-image: ## build the image for amd64 and arm64 and run it hardened (3 to 7 min)
	@$(REQUIREMENTS) for test-image
	cd kube/test && $(GO) test -count=1 -v -timeout 30m ./image

.PHONY: alerts
alerts: ## make the PrometheusRule of kube/components/podmonitor/alerts.yaml
	@cd kube/components/podmonitor && { \
		printf '%s\n' '# Made of alerts.yaml by "make alerts"; change that.' 'apiVersion: monitoring.coreos.com/v1' 'kind: PrometheusRule' \
			'metadata:' '  name: lectern' '  namespace: lectern' '  labels:' '    app.kubernetes.io/name: lectern' \
			'    # As in podmonitor.yaml.' '    release: kube-prometheus-stack' 'spec:'; \
		sed -n '/^groups:/,$$s/^./  &/p' alerts.yaml; } > prometheusrule.yaml

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
