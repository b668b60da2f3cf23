#!/usr/bin/python3
"""tree.py ROOT - one line for everything below ROOT, in order: what two trees must agree on.

    path type mode uid gid size mtime links target xattrs content

Run by the machine's Python over a tree that umoci unpacked, and by the image's own inside a
container; so it uses little of the library. Fields are tab-separated.
"""

import os
import stat
import sys
import zlib

# What the engine puts there itself.
MOUNTED = {"dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf", "run/.containerenv",
           ".dockerenv", "run/.coracleenv", "tree.py"}
# Directories in which the engine makes a mount point.
TOUCHED = {"", "etc", "run"}


def digest(path):
    value = 0
    with open(path, "rb") as content:
        while True:
            block = content.read(1 << 20)
            if not block:
                return "%08x" % value
            value = zlib.crc32(block, value)


def line(root, path):
    full = os.path.join(root, path)
    data = os.lstat(full)
    mode = data.st_mode
    kind = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p", stat.S_IFCHR: "c",
            stat.S_IFBLK: "b", stat.S_IFSOCK: "s"}[stat.S_IFMT(mode)]
    fields = [ascii(path), kind, "%o" % stat.S_IMODE(mode), str(data.st_uid), str(data.st_gid)]
    fields.append(str(data.st_size) if kind in "fl" else "-")
    fields.append("-" if path in TOUCHED else str(data.st_mtime_ns))
    fields.append(str(data.st_nlink) if kind != "d" else "-")
    fields.append(ascii(os.readlink(full)) if kind == "l" else
                  "%d:%d" % (os.major(data.st_rdev), os.minor(data.st_rdev)) if kind in "cb" else "-")
    xattrs = []
    if kind != "l":
        for name in sorted(os.listxattr(full, follow_symlinks=False)):
            xattrs.append("%s=%s" % (name, os.getxattr(full, name, follow_symlinks=False).hex()))
    fields.append(",".join(xattrs) or "-")
    fields.append(digest(full) if kind == "f" else "-")
    return "\t".join(fields)


def walk(root, path):
    if path in MOUNTED:
        return
    print(line(root, path))
    full = os.path.join(root, path)
    if stat.S_ISDIR(os.lstat(full).st_mode):
        for name in sorted(os.listdir(full)):
            walk(root, os.path.join(path, name))


walk(sys.argv[1], "")
