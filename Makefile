# Two commands do everything on a fresh machine:
#
#   make run     set up what is missing, then do the main job on the default model
#   make test    set up what is missing, then run the tests
#
# `make help` lists the rest. Every step is re-entrant and quick when nothing changed.

ACCEL    ?= cpu#          cpu, cuda, metal, rpc or vulkan: which archive, and which build tag
PORTABLE ?=#              non-empty: CPU code for any machine of this architecture, not just this one
JOBS     ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
TASK     ?= When does the train leave? Read travel.txt.
WORKDIR  ?= examples/files#   the folder in which `make run` works
BENCH_MODEL ?= $(or $(AGENT_TEST_MODEL),qwen2.5-coder-0.5b-instruct)# a file or a name; scripts/dev-models.sh fetches this one
BENCH_ARGS  ?=#         more arguments for `agentbench agent`

ACCEL    := $(strip $(ACCEL))
LIB      := build/lib/$(ACCEL)
ARCHIVE  := $(LIB)/libagent_llama.a
TOKENIZERS := build/lib/libtokenizers.a
MODEL    := models/SmolLM2-135M-Instruct.Q4_1.gguf
TAGS     := $(if $(filter cpu,$(ACCEL)),,-tags $(ACCEL))

# The archives' hash goes into the binary, so that a changed shim or flag relinks:
# Go's own cache does not look inside the libraries that it links.
build_id = $(shell cat $(LIB)/id 2>/dev/null)
BUILD = -X agent/inference.BuildID=$(build_id)
LDFLAGS = -ldflags "$(BUILD) -X main.version=$(VERSION)"
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

.PHONY: help run test archives native model agent agentbench check test-pure test-native bench bench-agent doctor package clean distclean tools
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  variables: ACCEL=cpu|cuda|metal|rpc|vulkan  PORTABLE=1  JOBS=N  TASK='…' WORKDIR=DIR  BENCH_MODEL=FILE BENCH_ARGS='…'"

tools:
	@scripts/check-tools.sh $(ACCEL)

archives: tools
	@scripts/fetch-llama.sh
	@ACCEL=$(ACCEL) PORTABLE=$(PORTABLE) JOBS=$(JOBS) scripts/build-native.sh
	@scripts/build-tokenizers.sh

model: ## fetch and verify the default model
	@scripts/fetch-model.sh

native: archives ## compile llama.cpp, the shim and the tokenizers; test that they compute here
	@mkdir -p bin
	@go build $(TAGS) $(LDFLAGS) -o bin/agent ./cmd/agent
	@scripts/selftest.sh

agent: native ## build bin/agent
	@echo "agent: bin/agent is up to date ($$(wc -c <bin/agent | awk '{printf "%.0f MB", $$1/1e6}'))"

agentbench: agent ## build bin/agentbench, which measures the agent
	@go build $(TAGS) $(LDFLAGS) -o bin/agentbench ./cmd/agentbench

run: agent model ## do the main job: the default model works on a real file and answers
	@bin/agent run "$(TASK)" --workdir "$(WORKDIR)" --approve never --temperature 0

test: native model test-pure test-native ## all tests

test-pure: ## what must hold without anything native: build, vet, tests, the race detector
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt-ed:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	CGO_ENABLED=0 go build ./...
	GOOS=darwin CGO_ENABLED=0 go build ./...
	GOOS=windows CGO_ENABLED=0 go build ./...
	CGO_ENABLED=0 go vet ./...
	CGO_ENABLED=0 go test ./...
	go test -race -short ./backend ./backend/backendtest ./command/... ./session/... ./internal/...

# The packages that native code is linked into; the others are the same as in test-pure.
native_packages = $(shell go list $(TAGS) -f '{{.ImportPath}}:{{join .Deps " "}} {{join .TestImports " "}} {{join .XTestImports " "}}' ./... | \
	awk -F: '/internal\/llama|daulet\/tokenizers|agent\/tokenizer/ { print $$1 }')

test-native: ## tests with the real model and tokenizers
	go vet $(TAGS) ./...
	go test $(TAGS) -ldflags "$(BUILD)" $(native_packages)

check: native ## static analysis
	go vet $(TAGS) ./...
	go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 $(TAGS) ./...

bench: agentbench model ## compare with llama.cpp's own tools, built from the same tree
	@BENCH_TOOLS=1 ACCEL=$(ACCEL) PORTABLE=$(PORTABLE) JOBS=$(JOBS) scripts/build-native.sh
	@scripts/bench.sh

bench-agent: agentbench ## which of the tasks in bench/tasks the agent solves, beside the plain protocol
	@bin/agentbench agent --model "$(BENCH_MODEL)" $(BENCH_ARGS)

doctor: agent ## what was built, what hardware is used, what is missing
	@bin/agent doctor

package: tools ## dist/: a tarball and a .deb for any machine of an architecture; ARCHS="amd64 arm64"
	@VERSION=$(VERSION) JOBS=$(JOBS) GLIBC=$(GLIBC) scripts/package.sh $(ARCHS)

clean: ## remove what was built (sources and models stay)
	rm -rf bin build dist

distclean: clean ## also remove fetched sources and models
	rm -rf third_party/llama.cpp models/*.gguf
