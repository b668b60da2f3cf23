# May trace: looks at everything of the processes of the engine that enter this container. What one of
# them has that this process has not is printed as LEAK. Ends when /tmp/done is there, and says how
# many it met.
import os
import signal

OURS = {str(os.getpid()), "1"}
RIGHTS = ("CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:", "Seccomp:", "Groups:")
HARMLESS = ("pipe:", "socket:", "/dev/null", "/dev/pts/")
HERE = (os.stat("/").st_dev, os.stat("/").st_ino)
engine, leaks = set(), 0


def rights(pid):
    with open(f"/proc/{pid}/status") as file:
        return {line.split()[0]: line.split()[1:] for line in file if line.startswith(RIGHTS)}


def leak(pid, what, content):
    global leaks
    leaks += 1
    if leaks < 20:
        print("LEAK", pid, what, content, flush=True)


def is_engine(pid):
    with open(f"/proc/{pid}/cmdline") as file:
        return "coracle" in file.read()


def look_at(pid, own):
    base = f"/proc/{pid}"
    if not is_engine(pid):
        return
    engine.add(pid)
    for name, value in rights(pid).items():
        if value != own[name] and is_engine(pid):
            leak(pid, name, value)
    for fd in os.listdir(f"{base}/fd"):
        target = os.readlink(f"{base}/fd/{fd}")
        if not target.startswith(HARMLESS) and is_engine(pid):
            leak(pid, "descriptor " + fd, target)
    root = os.stat(f"{base}/root")
    if (root.st_dev, root.st_ino) != HERE:
        leak(pid, "root", "")


own = rights("self")
print("ready", flush=True)
while not os.path.exists("/tmp/done"):
    for pid in os.listdir("/proc"):
        if pid.isdigit() and pid not in OURS:
            try:
                look_at(pid, own)
            except OSError:
                pass
print("seen", len(engine), flush=True)
signal.pause()
