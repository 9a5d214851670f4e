# pg_pingpong: the extension (PGXS), pingpong-agent, tests, demo, bench.
#
#   make, make install      build and install module, extension and agent
#   make installcheck       pg_regress and isolation tests against a temporary instance
#   make check              everything, on a bare Debian machine (see ci/check)
#   make check-all          that, and what takes longer (see ci/check-all)
#   make demo               ping and pong on a throw-away installation (see demo/lab)
#   make deb, make dist     Debian packages, the archive for PGXN, into dist/ (see ci/deb, ci/dist)
#   make bench              measurements (see bench/run), writes bench/results.json
#   make bench-upgrade      the window of an upgrade beside the same by hand (see bench/upgrade)

# These work on a bare machine: they install PGXS first.
ifneq ($(filter check check-all demo bench bench-upgrade deb dist,$(MAKECMDGOALS)),)

check:
	@ci/check $(PG)
check-all:
	@ci/check-all $(PG)
demo:
	demo/demo $(PG)
bench:
	bench/run $(PG)
bench-upgrade:
	bench/upgrade
deb:
	@ci/deb $(PG)
dist:
	@ci/dist
.PHONY: check check-all demo bench bench-upgrade deb dist

else

MODULE_big = pg_pingpong
OBJS = pg_pingpong.o $(patsubst %.c,%.o,$(sort $(filter-out worker/test/%,\
	$(wildcard gate/*.c worker/*.c worker/*/*.c common/*.c))))
EXTENSION = pg_pingpong
DATA = pg_pingpong--1.0.sql
PGFILEDESC = "pg_pingpong - planned switchover in one statement"

REGRESS = $(sort $(patsubst sql/%.sql,%,$(wildcard sql/*.sql)))
REGRESS_OPTS = --temp-instance=./tmp_check --temp-config=./t/regress.conf --encoding=UTF8 --no-locale
ISOLATION = $(sort $(patsubst specs/%.spec,%,$(wildcard specs/*.spec)))
ISOLATION_OPTS = --temp-instance=./tmp_check_iso --temp-config=./t/regress.conf

PG_CPPFLAGS = -I$(srcdir) -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers
SHLIB_LINK = -lcurl -ljansson -Wl,-Bsymbolic
EXTRA_CLEAN = pingpong-agent $(AGENT_OBJS) pingpong-agent-sanitized $(AGENT_OBJS:.agent.o=.sanitized.o) \
	worker/transition.agent.o worker/test/transitions.new \
	pg_pingpong--1.0.sql tmp_check tmp_check_iso output_iso \
	agent/test/unit bench/writers bench/hand_tight ci/.built-for

override with_llvm = no
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifeq ($(PGXS),)
$(error no PostgreSQL to build for: "$(PG_CONFIG)" does not answer (ci/install installs what is needed))
endif
include $(PGXS)

# One file a topic; the order is that of their numbers.
pg_pingpong--1.0.sql: $(sort $(wildcard schema/*.sql))
	cat $^ > $@
all: pg_pingpong--1.0.sql pingpong-agent

# The agent is an ordinary program: no server headers, its own objects.
AGENT_OBJS = $(patsubst %.c,%.agent.o,$(sort $(filter-out agent/test/%,$(wildcard agent/*.c agent/*/*.c common/*.c))))
AGENT_CFLAGS = -std=gnu11 -g -O2 -fstack-protector-strong -D_GNU_SOURCE -D_FORTIFY_SOURCE=2 -I$(srcdir) \
	-I$(shell $(PG_CONFIG) --includedir) -Wall -Wextra -Werror -Wno-unused-parameter -Wno-missing-field-initializers
AGENT_LIBS = -L$(shell $(PG_CONFIG) --libdir) -lpq -lmicrohttpd -lgnutls -lcurl -ljansson -linih -lpthread
AGENT_HEADERS = $(wildcard agent/*.h agent/*/*.h common/*.h)

%.agent.o: %.c $(AGENT_HEADERS)
	$(CC) $(AGENT_CFLAGS) -c -o $@ $<
# The status page is in the agent, as it is in its files.
agent/page/page.agent.o agent/page/page.sanitized.o: $(wildcard agent/page/*.html agent/page/*.css agent/page/*.js)
pingpong-agent: $(AGENT_OBJS)
	$(CC) $(AGENT_CFLAGS) $(AGENT_LDFLAGS) -o $@ $^ $(AGENT_LIBS)
# The same with sanitizers: ci/check throws hostile requests at it.
SANITIZE = -O1 -U_FORTIFY_SOURCE -fno-omit-frame-pointer -fsanitize=address,undefined
%.sanitized.o: %.c $(AGENT_HEADERS)
	$(CC) $(AGENT_CFLAGS) $(SANITIZE) -c -o $@ $<
pingpong-agent-sanitized: $(AGENT_OBJS:.agent.o=.sanitized.o)
	$(CC) $(AGENT_CFLAGS) $(SANITIZE) -o $@ $^ $(AGENT_LIBS)
# What is pure in the worker is tested with it.
agent/test/unit: $(sort $(wildcard agent/test/*.c worker/test/*.c)) worker/transition.agent.o \
		$(filter-out agent/main.agent.o,$(AGENT_OBJS)) agent/test/unit.h worker/transition.h
	$(CC) $(AGENT_CFLAGS) -o $@ $(filter %.c %.o,$^) $(AGENT_LIBS)
bench/writers: bench/writers.c
	$(CC) $(AGENT_CFLAGS) -o $@ $< $(AGENT_LIBS)

install: install-agent
install-agent: pingpong-agent
	$(MKDIR_P) '$(DESTDIR)$(bindir)'
	$(INSTALL_PROGRAM) pingpong-agent '$(DESTDIR)$(bindir)/pingpong-agent'

$(OBJS): $(wildcard *.h gate/*.h worker/*.h worker/*/*.h common/*.h)
.PHONY: install-agent

endif
