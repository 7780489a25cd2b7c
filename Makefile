# SPDX-License-Identifier: Apache-2.0
#
# Layerwise: `make help` lists the targets.

VERSION = 0.1.0
SOVERSION = 0
PREFIX = /usr/local
DESTDIR =
# The interpreter of the virtual environment.  Debian's own, because a test loads its shared library.
PYTHON = /usr/bin/python3

SHARED_BUILD = .build_shared
# The library and its tests are made of the same objects: no test looks into a module.  What ships is stripped, and leaving out what
# would be stripped spares the compilers time.
SWIFT = -c release --scratch-path $(SHARED_BUILD) -debug-info-format none
LIBRARY = python/layerwise/liblayerwise.so
ARCHIVE = $(SHARED_BUILD)/release/liblayerwise.a
SWIFT_CODE = Package.swift Sources Tests
# How long to fuzz.
SECONDS = 600
# pip compiled nothing, so Python keeps what it compiles when a module is first imported, also where that is switched off.
RUN_PYTHON = PYTHONDONTWRITEBYTECODE= PYTHONPATH="$(CURDIR)/python" .venv/bin/python
# No test measures time, so that as many workers may run as there are processors; each imports torch.
WORKERS = $(shell n=$$(nproc); echo $$((n < 8 ? n : 8)))
PYTEST = $(RUN_PYTHON) -m pytest python/tests -n $(WORKERS) --dist loadgroup

# The tools below use all cores by themselves, and pytest's closing line comes last.
.NOTPARALLEL:
.PHONY: build build-tests compile help setup demo demo-auto demo-find demo-text check test bench docs classes format kernels lint check-header check-symbols
.PHONY: check-arm check-documented check-torch swift-docs check-install check-wheel check-built-install check-built-wheel names site size sanitize fuzz prove wheel sdist install uninstall clean

build: ## the shared library, also placed in the Python package, and the static one (default)
	swift build $(SWIFT) --product LayerwiseC -Xlinker -Map=$(CURDIR)/$(SHARED_BUILD)/liblayerwise.map
	ln -sf libLayerwiseC.so $(SHARED_BUILD)/release/liblayerwise.so
	install -m 755 $(SHARED_BUILD)/release/liblayerwise.so $(LIBRARY)
	.ci/make-static $(SHARED_BUILD)/release

help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 16

# ---- Set-up: missing Debian packages, then .venv with one stamp for each extra of python/pyproject.toml.  Python compiles what is
# imported; all of it would take a minute of a processor.

setup: .venv/.test ## what the tests need: Debian packages that are missing, and .venv

.venv/.created: .ci/install-packages
	.ci/install-packages $(PYTHON)
	$(PYTHON) -m venv .venv
	touch $@

.venv/.test .venv/.demo .venv/.demo-text .venv/.bench .venv/.site .venv/.wheel: .venv/.%: python/pyproject.toml .ci/requirements .venv/.created
	.venv/bin/python .ci/requirements $* > .venv/requirements-$*.txt
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -r .venv/requirements-$*.txt
	touch $@

# ---- Use

demo: .venv/.demo build ## which layers should learn?  A pretrained network meets four changes of the world
	@$(RUN_PYTHON) python/examples/which_layers.py

demo-auto: .venv/.demo .venv/.demo-text build ## rates that find themselves: measured policies in the same four worlds and for MiniLM, beside one rate and the best by hand
	@$(RUN_PYTHON) python/examples/auto_rates.py
	@$(RUN_PYTHON) python/examples/auto_rates_text.py

demo-find: .venv/.demo build ## rates found by trying: the rate finder and a tournament of policies in the same four worlds
	@$(RUN_PYTHON) python/examples/find_policy.py

demo-text: .venv/.demo-text build ## one rate, or one for each layer?  MiniLM learns to classify sentences from few examples
	@$(RUN_PYTHON) python/examples/finetune_minilm.py

bench: .venv/.bench build ## time a step beside its peers and the memory's limit: a table, JSON and a picture in build/
	@$(RUN_PYTHON) -m benchmarks

docs: .venv/.demo build ## docs/rules.md and docs/images, from the library's own declarations and numbers
	@PYTHONPATH="$(CURDIR)/python" $(PYTHON) -m layerwise rules > docs/rules.md
	@$(RUN_PYTHON) docs/figures.py

swift-docs: build ## the documentation of the Swift library, by DocC: build/swift-docs
	.ci/swift-docs $(SHARED_BUILD) build/swift-docs

site: .venv/.site ## the pages as a site with search and an API reference: build/site/index.html
	.venv/bin/python .ci/site-pages build/site-pages
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --quiet --strict --config-file docs/mkdocs.yml

# ---- Check

build-tests: build
	swift build $(SWIFT) --product layerwisePackageTests

# Library and tests at once, which leaves fewer processors idle than one after the other; `build-tests` then only links.
compile:
	swift build $(SWIFT) --build-tests

