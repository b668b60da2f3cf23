# Waits for processes of the engine that enter this container, and tries everything on them.
# A process is the engine's as long as its executable is not one of this image; all that is gained
# from one is printed as LEAK. Ends when /tmp/done is there, and says how many it met.
import ctypes
import os
import signal

libc = ctypes.CDLL(None, use_errno=True)
OURS = {str(os.getpid()), "1"}
SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
WALL = 0x40000000
HINTS = (b"coracle", b"memfd", b"/store", b"layers")
engine, leaks = set(), 0


def leak(pid, what, content):
    global leaks
    leaks += 1
    if leaks < 20:
        print("LEAK", pid, what, content, flush=True)


def read(path):
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(65536)
    except OSError:
        return b""


def link(path):
    try:
        return os.readlink(path.encode())
    except OSError:
        return b""


def try_all(pid):
    base = f"/proc/{pid}"
    for name in ("exe", "cwd", "root"):
        target = link(f"{base}/{name}")
        if any(hint in target for hint in HINTS):
            leak(pid, name, target)
    try:
        handle = os.open(f"{base}/exe", os.O_PATH)
    except OSError:
        handle = -1
    if handle >= 0:
        if b"coracle" in link(f"/proc/self/fd/{handle}"):
            leak(pid, "handle of its file", b"")
        os.close(handle)
    for name in ("environ", "maps", "auxv", "syscall", "stack"):
        content = read(f"{base}/{name}")
        if b"coracle" in content:
            leak(pid, name, content[:80])
    try:
        for fd in os.listdir(f"{base}/fd"):
            target = link(f"{base}/fd/{fd}")
            if any(hint in target for hint in HINTS):
                leak(pid, "descriptor " + fd, target)
    except OSError:
        pass
    number = int(pid)
    if libc.ptrace(SEIZE, number, None, None) == 0:
        if b"coracle" in link(f"{base}/exe") or b"coracle" in read(f"{base}/maps"):
            leak(pid, "ptrace", b"")
        # Let go of again: who is traced is not seen to end by anybody else.
        libc.ptrace(INTERRUPT, number, None, None)
        libc.waitpid(number, None, WALL)
        libc.ptrace(DETACH, number, None, None)
    pidfd = libc.syscall(434, number, 0)
    if pidfd >= 0:
        for fd in range(3, 12):
            got = libc.syscall(438, pidfd, fd, 0)
            if got >= 0:
                target = link(f"/proc/self/fd/{got}")
                if any(hint in target for hint in HINTS):
                    leak(pid, "pidfd_getfd", target)
                os.close(got)
        os.close(pidfd)


print("ready", flush=True)
while not os.path.exists("/tmp/done"):
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or pid in OURS:
            continue
        if b"coracle" in read(f"/proc/{pid}/cmdline") + read(f"/proc/{pid}/comm"):
            engine.add(pid)
        try_all(pid)
print("seen", len(engine), flush=True)
signal.pause()
