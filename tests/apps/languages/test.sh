# SPDX-License-Identifier: GPL-2.0
# What scripts do: forks, pipes, traps, here documents, process substitution.
set -euo pipefail
fail() { echo "failed: $*"; exit 1; }

[ "$(seq 1 100 | while read -r n; do echo $((n * n)); done | tail -n 1)" = 10000 ] || fail pipe
trapped=no
trap 'trapped=yes' USR1
kill -USR1 $$
[ $trapped = yes ] || fail trap
mapfile -t lines < <(printf 'a\nb\nc\n')
[ "${#lines[@]} ${lines[2]}" = "3 c" ] || fail substitution
declare -A table=([x]=1 [y]=2)
[ "$((table[x] + table[y]))" = 3 ] || fail table
for n in 1 2 3 4 5; do (exit "$n") & pids[n]=$!; done
for n in 1 2 3 4 5; do
	status=0; wait "${pids[n]}" || status=$?
	[ $status = "$n" ] || fail wait
done
[ "$(cat <<END
here
END
)" = here ] || fail document
[[ 2024-05-06 =~ ^([0-9]+)-([0-9]+) ]] && [ "${BASH_REMATCH[2]}" = 05 ] || fail regex
sh -c 'exit 9' || [ $? = 9 ] || fail exec
timeout 0.1 sleep 10 || [ $? = 143 ] || [ $? = 124 ] || fail timeout
echo all passed