check: setup lint build-tests ## what is quick and broad: lint, types, and tests that start no process and are not named in LONG of xctest.sh and conftest.py
	Tests/Scripts/xctest.sh $(SHARED_BUILD)/release quick
	@$(PYTEST) -m "not spawns" --quick

SUBMAKE = $(MAKE) --no-print-directory

# Downloads go on while the library is compiled, and what uses one processor while another is used.
test: .venv/.created ## everything: set-up, lint, build, symbols, ARM, install, wheel, XCTest, pytest
	@Tests/Scripts/side-by-side "$(SUBMAKE) setup lint" "$(SUBMAKE) compile build-tests check-symbols check-documented"
	@Tests/Scripts/side-by-side "Tests/Scripts/check-arm $(SHARED_BUILD)" "$(SUBMAKE) check-built-install check-built-wheel" \
		"Tests/Scripts/xctest.sh $(SHARED_BUILD)/release"
	@LAYERWISE_PACKAGE=1 $(PYTEST)

classes: setup build ## the Python classes of all components, from what the library declares and torch's signatures
	@$(RUN_PYTHON) .ci/rule-classes

kernels: ## Sources/LayerwiseKernels/KernelList.swift, from the cases of KernelKey
	.ci/kernel-list > Sources/LayerwiseKernels/KernelList.swift

names: build ## include/layerwise_names.h, from the library's own declarations
	@mkdir -p build
	$(RUN_PYTHON) .ci/names-header > build/layerwise_names.h
	mv build/layerwise_names.h include/layerwise_names.h

lint: setup check-header ## format, style and types of Swift, C and Python
	.ci/kernel-list | diff - Sources/LayerwiseKernels/KernelList.swift
	.ci/phrases
	Tests/Scripts/mutate --list >/dev/null
	swift format lint --strict --recursive $(SWIFT_CODE)
	.venv/bin/ruff check python
	.venv/bin/ruff format --check python
	.venv/bin/ruff check --config python/pyproject.toml docs/figures.py
	.venv/bin/ruff format --check --config python/pyproject.toml docs/figures.py
	cd python && ../.venv/bin/mypy --strict

format: setup ## rewrite Swift and Python in the project's format
	swift format --in-place --recursive $(SWIFT_CODE)
	.venv/bin/ruff format python
	.venv/bin/ruff format --config python/pyproject.toml docs/figures.py

WARNINGS = -Wall -Wextra -Werror -pedantic
CXX_WARNINGS = -Wold-style-cast -Wzero-as-null-pointer-constant -Wconversion -Wshadow

# An object of every struct, made by its macro, since a macro is compiled where it is used.
USE_OF_MACROS = sed -n 's/^.define \(LW_\([A-Z_]*\)_INIT\) .*/extern lw_\L\2 x_\2; lw_\2 x_\2 = \U\1;/p' include/layerwise.h include/layerwise_experimental.h

check-header: ## the headers alone, in every language that may include them
	@echo '#include "layerwise.h"' | gcc -std=c99 $(WARNINGS) -Iinclude -fsyntax-only -x c -
	@for standard in c99 c11; do \
		{ echo '#include "layerwise_experimental.h"'; $(USE_OF_MACROS); } | \
			gcc -std=$$standard $(WARNINGS) -Iinclude -fsyntax-only -x c - || exit 1; \
	done
	@for standard in c++11 c++17 c++20; do \
		{ echo '#include "layerwise_experimental.h"'; $(USE_OF_MACROS); } | \
			g++ -std=$$standard $(WARNINGS) $(CXX_WARNINGS) -Iinclude -fsyntax-only -x c++ - || exit 1; \
	done
	@for standard in c++17 c++20; do \
		echo '#include "layerwise.hpp"' | \
			g++ -std=$$standard $(WARNINGS) $(CXX_WARNINGS) -Iinclude -fsyntax-only -x c++ - || exit 1; \
	done

check-symbols: build ## what the library exports, needs and could mix up
	Tests/Scripts/check-symbols.sh $(SHARED_BUILD)/release $(SOVERSION)

check-arm: build ## every kernel on an emulated ARM processor, with the same bits as here
	Tests/Scripts/check-arm $(SHARED_BUILD)

check-documented: build ## every public declaration of the Swift library has a comment
	Tests/Scripts/check-documented $(SHARED_BUILD)

check-install: build check-built-install ## install to a scratch folder and build the C example with pkg-config and with CMake

check-built-install:
	Tests/Scripts/check-install.sh $(VERSION) $(SOVERSION)

# Versions such as 3.13 and 3.14t, or paths: `make check-wheel INTERPRETERS="3.10 3.13"`.
INTERPRETERS = .venv/bin/python

check-wheel: setup build check-built-wheel ## a wheel with the library just built, twice the same, used in a fresh environment of INTERPRETERS

