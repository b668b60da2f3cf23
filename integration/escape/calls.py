# Tries every system call by its number, on every calling convention of the machine, and prints how
# many of each answer otherwise than "forbidden" or "there is none". Every call is made twice in
# processes of their own, with nothing but zeros and nothing but ones as arguments.
import ctypes
import mmap
import os
import platform
import select
import signal

libc = ctypes.CDLL(None, use_errno=True)
DENIED, REACHED = 7, 8
# Well above the newest call of Linux 6.18.
NUMBERS = 520


def native(number, argument):
    ctypes.set_errno(0)
    value = ctypes.c_long(argument)
    if libc.syscall(ctypes.c_long(number), value, value, value, value, value, value) != -1:
        return 0
    return ctypes.get_errno()


def x32(number, argument):
    return native(0x40000000 | number, argument)


# push rbx, rbp; eax = edi; ebx = ecx = edx = ebp = edi = esi; int 0x80; pop rbp, rbx; ret
GATE = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
GATE.write(bytes.fromhex("5355 89f8 89f3 89f1 89f2 89f5 89f7 cd80 5d5b c3"))
gate = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint, ctypes.c_int)(
    ctypes.addressof(ctypes.c_char.from_buffer(GATE)))


def i386(number, argument):
    result = gate(number, argument)
    return -result if -4096 < result < 0 else 0


def outcome(attempt, number, argument):
    """DENIED, REACHED, or how else the process that tried it ended."""
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        os.close(0)
        # What a fork that the test did not ask for has to say.
        os.close(2)
        os._exit(DENIED if attempt(number, argument) in (1, 38) else REACHED)
    pidfd = os.pidfd_open(pid)
    waits = not select.select([pidfd], [], [], 0.15)[0]
    if waits:
        os.kill(pid, signal.SIGKILL)
    os.close(pidfd)
    status = os.waitpid(pid, 0)[1]
    if waits:
        return "waits"
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)


def count(name, attempt, probe):
    if outcome(attempt, probe, 0) == -signal.SIGSEGV:
        print(name, 0, "absent")
        return
    reached = [number for number in range(NUMBERS)
               if any(outcome(attempt, number, argument) != DENIED for argument in (0, -1))]
    print(name, len(reached), *reached)


count("native", native, 39)
if platform.machine() == "x86_64":
    count("x32", x32, 39)
    count("i386", i386, 20)
