#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Starts PostgreSQL in the guest: start.sh PROGRAM [ARGUMENT]...
#
# PostgreSQL refuses to run as root, and refuses data that belongs to another user. It therefore
# runs as the owner of /data. On a volume that is the caller of ukl, with whose rights QEMU acts. A
# new disk, like the guest's own memory, belongs to root; it is given to the user postgres.
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

# su executes the shell, which executes the program: no process remains in between.
as_postgres() {
	exec su -s /bin/sh -c 'cd /; umask 077; exec "$0" "$@"' -- postgres "$@"
}

if [ ! -e "$PGDATA/PG_VERSION" ]; then
	# Initialize in another directory: what a power cut leaves there is deleted and made again.
	new=$PGDATA.new
	rm -rf "$new"
	# initdb asks for the system's locales, and executes the server beside it.
	printf '#!/bin/sh\necho C.utf8\n' > /bin/locale
	chmod 755 /bin/locale
	cp /bin/initdb "${program%/*}/initdb"
	(as_postgres "${program%/*}/initdb" -D "$new" --auth=trust --encoding=UTF8 \
		--locale=C.UTF-8 --username=postgres --no-instructions)
	# Connections from the host come through QEMU's network, from 10.0.2.2.
	echo "host all all 10.0.2.0/24 trust" >> "$new/pg_hba.conf"
	echo "listen_addresses = '*'" >> "$new/postgresql.conf"
	mv "$new" "$PGDATA"
fi
as_postgres "$program" "$@"
