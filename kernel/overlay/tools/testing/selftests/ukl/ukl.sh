#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Start the application that is linked into this kernel in allowed and forbidden
# ways, and run its own tests.

NAME=${UKL_APP_NAME:-ukl_app}
SYS=/sys/kernel/ukl/$NAME
KSFT_SKIP=4

if [ "$(id -u)" != 0 ] || [ ! -r "$SYS/marker" ]; then
	echo "1..0 # SKIP not root, or no application '$NAME' in this kernel"
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

# marker FILE: create a valid marker file
marker()
{
	rm -f "$1"
	cat "$SYS/marker" >"$1" && chmod 755 "$1"
}

# status COMMAND...: print its exit status
status()
{
	"$@" >/dev/null 2>&1
	echo $?
}

# refused FILE: check that the application is not started. The exit status is
# undefined then: the shell runs a file that execve() does not recognize
# (ENOEXEC) as a script, and a build ID can be any command.
refused()
{
	[ "$(status "$1" exit 21)" != 21 ]
}

echo "TAP version 13"

app=$dir/app

marker "$app"
[ "$(wc -c <"$app")" = 64 ]
report "marker in sysfs has 64 bytes"

[ "$(status "$app" exit 21)" = 21 ]
report "marker file starts the application"

chown 1:0 "$app"
refused "$app"
report "marker file that root does not own is refused"

marker "$app"
chmod 775 "$app"
refused "$app"
report "group-writable marker file is refused"

marker "$app"
chmod 757 "$app"
refused "$app"
report "world-writable marker file is refused"

marker "$app"
chmod 644 "$app"
refused "$app"
report "marker file without execute permission is refused"

# The build id is at offset 40.
marker "$app"
printf '\001\002\003\004' | dd of="$app" bs=1 seek=40 conv=notrunc 2>/dev/null
refused "$app"
report "marker file of another kernel is refused"
dmesg | grep -q "UKL: .*belongs to another kernel"
report "and the log says why"

marker "$app"
printf 'X' | dd of="$app" bs=1 seek=8 conv=notrunc 2>/dev/null
refused "$app"
report "marker file of an unknown application is refused"

marker "$app"
printf '\002' | dd of="$app" bs=1 seek=4 conv=notrunc 2>/dev/null
refused "$app"
report "marker file of another version is refused"

marker "$app"
echo >>"$app"
refused "$app"
report "longer marker file is refused"

# elf_marker TYPE FILE: create an ELF file with a note of TYPE after its header
elf_marker()
{
	rm -f "$2"
	{
		printf '\177ELF\002\001\001'
		head -c 57 /dev/zero
		printf '\004\0\0\0\100\0\0\0'
		printf "\\00$1\0\0\0UKL\0"
		cat "$SYS/marker"
		echo more
	} >"$2"
	chmod 755 "$2"
}

elf_marker 1 "$app"
[ "$(status "$app" exit 21)" = 21 ]
report "ELF file with a marker starts the application"
chown 1:0 "$app"
refused "$app"
report "ELF file with a marker that root does not own is refused"
elf_marker 2 "$app"
refused "$app"
report "ELF file with another note is refused"

marker "$app"
mkdir "$dir/mnt"
mount -t tmpfs -o nosuid none "$dir/mnt" && marker "$dir/mnt/app" && refused "$dir/mnt/app"
report "marker file on a nosuid mount is refused"
umount "$dir/mnt"

mount -t tmpfs -o noexec none "$dir/mnt" && marker "$dir/mnt/app" && refused "$dir/mnt/app"
report "marker file on a noexec mount is refused"
umount "$dir/mnt"

"$app" sleep 5 &
pid=$!
sleep 1
[ "$(readlink /proc/$pid/exe)" = "$app" ]
report "/proc/PID/exe is the marker file"
grep -q "ukl:$NAME" /proc/$pid/maps
report "/proc/PID/maps shows the data"
[ "$(cat /proc/$pid/comm)" = app ]
report "/proc/PID/comm is its name"
kill $pid
wait $pid
[ $? = 143 ]
report "SIGTERM ends it"

"$app" sleep 3 & first=$!
"$app" exit 3 & second=$!
wait $second
[ $? = 3 ] && kill -0 $first
report "two instances at once"
kill $first
wait $first 2>/dev/null

# Some tests use debugfs to detect CONFIG_UKL_TEST.
[ -e /sys/kernel/debug/ukl ] || mount -t debugfs none /sys/kernel/debug 2>/dev/null
"$app" >"$dir/log" 2>&1
report "its own tests"
sed 's/^/# /' "$dir/log"

tracing=/sys/kernel/tracing
[ -e $tracing/trace ] || mount -t tracefs none $tracing 2>/dev/null
if [ -e $tracing/kprobe_events ]; then
	echo 'p:ukl/probed probed' >$tracing/kprobe_events &&
		echo 1 >$tracing/events/ukl/probed/enable &&
		"$app" probe 100 &&
		[ "$(grep -c ' probed: ' $tracing/trace)" = 100 ]
	report "a probe on an application's function"
	echo 0 >$tracing/events/ukl/probed/enable
	echo 'r:ukl/returned probed' >>$tracing/kprobe_events 2>/dev/null
	[ $? != 0 ]
	report "a probe on its return is refused"
	echo >$tracing/kprobe_events
	"$app" probe 100
	report "it runs without the probe"
fi

storm=/sys/kernel/debug/ukl/nmi_storm
if [ -e $storm ] && [ "$(nproc)" -gt 1 ]; then
	(while :; do "$app" -t stress >/dev/null 2>&1; done) &
	load=$!
	sleep 1
	echo 30000 >$storm
	report "a storm of NMIs that take page faults"
	sed 's/^/# /' $storm
	kill $load
	wait $load 2>/dev/null
	"$app" >"$dir/log" 2>&1
	report "its own tests, afterwards"
	sed 's/^/# /' "$dir/log"
fi

! dmesg | grep -q -E "BUG:|WARNING:|Oops:|general protection fault"
report "nothing in the log"

echo "1..$tests"
[ $failed = 0 ]
