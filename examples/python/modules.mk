# SPDX-License-Identifier: GPL-2.0
#
# Builds `python` from main.c, the distribution's libpython3.N-pic.a with the modules in it, and
# the sources of the modules that the distribution has as shared objects. Also builds
# python3N.zip, the standard library. Run in the top directory of the source package.
#
# Left out: what cannot work in ring 0 (_ctypes), what needs a terminal's libraries
# (_curses, readline), nis, _dbm, _tkinter, ossaudiodev, and the modules of the test suite.

MINOR := $(shell awk '/define PY_MINOR_VERSION/ { print $$3 }' Include/patchlevel.h)
LIBRARY := /usr/lib/python3.$(MINOR)
INCLUDE := /usr/include/python3.$(MINOR)
CC ?= gcc
CFLAGS := -O2 -fwrapv -fno-strict-aliasing -DNDEBUG -w
CPPFLAGS := -DPy_BUILD_CORE_BUILTIN -I$(INCLUDE) -I$(INCLUDE)/internal \
	-I/usr/include/uuid -IModules/_decimal/libmpdec -IModules/_sqlite

LEFT_OUT := _ctypes% _curses% _dbm _gdbm _tkinter nis ossaudiodev readline _test% _xx% xx%
SHARED := $(sort $(foreach file,$(notdir $(wildcard $(LIBRARY)/lib-dynload/*.so)),$(firstword $(subst .cpython, ,$(file)))))
MODULES := $(filter-out $(LEFT_OUT),$(SHARED))
LIBRARIES := -lssl -lcrypto -lsqlite3 -lbz2 -llzma -lexpat -lz -luuid -lcrypt -lm \
	$(if $(filter _zstd,$(MODULES)),-lzstd)

# A line of Setup.stdlib.in is @MODULE_NAME_TRUE@name, the sources below Modules/, and options.
SOURCES := $(shell awk '{ sub(/^.?@MODULE_[A-Z0-9_]+_TRUE@/, "") } \
	index(" $(MODULES) ", " " $$1 " ") { for (i = 2; i <= NF; i++) if ($$i ~ /[.]c$$/) print "Modules/" $$i }' \
	Modules/Setup.stdlib.in)
MPDEC := $(filter-out %/bench.c %/bench_full.c %/mpsignal.c,$(wildcard Modules/_decimal/libmpdec/*.c))
OBJECTS := $(patsubst %.c,%.o,$(sort $(SOURCES) $(MPDEC)))
# Some versions leave these hash functions out of libpython3.N-pic.a.
HACL := $(patsubst %.c,%.o,$(wildcard Modules/_hacl/*.c))

python3$(MINOR).zip: python stdlib.py
	PYTHONHOME=/usr ./python -I -S stdlib.py $@

python: ukl-main.o $(OBJECTS) ukl-hacl.a
	$(CC) -o $@ ukl-main.o $(OBJECTS) $(wildcard $(LIBRARY)/config-*/libpython3.$(MINOR)-pic.a) \
		ukl-hacl.a $(LIBRARIES)

ukl-hacl.a: $(HACL)
	ar rcs $@ $(HACL)

# Named so that it does not collide with a file of the source.
ukl-main.o: main.c ukl-modules.h
	$(CC) $(CFLAGS) $(CPPFLAGS) -c -o $@ $<

ukl-modules.h: modules.mk
	printf 'MODULE(%s)\n' $(MODULES) >$@

# A 64-bit processor, with gcc's inline assembly.
Modules/_decimal/%.o: CPPFLAGS += -DCONFIG_64=1 -DASM=1
Modules/_sqlite/%.o: CPPFLAGS += -DPY_SQLITE_HAVE_SERIALIZE=1
Modules/_hacl/%.o: CPPFLAGS += -IModules/_hacl/include -D_DEFAULT_SOURCE
Modules/_hacl/%_Simd128.o: CFLAGS += -msse4.2
Modules/_hacl/%_Simd256.o: CFLAGS += -mavx2
# Py_BUILD_CORE_BUILTIN is for the modules that need it; the others work with it, too.
Modules/%.o: Modules/%.c
	$(CC) $(CFLAGS) $(CPPFLAGS) -c -o $@ $<
