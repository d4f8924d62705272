# Builds and installs the programs: `make install` as root, PREFIX and DESTDIR as usual. Packages for Debian: `make packages`.
PREFIX ?= /usr/local
SCRATCH = .build-package
BUILD = swift build -c release --static-swift-stdlib --scratch-path $(SCRATCH)

.PHONY: all install packages
all:
	$(BUILD) --product berth
	$(BUILD) --product berth-gateway

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/berth
	strip -o $(DESTDIR)$(PREFIX)/bin/berth $(SCRATCH)/release/berth
	strip -o $(DESTDIR)$(PREFIX)/bin/berth-gateway $(SCRATCH)/release/berth-gateway
	cp -r $(SCRATCH)/release/berth_*.resources $(DESTDIR)$(PREFIX)/share/berth/

packages:
	scripts/package.sh
