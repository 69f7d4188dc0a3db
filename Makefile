# Everything here needs Go and Linux, nothing else. `make demo` shows umiak at work, `make test`
# runs the whole test suite; both do more as root (see README.md).
GO ?= go
export CGO_ENABLED = 0

.PHONY: build demo test race fuzz lint bench install clean help

build:            ## bin/umiak, one static file
	$(GO) build -trimpath -ldflags '-s -w' -o bin/umiak ./cmd/umiak

demo: build       ## umiak at work against a registry on loopback
	$(GO) run ./cmd/demo --umiak bin/umiak

test:             ## the whole test suite
	$(GO) vet ./...
	$(GO) test -count=1 ./...

race:             ## the packages that share memory, under the race detector
	CGO_ENABLED=1 $(GO) test -race -count=1 ./cache/... ./image/... ./unpack/... ./cmd/term/...

fuzz:             ## each fuzz target for FUZZTIME (10s)
	@set -e; for f in $$(grep -rl '^func Fuzz' --include='*_test.go' .); do \
	  for t in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$f); do \
	    echo "$$t in $$(dirname $$f)"; $(GO) test -run '^$$' -fuzz "^$$t\$$" -fuzztime $${FUZZTIME:-10s} ./$$(dirname $$f); \
	  done; done

lint:             ## what a reviewer should not have to say
	@test -z "$$(gofmt -l cmd image unpack run cache)" || { gofmt -l cmd image unpack run cache; exit 1; }
	$(GO) vet ./...
	$(GO) mod verify

bench: build      ## ratios against a floor, unshare and tar, measured in one run
	$(GO) run ./cmd/bench --umiak bin/umiak

install: build    ## to DESTDIR/PREFIX/bin
	install -D -m 0755 bin/umiak $(DESTDIR)$(or $(PREFIX),/usr/local)/bin/umiak

clean:
	rm -rf bin

help:
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile
