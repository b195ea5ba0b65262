#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# test-mariadb.sh PROGRAM [ARGUMENT]...: makes a database, and starts a server that tests itself.
directory=$(dirname "$0")
data=/tmp/ukl-mariadb
share=/usr/share/mysql
mkdir $data

{
	printf "CREATE DATABASE mysql;\nUSE mysql;\n"
	cat "$share/mysql_system_tables.sql" "$share/mysql_system_tables_data.sql"
} | "$@" --datadir=$data --bootstrap || exit
"$@" --datadir=$data --skip-grant-tables --init-file="$directory/test-mariadb.sql" || exit
cat $data/result
