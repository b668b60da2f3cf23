#!/usr/bin/python3
"""layers.py - makes the test images out of files and Debian packages, with Python's library alone.

    layers.py busybox BUSYBOX OUT        OUT/busybox      OCI layout: one small layer, all applets
                                         OUT/multi        the same in an index of two platforms
                                         OUT/foreign      the same, for another platform only
    layers.py debian BASE.tar FULL.tar OUT
                                         OUT/debian       OCI layout, seven layers, gzip
                                         OUT/debian-zstd, OUT/debian-plain   the same, otherwise packed

The upper layers hold every kind of thing that unpacking gets wrong: whiteouts, opaque directories,
hard links, changes of type, capabilities, devices, FIFOs, setuid, holes,
odd names, exact times.
"""

import copy
import gzip
import hashlib
import io
import json
import os
import platform
import stat
import subprocess
import sys
import tarfile

EPOCH = 1_700_000_000
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
OTHER = "arm64" if ARCH == "amd64" else "amd64"
# vfs_cap_data, revision 2, cap_net_raw=ep (capabilities(7), "File capability versioning").
NET_RAW = "\x01\x00\x00\x02\x00\x20\x00\x00" + "\x00" * 12


class Layer:
    """One layer's tar, in memory."""

    def __init__(self):
        self.bytes = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.bytes, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, path, mode=0o644, content=None, kind=tarfile.REGTYPE, uid=0, gid=0, mtime=EPOCH,
            link="", xattrs=None, device=(0, 0)):
        member = tarfile.TarInfo(path)
        member.type, member.mode, member.uid, member.gid = kind, mode, uid, gid
        member.mtime, member.linkname = mtime, link
        member.devmajor, member.devminor = device
        member.pax_headers = {"SCHILY.xattr." + name: value for name, value in (xattrs or {}).items()}
        if content is not None:
            member.size = len(content)
        self.tar.addfile(member, None if content is None else io.BytesIO(content))

    def file(self, path, content, **rest):
        self.add(path, content=content.encode() if isinstance(content, str) else content, **rest)

    def dir(self, path, mode=0o755, **rest):
        self.add(path, mode=mode, kind=tarfile.DIRTYPE, **rest)

    def link(self, path, target, **rest):
        self.add(path, mode=0o777, kind=tarfile.SYMTYPE, link=target, **rest)

    def hardlink(self, path, target, **rest):
        self.add(path, kind=tarfile.LNKTYPE, link=target, **rest)

    def white(self, path):
        head, _, tail = path.rpartition("/")
        self.file(f"{head}/.wh.{tail}" if head else f".wh.{tail}", b"")

    def finish(self):
        self.tar.close()
        return self.bytes.getvalue()


class Layout:
    """An OCI image layout (image-layout.md)."""

    def __init__(self, path):
        self.path, self.entries = path, []
        os.makedirs(os.path.join(path, "blobs/sha256"), exist_ok=True)

    def blob(self, content, media_type):
        digest = hashlib.sha256(content).hexdigest()
        with open(os.path.join(self.path, "blobs/sha256", digest), "wb") as out:
            out.write(content)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(content)}

    def json(self, value, media_type):
        return self.blob(json.dumps(value).encode(), media_type)

    def image(self, layers, packing, config, architecture=ARCH):
        pack = {"gzip": ("+gzip", lambda raw: gzip.compress(raw, 6, mtime=0)),
                "zstd": ("+zstd", lambda raw: subprocess.run(
                    ["zstd", "-q", "-3", "-c"], input=raw, stdout=subprocess.PIPE, check=True).stdout),
                "plain": ("", lambda raw: raw)}[packing]
        created = "2023-11-14T22:13:20Z"
        document = {"created": created, "architecture": architecture, "os": "linux", "config": config,
                    "rootfs": {"type": "layers", "diff_ids": [
                        "sha256:" + hashlib.sha256(raw).hexdigest() for raw in layers]},
                    "history": [{"created": created, "created_by": f"layer {n}"}
                                for n in range(len(layers))]}
        if architecture == "arm64":
            document["variant"] = "v8"
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": self.json(document, "application/vnd.oci.image.config.v1+json"),
                    "layers": [self.blob(pack[1](raw), "application/vnd.oci.image.layer.v1.tar" + pack[0])
                               for raw in layers]}
        return self.json(manifest, manifest["mediaType"])

    def name(self, descriptor, name):
        self.entries.append({**descriptor, "annotations": {"org.opencontainers.image.ref.name": name}})

    def finish(self):
        with open(os.path.join(self.path, "index.json"), "w") as out:
            json.dump({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                       "manifests": self.entries}, out)
        with open(os.path.join(self.path, "oci-layout"), "w") as out:
            out.write('{"imageLayoutVersion": "1.0.0"}')


