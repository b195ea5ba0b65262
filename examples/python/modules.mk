# SPDX-License-Identifier: GPL-2.0
#
# Builds `python` from main.c, the distribution's libpython3.11-pic.a with the modules in it, and
# the sources of the modules that the distribution has as shared objects. Also builds
# python311.zip, the standard library. Run in the top directory of the source package.
#
# Left out: what cannot work in ring 0 (_ctypes), what needs a terminal's libraries
# (_curses, readline), nis, _dbm, _tkinter, ossaudiodev, and the modules of the test suite.

CONFIG := /usr/lib/python3.11/config-3.11-x86_64-linux-gnu
INCLUDE := /usr/include/python3.11
CC ?= gcc
CFLAGS := -O2 -fwrapv -fno-strict-aliasing -DNDEBUG -w
CPPFLAGS := -DPy_BUILD_CORE_BUILTIN -I$(INCLUDE) -I$(INCLUDE)/internal \
	-I/usr/include/uuid -IModules/_decimal/libmpdec -IModules/_sqlite

# Module = its sources below Modules/.
_asyncio := _asynciomodule
_bz2 := _bz2module
_codecs_cn := cjkcodecs/_codecs_cn
_codecs_hk := cjkcodecs/_codecs_hk
_codecs_iso2022 := cjkcodecs/_codecs_iso2022
_codecs_jp := cjkcodecs/_codecs_jp
_codecs_kr := cjkcodecs/_codecs_kr
_codecs_tw := cjkcodecs/_codecs_tw
_contextvars := _contextvarsmodule
_crypt := _cryptmodule
_decimal := _decimal/_decimal $(addprefix _decimal/libmpdec/,basearith constants context \
	convolute crt difradix2 fnt fourstep io mpalloc mpdecimal numbertheory sixstep transpose)
_hashlib := _hashopenssl
_json := _json
_lsprof := _lsprof rotatingtree
_lzma := _lzmamodule
_multibytecodec := cjkcodecs/multibytecodec
_multiprocessing := _multiprocessing/multiprocessing _multiprocessing/semaphore
_posixshmem := _multiprocessing/posixshmem
_queue := _queuemodule
_sqlite3 := $(addprefix _sqlite/,blob connection cursor microprotocols module \
	prepare_protocol row statement util)
_ssl := _ssl
_typing := _typingmodule
_uuid := _uuidmodule
_zoneinfo := _zoneinfo
audioop := audioop
mmap := mmapmodule
resource := resource
termios := termios

MODULES := _asyncio _bz2 _codecs_cn _codecs_hk _codecs_iso2022 _codecs_jp _codecs_kr \
	_codecs_tw _contextvars _crypt _decimal _hashlib _json _lsprof _lzma _multibytecodec \
	_multiprocessing _posixshmem _queue _sqlite3 _ssl _typing _uuid _zoneinfo audioop mmap \
	resource termios
LIBRARIES := -lssl -lcrypto -lsqlite3 -lbz2 -llzma -lexpat -lz -luuid -lcrypt -lm

OBJECTS := $(patsubst %,Modules/%.o,$(foreach module,$(MODULES),$($(module))))

python311.zip: python stdlib.py
	PYTHONHOME=/usr ./python -I -S stdlib.py $@

python: ukl-main.o $(OBJECTS)
	$(CC) -o $@ $^ $(CONFIG)/libpython3.11-pic.a $(LIBRARIES)

# Named so that it does not collide with a file of the source.
ukl-main.o: main.c ukl-modules.h
	$(CC) $(CFLAGS) $(CPPFLAGS) -c -o $@ $<

ukl-modules.h: modules.mk
	printf 'MODULE(%s)\n' $(MODULES) >$@

# A 64-bit processor, with gcc's inline assembly.
Modules/_decimal/%.o: CPPFLAGS += -DCONFIG_64=1 -DASM=1
Modules/_sqlite/%.o: CPPFLAGS += -DPY_SQLITE_HAVE_SERIALIZE=1
# Py_BUILD_CORE_BUILTIN is for the modules that need it; the others work with it, too.
Modules/%.o: Modules/%.c
	$(CC) $(CFLAGS) $(CPPFLAGS) -c -o $@ $<