check-built-wheel:
	rm -rf build/check-wheel
	.ci/make-wheel build/check-wheel $(SHARED_BUILD)/release/liblayerwise.so
	umask 077 && TZ=UTC-9 .ci/make-wheel build/check-wheel/again $(SHARED_BUILD)/release/liblayerwise.so >/dev/null
	cmp build/check-wheel/*.whl build/check-wheel/again/*.whl
	Tests/Scripts/check-wheel.sh build/check-wheel/*.whl $(VERSION) $(INTERPRETERS)

# The version of torch to test with, in an environment of its own.
TORCH = 2.15.0
TORCH_ENVIRONMENT = build/torch-$(TORCH)
TORCH_TESTS = torch_optim torch_rates test_conformance_torch.py test_parity_torch.py test_torch_buffers.py test_find_rates.py

check-torch: build ## the tests of layerwise.torch with another version of torch, as in TORCH=2.15.0
	$(PYTHON) -m venv $(TORCH_ENVIRONMENT)
	$(PYTHON) .ci/requirements test | sed 's/^torch==.*/torch==$(TORCH)/' > $(TORCH_ENVIRONMENT)/requirements.txt
	$(TORCH_ENVIRONMENT)/bin/python -m pip install --quiet --disable-pip-version-check -r $(TORCH_ENVIRONMENT)/requirements.txt
	@cd python/tests && PYTHONPATH="$(CURDIR)/python" $(CURDIR)/$(TORCH_ENVIRONMENT)/bin/python -m pytest $(TORCH_TESTS) \
		-n $(WORKERS) --dist loadgroup

size: build ## what the library's bytes are: ours, the Swift runtime, regular expressions
	@.ci/library-size $(SHARED_BUILD)/liblayerwise.map $(LIBRARY)

sanitize: setup ## the C tests under AddressSanitizer and ThreadSanitizer, and the fuzzer's corpus under the first (some minutes)
	Tests/Scripts/sanitize.sh
	Tests/Fuzz/fuzz.sh replay

fuzz: setup ## offer the loader changed checkpoints for SECONDS=600 on all processors
	Tests/Fuzz/fuzz.sh $(SECONDS) $$(nproc)

prove: setup build ## the long proofs of docs/reliability.md, fuzzing, and faults that tests must find (hours)
	Tests/Scripts/prove.sh

# ---- Distribute

wheel: .venv/.wheel ## dist/*.whl of the last commit, for every Linux with glibc 2.34 and every Python from 3.10 on
	.ci/make-wheel dist

sdist: .venv/.wheel ## dist/*.tar.gz of the last commit, from which pip builds with Swift
	.ci/make-sdist dist

# ---- Install

PREFIX_PATH = $(abspath $(PREFIX))
INCLUDEDIR = $(DESTDIR)$(PREFIX_PATH)/include
LIBDIR = $(DESTDIR)$(PREFIX_PATH)/lib
HEADERS = layerwise.h layerwise.hpp layerwise_experimental.h layerwise_names.h
FILL = sed -e 's|@PREFIX@|$(PREFIX_PATH)|g' -e 's|@VERSION@|$(VERSION)|g' -e 's|@SOVERSION@|$(SOVERSION)|g'

# Only missing libraries are built here, so that `sudo make install` needs no Swift.
install: | $(LIBRARY) $(ARCHIVE) ## headers, libraries, pkg-config and CMake files, below PREFIX (and DESTDIR)
	install -d $(INCLUDEDIR) $(LIBDIR)/pkgconfig $(LIBDIR)/cmake/Layerwise
	install -m 644 $(HEADERS:%=include/%) $(INCLUDEDIR)
	install -m 755 $(LIBRARY) $(LIBDIR)/liblayerwise.so.$(VERSION)
	install -m 644 $(ARCHIVE) $(LIBDIR)/liblayerwise.a
	ln -sf liblayerwise.so.$(VERSION) $(LIBDIR)/liblayerwise.so.$(SOVERSION)
	ln -sf liblayerwise.so.$(SOVERSION) $(LIBDIR)/liblayerwise.so
	$(FILL) include/layerwise.pc.in > $(LIBDIR)/pkgconfig/layerwise.pc
	$(FILL) include/cmake/LayerwiseConfig.cmake.in > $(LIBDIR)/cmake/Layerwise/LayerwiseConfig.cmake
	$(FILL) include/cmake/LayerwiseConfigVersion.cmake.in > $(LIBDIR)/cmake/Layerwise/LayerwiseConfigVersion.cmake
	@$(if $(DESTDIR),,.ci/say-installed $(PREFIX_PATH) liblayerwise.so.$(SOVERSION))

uninstall: ## what `install` wrote
	rm -f $(HEADERS:%=$(INCLUDEDIR)/%) $(LIBDIR)/liblayerwise.so $(LIBDIR)/liblayerwise.so.$(SOVERSION)
	rm -f $(LIBDIR)/liblayerwise.so.$(VERSION) $(LIBDIR)/liblayerwise.a $(LIBDIR)/pkgconfig/layerwise.pc
	rm -rf $(LIBDIR)/cmake/Layerwise

$(LIBRARY) $(ARCHIVE):
	$(MAKE) build

clean: ## everything built; .venv stays
	rm -rf .build .build-* $(SHARED_BUILD) build dist python/build python/dist python/*.egg-info $(LIBRARY)
