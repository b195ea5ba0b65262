# SPDX-License-Identifier: GPL-2.0
"""Runs programs/stress in the kernel and as a process, under NMIs and hotplug, and judges."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from tests.boot.harness import PROGRAMS, Built, Lab, Ran
from ukl.base.model import Outcome
from ukl.settings import manifest

CPUS = 4

# Both modes at once: each disturbs the other's entries too. What the shell does beside
# them starts and ends processes without pause.
SCRIPT = """
mount -t debugfs none /sys/kernel/debug 2>/dev/null
storm=/sys/kernel/debug/ukl/nmi_storm
cpus=/sys/devices/system/cpu
echo "the stress begins" >/dev/kmsg
for mode in UKL USER; do
    eval program=\\$$mode
    ( $program {seconds} >/tmp/$mode 2>&1; echo $? >/tmp/$mode.status ) &
done
cycles=0 failed=0
until [ -e /tmp/UKL.status ] && [ -e /tmp/USER.status ]; do
    for cpu in 1 2 3; do
        echo 0 >$cpus/cpu$cpu/online || failed=$((failed + 1))
        echo 200 >$storm || failed=$((failed + 1))
        echo 1 >$cpus/cpu$cpu/online || failed=$((failed + 1))
    done
    echo 1000 >$storm || failed=$((failed + 1))
    cycles=$((cycles + 1))
done
echo "uptime $(cut -d' ' -f1 /proc/uptime)"
echo "cycles $cycles failed $failed online $(cat $cpus/online)"
cat $storm
for mode in UKL USER; do
    sed "s/^/$mode: /" /tmp/$mode
    echo "$mode: status $(cat /tmp/$mode.status)"
done
dmesg -r | sed '1,/the stress begins/d' >/tmp/log
echo "log $(wc -l </tmp/log)"
# What the kernel says at the level of a warning or above, or in the words of its checkers.
grep -E '^<[0-4]>|BUG:|WARNING:|Oops|INFO: (task|possible|trying)|suspicious' /tmp/log |
    grep -v -E '{harmless}' | sed 's/^/!!!/'
"""

# What a kernel says of a virtual machine whose processors are not run all the time.
HARMLESS = (
    # A timer's interrupt took long: its processor was not run meanwhile.
    r"hrtimer: interrupt took [0-9]+ ns",
    # A processor comes back with the IPI pending that was on its way when it went.
    r"APIC: Stale IRR: [0-9a-f,]+ ISR: [0,]+$",
    # The TSC of one processor seems to lag behind another's.
    r"clocksource: ",
)


def build(lab: Lab, name: str, options: Mapping[str, str], profile: str = "") -> Built:
    """Return the program in a kernel with CONFIG_UKL_TEST; `name` tells kernels apart."""
    spec = manifest.load(PROGRAMS / "stress")
    return lab.build(replace(spec, name=name, kernel_options=options, profile=profile))


def run(lab: Lab, built: Built, seconds: int, *, append: tuple[str, ...] = ()) -> Ran:
    """Run it for so long; the guest may take several times that on a busy machine."""
    script = SCRIPT.format(seconds=seconds, harmless="|".join(HARMLESS))
    return lab.script(built, script, cpus=CPUS, timeout=180.0 + 4 * seconds, append=append)


def judge(ran: Ran) -> dict[str, int]:
    """Assert that all counters agree and nothing was logged; return the counters of the storm."""
    assert ran.result.outcome is Outcome.EXITED, ran.text
    for mode in ("UKL", "USER"):
        assert f"{mode}: status 0" in ran.lines, ran.text
        for what in ("mutex", "signals"):
            assert re.search(rf"^{mode}: agree {what} [1-9]", ran.text, re.MULTILINE), ran.text
    assert f" failed 0 online 0-{CPUS - 1}" in ran.text, ran.text
    assert "!!!" not in ran.text, ran.text
    # The log was there, and was looked at: hotplug speaks in it.
    assert re.search(r"^log [1-9]", ran.text, re.MULTILINE), ran.text
    words = re.search(r"^(sent \d+ handled \d+ stack \d+ application \d+)$", ran.text, re.MULTILINE)
    assert words is not None, ran.text
    fields = words[1].split()
    storm = {key: int(value) for key, value in zip(fields[::2], fields[1::2], strict=True)}
    # Two that come before the first is handled are one.
    assert 0 < storm["application"] < storm["handled"] <= storm["sent"], ran.text
    return storm
