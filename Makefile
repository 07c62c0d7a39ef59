# Targets are listed by `make help`.

GO          ?= go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
MAX_MIPSLE  := 6500000
ARCHS       ?= mips mipsle arm arm64 amd64
FUZZTIME    ?= 30s
COUNT       ?= 20
TIMEOUT     ?= 25m

# -buildvcs=false: a clone owned by somebody else must build, too.
# Inlining grows the binary by a tenth; only ciphers, memory and maps are slower without
# (a handshake five times), and what they call of other packages must be named, too.
# The runtime itself is without: 82 KB, for allocations that take 1.6 times as long.
# P-256 comes with crypto/ecdh, and is never used.
INLINED     := crypto/... golang.org/x/crypto/... encoding/binary internal/byteorder math/bits internal/runtime/...
NOT_INLINED := crypto/internal/fips140/nistec/...
# -R: pages are of 16 KB at most on OpenWrt; padding to the 64 KB of the linker wastes up to 100 KB.
BUILDFLAGS   = -trimpath -buildvcs=false -ldflags '-s -w -R 16384 -X main.version=$(VERSION)' \
               -gcflags=all=-l $(INLINED:%=-gcflags=%=) $(NOT_INLINED:%=-gcflags=%=-l)

# An ordinary user's PATH often lacks these.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

# program:package, as .ci/need takes them.
PROGRAMS := dnsmasq:dnsmasq-base igmpproxy:igmpproxy iptables:iptables nft:nftables conntrack:conntrack \
            ip:iproute2 bridge:iproute2 ping:iputils-ping \
            dash:dash busybox:busybox-static shellcheck:shellcheck
# Programs for other processors run under these.
EMULATORS := qemu-mipsel-static:qemu-user-static qemu-mips-static:qemu-user-static qemu-aarch64-static:qemu-user-static
# The race detector needs cgo.
COMPILER := gcc:gcc /usr/include/stdlib.h:libc6-dev

# A package's version is the feed's, and its time the last commit's.
ARCH        ?= x86_64
PKG_VERSION ?= $(shell sed -n 's/^PKG_VERSION:=//p' openwrt/homeconf/Makefile)
PKG_RELEASE ?= $(shell sed -n 's/^PKG_RELEASE:=//p' openwrt/homeconf/Makefile)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)

.PHONY: help build ipk test lint bench size measure demo soak fuzz clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 8

# The older of Go's two garbage collectors is 28 KB smaller; the other is for many cores.
build ipk measure: export GOEXPERIMENT := nogreenteagc

build: ## build bin/homeconf
	CGO_ENABLED=0 $(GO) build $(BUILDFLAGS) -o bin/homeconf ./src/cmd/homeconf

ipk: VERSION := $(PKG_VERSION)-r$(PKG_RELEASE)
ipk: ## build OpenWrt packages for ARCH (x86_64) in bin
	@$(GO) run ./src/cmd/homeconf-pack --arch '$(ARCH)' --version '$(VERSION)' --epoch '$(SOURCE_DATE_EPOCH)' -- $(BUILDFLAGS)

test: ## run vet and all tests with the race detector; root gets what they need installed
	@.ci/need $(PROGRAMS) $(EMULATORS) $(COMPILER)
	$(GO) vet ./src/...
	CGO_ENABLED=1 $(GO) test -race -count=1 -timeout $(TIMEOUT) ./src/...
	@.ci/arch

lint: ## run gofmt, vet and staticcheck
	@unformatted=$$(gofmt -l src); [ -z "$$unformatted" ] || { echo "gofmt would change:"; echo "$$unformatted"; exit 1; }
	$(GO) vet ./src/...
	$(GO) run $(STATICCHECK) -checks all,-ST1000 ./src/...

bench: ## run all benchmarks
	@.ci/need $(PROGRAMS)
	$(GO) test -run '^$$' -bench . -benchmem ./src/...

size: ## print the binary's size on five architectures; fail above 6.5 MB on mipsle
	@.ci/need xz:xz-utils
	@$(MAKE) --no-print-directory measure

# What the test of the bar calls, with ARCHS=mipsle.
measure:
	@ARCHS='$(ARCHS)' .ci/size $(MAX_MIPSLE) $(BUILDFLAGS)

demo: ## play the main scene in network namespaces (root; KEEP=1 leaves it running)
	@.ci/need $(PROGRAMS)
	@$(MAKE) --no-print-directory build
	$(GO) build -buildvcs=false -o bin/homeconf-demo ./src/cmd/homeconf-demo
	@HOMECONF=$(CURDIR)/bin/homeconf bin/homeconf-demo

soak: ## run every test COUNT times (20)
	@.ci/need $(PROGRAMS) $(EMULATORS) $(COMPILER)
	CGO_ENABLED=1 $(GO) test -race -count=$(COUNT) -timeout 0 ./src/...

fuzz: ## run each fuzz target for FUZZTIME (30s)
	@.ci/fuzz $(FUZZTIME)

clean: ## remove what was built
	rm -rf bin
