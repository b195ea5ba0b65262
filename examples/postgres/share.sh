#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Installs the files that the server reads at run time below the directory $1. `make install` would
# also build the modules as shared objects.
set -e
top=$PWD/$1
share=$top/usr/share/postgresql

install() {
	make -s -C "$@" DESTDIR="$top"
}

install src/backend installdirs
install src/backend/catalog install-data
# Version 17 moved some of the catalog's files there.
! grep -q '^install:' src/include/catalog/Makefile || install src/include/catalog install
install src/backend/tsearch install-data
install src/backend/utils install-data
install src/timezone install
install src/pl/plpgsql/src install-data
make -s -C src/backend/snowball snowball_create.sql
cp src/backend/libpq/*.conf.sample src/backend/utils/misc/postgresql.conf.sample \
	src/backend/snowball/snowball_create.sql "$share"
cp src/backend/snowball/stopwords/*.stop "$share/tsearch_data"
for name in $CONTRIB spi; do
	for file in contrib/"$name"/*.control contrib/"$name"/*--*.sql; do
		[ ! -e "$file" ] || cp "$file" "$share/extension"
	done
	for file in contrib/"$name"/*.rules; do
		[ ! -e "$file" ] || cp "$file" "$share/tsearch_data"
	done
done
