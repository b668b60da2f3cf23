#!/bin/sh
# Limits are seen to hold on a machine of a user: cgroup version 2, systemd. Run it there, as root
# and as an ordinary user, with `coracle` in PATH and an image (busybox) as the argument:
#
#     coracle load -i busybox.tar && sh integration/vm/limits.sh localhost/bb
#
# Prints one line a check; exits with 1 if one fails. Times are long enough for an emulated machine.
set -u
image=${1:?an image with busybox in it}
failed=0

say() { # name, wanted, got
    if [ "$2" = "$3" ]; then echo "ok    $1"; else echo "FAIL  $1: wanted $2, got $3"; failed=1; fi
}

# A memory hog is killed, and that is written down.
coracle run --name limits-hog -m 32m --memory-swap 32m "$image" \
    dd if=/dev/zero of=/dev/null bs=200M count=1 >/dev/null 2>&1
say "memory hog ends with 137" 137 $?
say "OOMKilled" true "$(coracle inspect -f '{{.State.OOMKilled}}' limits-hog)"
coracle rm limits-hog >/dev/null

# A fork bomb meets the limit of tasks, and the machine does not.
count=$(coracle run --rm --pids-limit 16 "$image" sh -c '
    cat /sys/fs/cgroup/pids.max; i=0
    while [ $i -lt 64 ]; do sleep 20 & i=$((i+1)); done' 2>/dev/null | head -1)
say "pids.max" 16 "$count"
coracle run -d --name limits-bomb --pids-limit 16 "$image" \
    sh -c 'bomb() { bomb | bomb & }; bomb; sleep 100' >/dev/null
sleep 2
group=$(find /sys/fs/cgroup -type d -name "$(coracle inspect -f '{{.Id}}' limits-bomb)" 2>/dev/null | head -1)
current=$(cat "$group/pids.current")
[ "$current" -le 16 ] && current=16
say "a fork bomb has at most 16 tasks" 16 "$current"
coracle rm -f limits-bomb >/dev/null
say "its cgroup is gone" no "$([ -d "$group" ] && echo yes || echo no)"

# Half a processor is half a processor: usage over wall time, within a tenth.
coracle run -d --name limits-cpu --cpus 0.5 "$image" sh -c 'while :; do :; done' >/dev/null
group=$(find /sys/fs/cgroup -type d -name "$(coracle inspect -f '{{.Id}}' limits-cpu)" 2>/dev/null | head -1)
usage() { sed -n 's/^usage_usec //p' "$group/cpu.stat"; }
clock() { cut -d' ' -f1 /proc/uptime | tr -d .; } # hundredths of a second
sleep 1
usage1=$(usage); clock1=$(clock); sleep 10; usage2=$(usage); clock2=$(clock)
percent=$(((usage2 - usage1) / ((clock2 - clock1) * 100)))
echo "      --cpus 0.5 used $percent % of a processor"
[ "$percent" -ge 45 ] && [ "$percent" -le 55 ] && percent=50
say "cpu quota within a tenth" 50 "$percent"

# exec is inside, and below the same limits.
inside=$(coracle exec limits-cpu cat /sys/fs/cgroup/cpu.max)
say "exec sees the container's cgroup" "50000 100000" "$inside"
coracle exec -d limits-cpu sleep 1000
sleep 1
say "exec's process is in it" 2 "$(wc -l <"$group/cgroup.procs" | tr -d ' ')"
if coracle pause limits-cpu >/dev/null 2>&1; then
    usage1=$(usage); sleep 2; usage2=$(usage)
    say "a paused container uses no time" "$usage1" "$usage2"
    say "State.Status" paused "$(coracle inspect -f '{{.State.Status}}' limits-cpu)"
    coracle unpause limits-cpu >/dev/null
    coracle update --cpus 0.25 limits-cpu >/dev/null
    say "update" "25000 100000" "$(cat "$group/cpu.max")"
fi
coracle rm -f limits-cpu >/dev/null
exit $failed
