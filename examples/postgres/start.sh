#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Starts PostgreSQL in the guest: start.sh PROGRAM [ARGUMENT]...
#
# It refuses to be root, and to have data that belongs to another user. So it is the user whom
# /data belongs to: on a volume that is the caller of ukl, with whose rights QEMU acts. A new
# disk, like the guest's own memory, is root's, and given to the user postgres.
set -e
program=$1
shift
export PGDATA="${PGDATA:-/data/postgres}"

if [ "$(stat -c %u /data)" = 0 ]; then
	chown 70:70 /data
fi
owner=$(stat -c %u:%g /data)
echo "postgres:x:$owner::/data:/bin/sh" >> /etc/passwd
echo "postgres:x:${owner#*:}:" >> /etc/group
mkdir -p /run/postgresql
chown postgres /run/postgresql

# su becomes the shell, which becomes the program: nobody stays in between.
as_postgres() {
	exec su -s /bin/sh -c 'cd /; umask 077; exec "$0" "$@"' -- postgres "$@"
}

if [ ! -e "$PGDATA/PG_VERSION" ]; then
	# Where nobody looks until all is there: what a power cut leaves is made anew.
	new=$PGDATA.new
	rm -rf "$new"
	# It asks for the system's locales, and executes the server that lies beside it.
	printf '#!/bin/sh\necho C.utf8\n' > /bin/locale
	chmod 755 /bin/locale
	cp /bin/initdb "${program%/*}/initdb"
	(as_postgres "${program%/*}/initdb" -D "$new" --auth=trust --encoding=UTF8 \
		--locale=C.UTF-8 --username=postgres --no-instructions)
	# This machine comes in by QEMU's network, as 10.0.2.2.
	echo "host all all 10.0.2.0/24 trust" >> "$new/pg_hba.conf"
	echo "listen_addresses = '*'" >> "$new/postgresql.conf"
	mv "$new" "$PGDATA"
fi
as_postgres "$program" "$@"
