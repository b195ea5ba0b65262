#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Start a program in application mode by marker files, in allowed and forbidden ways,
# and run its own tests. PROGRAM is ukl_program. The kernel needs ukl.programs=1.

PROGRAM=${PROGRAM:-$(dirname "$0")/ukl_program}
KSFT_SKIP=4

if [ "$(id -u)" != 0 ] || ! grep -q -w 'ukl.programs=[1yY]' /proc/cmdline; then
	echo "1..0 # SKIP not root, or the kernel was booted without ukl.programs=1"
	exit $KSFT_SKIP
fi

dir=$(mktemp -d) || exit 1
clean_up()
{
	umount "$dir/mnt" 2>/dev/null
	rm -rf "$dir"
}
trap clean_up EXIT

tests=0
failed=0

# report DESCRIPTION: report a test whose result is $?
report()
{
	result=$?
	tests=$((tests + 1))
	if [ $result = 0 ]; then
		echo "ok $tests $1"
	else
		echo "not ok $tests $1"
		failed=$((failed + 1))
	fi
}

# marker FILE FLAGS [PATH]: create a marker file of the program
marker()
{
	path=${3:-$dir/program}
	rm -f "$1"
	{
		printf '\177UKP\001\000\000\000'
		printf "\\$(printf %03o "$2")\000\000\000%s" "$path"
		head -c $((240 - ${#path})) /dev/zero
	} >"$1" && chmod 755 "$1"
}

# status COMMAND...: print its exit status
status()
{
	"$@" >/dev/null 2>&1
	echo $?
}

# refused FILE: check that nothing is started in application mode
refused()
{
	[ "$(status "$1" level)" != 20 ]
}

EXEC=2
JIT=4
WX=8
TREE=16

echo "TAP version 13"

app=$dir/app
program=$dir/program
cp "$PROGRAM" "$program" && chmod 755 "$program" && chown 0:0 "$program"

marker "$app" $EXEC
[ "$(wc -c <"$app")" = 252 ]
report "marker file has 252 bytes"

[ "$(status "$app" level)" = 20 ]
report "marker file starts the program at CPL 0"

[ "$(status "$program" level)" = 23 ]
report "the program itself is a normal process"

[ "$(status "$app" exec "$program" level)" = 23 ]
report "what it executes is a normal process"

[ "$(status "$app" exec "$app" level)" = 20 ]
report "but not if that is a marker file"

marker "$dir/tree" $((EXEC + TREE))
[ "$(status "$dir/tree" exec "$program" level)" = 20 ]
report "with TREE, what it executes is at CPL 0"

[ "$(status "$dir/tree" exec "$program" exec "$program" level)" = 20 ]
report "and what that executes"

cp "$program" "$dir/other" && chown 1 "$dir/other"
[ "$(status "$dir/tree" exec "$dir/other" level)" = 23 ]
report "but not if root does not own it"

for flags in 0 1 4 8 10 16 32; do
	marker "$app" $flags
	refused "$app"
	report "marker file with the flags $flags is refused"
done

marker "$app" $EXEC
chown 1:0 "$app"
refused "$app"
report "marker file that root does not own is refused"

marker "$app" $EXEC
chmod 775 "$app"
refused "$app"
report "group-writable marker file is refused"

marker "$app" $EXEC
echo >>"$app"
refused "$app"
report "longer marker file is refused"

marker "$app" $EXEC "program"
refused "$app"
report "relative path is refused"

marker "$app" $EXEC "$dir/nowhere"
refused "$app"
report "missing program is refused"

marker "$app" $EXEC "$dir/script"
printf '#!/bin/sh\nexit 20\n' >"$dir/script" && chmod 755 "$dir/script"
refused "$app"
report "script is refused"

marker "$dir/second" $EXEC
marker "$app" $EXEC "$dir/second"
refused "$app"
report "marker file of a marker file is refused"

marker "$app" $EXEC
chown 1:0 "$program"
refused "$app"
report "program that root does not own is refused"
dmesg | grep -q "UKL: .*must be owned by root"
report "and the log says why"

chown 0:0 "$program"
chmod 757 "$program"
refused "$app"
report "world-writable program is refused"

chmod 744 "$program"
[ "$(status "$app" level)" = 20 ] && ! [ "$(status setpriv --reuid=1 "$app" level)" = 20 ]
report "program that the caller may not execute is refused"
chmod 755 "$program"

mkdir "$dir/mnt"
mount -t tmpfs -o nosuid none "$dir/mnt" && cp "$program" "$dir/mnt/program" &&
	marker "$app" $EXEC "$dir/mnt/program" && refused "$app"
report "program on a nosuid mount is refused"
umount "$dir/mnt"

mkdir -p "$dir/root$dir"
cp -p "$program" "$dir/root$program"
marker "$dir/root/app" $EXEC
[ "$(status chroot "$dir/root" "$program" level)" = 23 ] &&
	[ "$(status chroot "$dir/root" /app level)" != 20 ]
report "start in a chroot is refused"

marker "$app" $EXEC
"$app" exec /bin/sleep 3 &
pid=$!
sleep 1
[ "$(readlink /proc/$pid/exe)" != "$app" ]
report "/proc/PID/exe is not the marker file"
kill $pid
wait $pid
[ $? = 143 ]
report "SIGTERM ends it"

# own_tests FLAGS CODE DESCRIPTION
own_tests()
{
	marker "$app" "$1"
	UKL_MODE=application UKL_CODE=$2 TMPDIR=$dir "$app" >"$dir/log" 2>&1
	report "its own tests, $3"
	sed 's/^/# /' "$dir/log"
}

own_tests $EXEC files "with root's files"
own_tests $((EXEC + JIT)) files,jit "with written memory"
own_tests $((EXEC + JIT + WX)) files,jit,wx "with writable memory"
own_tests $((EXEC + JIT + WX + 1)) files,jit,wx "and returns by RET"
UKL_MODE=normal TMPDIR=$dir "$program" >"$dir/log" 2>&1
report "its own tests, as a normal process"
sed 's/^/# /' "$dir/log"

storm=/sys/kernel/debug/ukl/nmi_storm
[ -e $storm ] || mount -t debugfs none /sys/kernel/debug 2>/dev/null
if [ -e $storm ] && [ "$(nproc)" -gt 1 ]; then
	marker "$app" $((EXEC + JIT))
	touch "$dir/busy"
	while [ -e "$dir/busy" ]; do
		UKL_CODE=files,jit TMPDIR=$dir "$app" -t threads_and_signals -t child -t wild_jumps
	done >/dev/null 2>&1 &
	load=$!
	sleep 1
	echo 30000 >$storm
	report "a storm of NMIs that take page faults"
	rm "$dir/busy"
	wait $load
	own_tests $((EXEC + JIT)) files,jit "afterwards"
fi

! dmesg | grep -q -E "BUG:|WARNING:|Oops:|general protection fault"
report "nothing in the log"

echo "1..$tests"
[ $failed = 0 ]
