#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# modules.sh MODULES: links each of PostgreSQL's modules into one object, and makes the table
# linked_modules of them. The directory MODULES gets an empty file for each module.
#
# Modules define symbols of the same names (_PG_init, Pg_magic_func). Each symbol that a module
# defines is therefore renamed to MODULE__NAME; undefined ones are the server's.
set -e
modules=$1
linked=$PWD/linked
mkdir -p "$linked" "$modules"
printf '#include "c.h"\n#include "modules.h"\n\n' > "$linked/modules.c"

# module NAME DIRECTORY [OBJECT]...: with objects of other libraries
module() {
	name=$1
	directory=$2
	shift 2
	if grep -q "^MODULES" "$directory/Makefile"; then
		make -s -C "$directory" "$name.o"
		ar rcs "$directory/lib$name.a" "$directory/$name.o"
	else
		make -s -j"$JOBS" -C "$directory" all-static-lib
	fi
	ld -r -o "$linked/$name.o" --whole-archive "$directory/lib$name.a" \
		--no-whole-archive "$@"
	nm -g --defined-only --format=posix "$linked/$name.o" | cut -d' ' -f1 > "$linked/names"
	sed "s/.*/& ${name}__&/" "$linked/names" > "$linked/renamed"
	objcopy --redefine-syms="$linked/renamed" "$linked/$name.o"
	{
		sed "s/.*/extern char ${name}__&[];/" "$linked/names"
		echo "static const struct linked_symbol ${name}_symbols[] = {"
		sed "s/.*/	{\"&\", ${name}__&},/" "$linked/names"
		printf '	{NULL, NULL}\n};\n\n'
	} >> "$linked/modules.c"
	echo "	{\"$name\", ${name}_symbols}," >> "$linked/index"
	: > "$modules/$name.so"
}

rm -f "$linked/index"
module plpgsql src/pl/plpgsql/src
module dict_snowball src/backend/snowball
module pgoutput src/backend/replication/pgoutput
# libpq has copies of the server's functions, made for other programs: its pfree() is free(). Modules
# see only what it exports, as they do with its shared object.
libpq=src/interfaces/libpq/whole.o
ld -r -o $libpq --whole-archive src/interfaces/libpq/libpq.a --no-whole-archive \
	src/common/libpgcommon_shlib.a src/port/libpgport_shlib.a
sed -n 's/^\([A-Za-z]\w*\)[[:space:]].*/\1/p' src/interfaces/libpq/exports.txt > "$linked/names"
objcopy --keep-global-symbols="$linked/names" $libpq
# The programs of version 17 have other names for some of these functions than libpq.
case $SOURCE_VERSION in
15.*) ;;
*) rm src/interfaces/libpq/libpq.a; ar rcs src/interfaces/libpq/libpq.a $libpq ;;
esac
module libpqwalreceiver src/backend/replication/libpqwalreceiver $libpq
for directory in src/backend/utils/mb/conversion_procs/*/; do
	module "$(basename "$directory")" "${directory%/}"
done
for extension in $CONTRIB; do
	name=$(sed -n 's/^MODULE\(S\|_big\)[[:space:]]*=[[:space:]]*//p' "contrib/$extension/Makefile")
	case $extension in
	dblink|postgres_fdw) module "$name" "contrib/$extension" $libpq;;
	*) module "$name" "contrib/$extension";;
	esac
done
for name in autoinc insert_username moddatetime refint; do
	module "$name" contrib/spi
done
# For the tests: they create its file; without that the server does not load it.
module regress src/test/regress
rm "$modules/regress.so"

{
	echo 'const struct linked_module linked_modules[] = {'
	cat "$linked/index"
	printf '	{NULL, NULL}\n};\n'
} >> "$linked/modules.c"
cc -c -O2 -Isrc/include -o "$linked/modules.o" "$linked/modules.c"
cc -c -O2 $RENAMED -Isrc/include -o "$linked/dlopen.o" dlopen.c