def busybox(program, out):
    layer = Layer()
    for path in ["bin", "dev", "etc", "home", "home/alice", "proc", "root", "sys", "usr", "usr/bin", "var", "var/www"]:
        layer.dir(path, mode=0o555 if path in ("proc", "sys") else 0o700 if path == "root" else 0o755,
                  uid=1000 * (path == "home/alice"), gid=1000 * (path == "home/alice"))
    layer.dir("tmp", mode=0o1777)
    with open(program, "rb") as source:
        layer.file("bin/busybox", source.read(), mode=0o755)
    applets = subprocess.run([program, "--list"], stdout=subprocess.PIPE, check=True, text=True).stdout
    for applet in sorted(set(applets.split()) - {"busybox"}):
        layer.link("bin/" + applet, "busybox")
    layer.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\n")
    layer.file("etc/group", "root:x:0:\nalice:x:1000:\nwheel:x:10:root,alice\naudio:x:29:alice\n")
    layer.file("etc/not-a-program", "this is text\n", mode=0o755)
    layer.file("etc/not-executable", "#!/bin/sh\n", mode=0o644)
    layer.file("var/www/index.html", "hello\n")
    raw = layer.finish()
    config = {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "FROM_IMAGE=yes"], "Cmd": ["sh"],
              "Labels": {"test.origin": "busybox"}}

    layout = Layout(os.path.join(out, "busybox"))
    layout.name(layout.image([raw], "gzip", config), "localhost/busybox:latest")
    layout.finish()

    layout = Layout(os.path.join(out, "multi"))
    entries = []
    for architecture in (OTHER, ARCH):
        entry = layout.image([raw], "gzip", {**config, "Labels": {"test.arch": architecture}}, architecture)
        entry["platform"] = {"os": "linux", "architecture": architecture}
        entries.append(entry)
    # What build tools add beside the images: an attestation, which no machine may choose.
    note = layout.image([Layer().finish()], "gzip", {}, "unknown")
    entries.append({**note, "platform": {"os": "unknown", "architecture": "unknown"},
                    "annotations": {"vnd.docker.reference.type": "attestation-manifest"}})
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
    layout.name(layout.json(index, index["mediaType"]), "localhost/multi:latest")
    layout.finish()

    layout = Layout(os.path.join(out, "foreign"))
    layout.name(layout.image([raw], "gzip", config, OTHER), "localhost/foreign:latest")
    layout.finish()


def normal(name):
    return name[2:] if name.startswith("./") else name


def difference(base_path, full_path):
    """What `full` has beyond `base`, as a layer with whiteouts."""
    base = {}
    with tarfile.open(base_path) as tar:
        for member in tar:
            content = hashlib.sha256(tar.extractfile(member).read()).digest() if member.isreg() else b""
            base[normal(member.name)] = (member.type, member.mode, member.uid, member.gid, member.mtime,
                                         member.linkname, content)
    layer = Layer()
    seen = set()
    with tarfile.open(full_path) as tar:
        for member in tar:
            name = normal(member.name)
            seen.add(name)
            body = tar.extractfile(member).read() if member.isreg() else None
            content = hashlib.sha256(body).digest() if body is not None else b""
            now = (member.type, member.mode, member.uid, member.gid, member.mtime, member.linkname, content)
            if base.get(name) == now or name in ("", "."):
                continue
            member = copy.copy(member)
            member.name = name
            layer.tar.addfile(member, None if body is None else io.BytesIO(body))
    gone = sorted(set(base) - seen - {"", "."})
    for name in gone:
        if not any(name.startswith(other + "/") for other in gone if other != name):
            layer.white(name)
    return layer.finish()


def kinds():
    """Layer 3: one of every kind of file."""
    layer = Layer()
    layer.dir("kinds")
    layer.file("kinds/plain", "plain\n")
    layer.hardlink("kinds/plain-too", "kinds/plain")
    layer.hardlink("kinds/plain-three", "kinds/plain")
    layer.file("kinds/setuid", "#!/bin/sh\n", mode=0o4755)
    layer.file("kinds/setgid", "#!/bin/sh\n", mode=0o2755, gid=42)
    layer.dir("kinds/sticky", mode=0o1777)
    layer.dir("kinds/setgid-dir", mode=0o2775, gid=42)
    layer.file("kinds/capability", "\x7fELF", mode=0o755, xattrs={"security.capability": NET_RAW})
    layer.file("kinds/user-xattr", "x", xattrs={"user.test.note": "a value, with = and spaces"})
    layer.add("kinds/fifo", mode=0o600, kind=tarfile.FIFOTYPE)
    layer.add("kinds/null", mode=0o666, kind=tarfile.CHRTYPE, device=(1, 3))
    layer.add("kinds/block", mode=0o660, kind=tarfile.BLKTYPE, device=(7, 200))
    layer.file("kinds/owned", "owned\n", uid=1234, gid=4321, mode=0o640)
    layer.file("kinds/unreadable", "secret\n", mode=0)
    layer.file("kinds/old", "old\n", mtime=1)
    layer.file("kinds/nanoseconds", "ns\n", mtime=1_600_000_000.123456789)
    layer.file("kinds/future", "2100\n", mtime=4_102_444_800)
    layer.link("kinds/dangling", "/no/such/thing")
    layer.link("kinds/absolute", "/etc/passwd")
    layer.link("kinds/climbing", "../../../../../../etc/passwd")
    layer.link("kinds/old-link", "plain", mtime=99)
    layer.file("kinds/empty", b"")
    layer.dir("kinds/read-only-dir", mode=0o555)
    layer.file("kinds/read-only-dir/inside", "inside\n", mode=0o444)
    layer.dir("kinds/names")
    for name in ["with space", "new\nline", "back\\slash", "-dash", "ünïcode-✓", "tab\ttab", "..twodots",
                 ".wh", "wh.file", "'quote\"", "x" * 255, "*"]:
        layer.file("kinds/names/" + name, name)
    deep = "kinds/deep"
    for n in range(30):
        layer.dir(deep, mtime=EPOCH - n)
        deep += "/level-%02d" % n
    layer.file(deep + "-" + "y" * 90, "deep\n", mtime=EPOCH - 1000)
    # The directories' own times come last in many tars' readers: these must survive their children.
    layer.dir("kinds", mtime=1_234_567_890)
    return layer.finish()


