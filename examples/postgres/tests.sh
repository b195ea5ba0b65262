#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# tests.sh SUITE: runs PostgreSQL's own tests against the server at $HOST and $PORT, in the built
# source. After a suite's results it shows the differences from the expected output.
# MODULES is where an installed server has the modules of the tests; ours has them linked in.
top=$PWD
export PGHOST="$HOST" PGPORT="$PORT" PGUSER=postgres PGDATABASE=postgres
PATH=$top/src/bin/psql:$top/src/bin/pgbench:$PATH
status=0

# regress DIRECTORY [OPTION]... [TEST]...: the server loads and writes files there
regress() {
	directory=$1
	shift
	mkdir -p "$top/$directory/results"
	chmod 777 "$top/$directory/results"
	cd "$top/$directory" || exit
	"${driver:-$top/src/test/regress/pg_regress}" --bindir="$top/src/bin/psql" --inputdir=. \
		--host="$HOST" --port="$PORT" --user=postgres "$@" || {
		cat regression.diffs
		status=1
	}
}

# The tests that a directory's Makefile names.
named() {
	make -s -C "$1" --eval 'named: ; @echo $(REGRESS)' named
}

# The server has these linked in, but loads them only if the files exist.
for name in autoinc refint regress; do
	: > "src/test/regress/$name.so"
done

case $1 in
regress)
	regress src/test/regress --dlpath="${MODULES:-.}" --schedule=parallel_schedule
	;;
quick)
	regress src/test/regress --dlpath="${MODULES:-.}" test_setup boolean char int4 float8 numeric strings \
		create_function_c create_misc create_index triggers plpgsql tsearch jsonb conversion \
		transactions
	;;
plpgsql)
	regress src/pl/plpgsql/src --dbname=pl_regression $(named src/pl/plpgsql/src)
	;;
isolation)
	driver=$top/src/test/isolation/pg_isolation_regress
	regress src/test/isolation --schedule=isolation_schedule
	;;
contrib)
	# The other extensions have no tests, or tests that need options of the server.
	for each in amcheck btree_gin btree_gist citext cube dict_int fuzzystrmatch hstore \
		intarray isn lo ltree pageinspect pg_freespacemap pg_trgm pg_visibility \
		pgstattuple postgres_fdw seg tablefunc tsm_system_rows unaccent; do
		regress "contrib/$each" --dbname=contrib_regression $(named "$top/contrib/$each")
	done
	;;
pgbench)
	pgbench -q -i -s 2 && pgbench -n -c 4 -j 2 -T 20 || status=1
	sums=$(psql -AtX -c "SELECT (SELECT sum(abalance) FROM pgbench_accounts),
		(SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(bbalance) FROM pgbench_branches),
		(SELECT sum(delta) FROM pgbench_history), (SELECT count(*) > 0 FROM pgbench_history)")
	echo "sums of accounts, tellers, branches and history, and whether there is one: $sums"
	case $sums in
	*"|t") [ "$(echo "${sums%|t}" | tr '|' '\n' | sort -u | wc -l)" = 1 ] || status=1;;
	*) status=1;;
	esac
	[ $status = 0 ] && echo "test pgbench ... ok 0 ms" || echo "test pgbench ... FAILED 0 ms"
	;;
esac
exit $status