def before():
    """Layer 4: what layer 5 takes away or changes."""
    layer = Layer()
    layer.dir("merge", mtime=EPOCH)
    for name in ["removed", "kept", "replaced-by-dir", "linked", "retyped"]:
        layer.file("merge/" + name, name + " below\n")
    for directory in ["removed-dir", "opaque", "replaced-by-file", "merged", "returns", "opaque-late"]:
        layer.dir("merge/" + directory)
        layer.file(f"merge/{directory}/below", "below\n")
        layer.dir(f"merge/{directory}/sub")
        layer.file(f"merge/{directory}/sub/below", "below\n")
    layer.dir("merge/real")
    layer.file("merge/real/file", "real\n")
    layer.link("merge/link-to-real", "real")
    return layer.finish()


def after():
    """Layer 5: whiteouts, opaque directories, changes of type."""
    layer = Layer()
    layer.dir("merge", mtime=EPOCH + 5)
    layer.white("merge/removed")
    layer.white("merge/removed-dir")
    layer.white("merge/replaced-by-dir")
    layer.dir("merge/replaced-by-dir")
    layer.file("merge/replaced-by-dir/now", "a directory\n")
    layer.white("merge/replaced-by-file")
    layer.file("merge/replaced-by-file", "a file\n")
    layer.dir("merge/opaque", mtime=EPOCH + 7)
    layer.file("merge/opaque/.wh..wh..opq", b"")
    layer.file("merge/opaque/above", "above\n")
    # The marker may come after the content it must not hide.
    layer.dir("merge/opaque-late")
    layer.file("merge/opaque-late/above", "above\n")
    layer.file("merge/opaque-late/.wh..wh..opq", b"")
    layer.dir("merge/merged", mode=0o750, uid=7, mtime=EPOCH + 8)
    layer.file("merge/merged/above", "above\n")
    layer.link("merge/retyped", "kept")
    layer.white("merge/returns")
    layer.white("merge/never-existed")
    return layer.finish()


def again():
    """Layer 6: what a whiteout removed comes back; a second name for a file of this layer."""
    layer = Layer()
    layer.dir("merge/returns", mtime=EPOCH + 9)
    layer.file("merge/returns/new", "new\n")
    layer.file("merge/removed", "back\n", mode=0o600)
    layer.dir("app")
    layer.file("app/main.py", "import os, sys\nprint('hello from', sys.version.split()[0], 'as', os.getuid())\n")
    layer.hardlink("app/also.py", "app/main.py")
    return layer.finish()


def holes():
    """Layer 7: a file with holes, as GNU tar writes one.

    In the pax form, because umoci, which ours is compared with, does not know the older one.
    """
    work = subprocess.run(["mktemp", "-d"], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
    os.makedirs(work + "/app")
    path = work + "/app/sparse"
    with open(path, "wb") as out:
        out.truncate(64 << 20)
        for offset in (0, 5 << 20, (64 << 20) - 6):
            out.seek(offset)
            out.write(b"island")
    os.chmod(path, 0o644)
    raw = subprocess.run(["tar", "-C", work, "-S", "--format=posix", "--numeric-owner", "--owner=0", "--group=0",
                          f"--mtime=@{EPOCH}", "--pax-option=delete=atime,delete=ctime", "-cf", "-", "app/sparse"], stdout=subprocess.PIPE, check=True).stdout
    os.remove(path)
    os.rmdir(work + "/app")
    os.rmdir(work)
    return raw


def debian(base, full, out):
    with open(base, "rb") as source:
        lowest = source.read()
    layers = [lowest, difference(base, full), kinds(), before(), after(), again(), holes()]
    config = {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"],
              "Cmd": ["python3"], "WorkingDir": "/app"}
    for packing, name in [("gzip", "debian"), ("zstd", "debian-zstd"), ("plain", "debian-plain")]:
        layout = Layout(os.path.join(out, name))
        layout.name(layout.image(layers, packing, config), f"localhost/{name}:latest")
        layout.finish()


if __name__ == "__main__":
    {"busybox": busybox, "debian": debian}[sys.argv[1]](*sys.argv[2:])
