//! What a reader of each page has, and which of its commands are given in another way.

use super::{AsOrdinary, AsRoot, Elsewhere, Interrupted, Page, Terminal, Told};
use crate::scripts::Image::{Alpine, Debian, Postgres, Redis};

/// A page of which every command is given as it stands.
const PLAIN: Page = Page {
    file: "",
    images: &[Alpine],
    before: "",
    here: &[],
    ways: &[],
};

/// A container `web`.
const WEB: &str = "coracle run -d --name web alpine:3.20 sleep 1000 >/dev/null\n";

pub const PAGES: &[Page] = &[
    Page {
        file: "README.md",
        images: &[Alpine, Debian],
        before: "coracle tag debian:12 debian:latest
coracle save -o image.tar alpine:3.20
echo key >key.pem
printf 'FROM debian AS base\\nRUN --mount=type=secret,id=key cat /run/secrets/key >/copy || true\\n\
FROM scratch AS artifacts\\nCOPY --from=base /copy /\\nFROM base\\n' >Dockerfile",
        here: &[],
        ways: &[
            ("make ", Elsewhere("builds and tests this project itself")),
            ("coracle run --rm -it debian bash", Terminal("exit")),
            ("coracle exec -it job bash", Terminal("exit")),
            ("coracle logs -f job", Interrupted),
            ("coracle pause", AsRoot),
            ("coracle update", AsRoot),
            ("coracle system prune", Told("y")),
            ("coracle system boot enable", Elsewhere("changes how the machine boots")),
            ("coracle run --rm --userns keep-id", AsOrdinary("for ordinary users")),
        ],
    },
    Page {
        file: "docs/archives.md",
        before: "
printf 'FROM alpine:3.20\\nRUN touch /one\\n' | coracle build -q -t app -t app:1 -
printf 'FROM app:1\\nRUN touch /two\\n' | coracle build -q -t app:2 -
mkdir tree && echo x >tree/x && tar -C tree -cJf rootfs.tar.xz .",
        ways: &[
            ("coracle image scp", Elsewhere("needs other machines and users")),
        ],
        ..PLAIN
    },
    Page {
        file: "docs/build.md",
        before: "
mkdir docker && echo key >key.pem
printf 'FROM alpine:3.20 AS base\\nRUN touch /built\\nFROM scratch AS artifacts\\nCOPY --from=base /built /\\nFROM base\\n' | tee Dockerfile >docker/prod.Dockerfile
eval \"$(ssh-agent -s)\" >/dev/null; trap 'ssh-agent -k >/dev/null' EXIT
printf 'FROM scratch\\nCOPY Dockerfile /\\n' >any.Dockerfile",
        here: &[
            ("REF", "$REGISTRY/cache:1"),
            ("-t app . images", "-t app . images"),
            ("--platform linux/amd64,linux/arm64 -t app", "--platform linux/amd64,linux/arm64 -f any.Dockerfile -t app"),
        ],
        ways: &[
            ("coracle build -t app https://", Elsewhere("needs a git server")),
        ],
        ..PLAIN
    },
    Page {
        file: "docs/bundles.md",
        before: "coracle tag alpine:3.20 alpine:latest; mkdir b; coracle export $(coracle create alpine:3.20) | { mkdir b/rootfs; tar -C b/rootfs -x --exclude=dev/*; }; rmdir b/none 2>/dev/null || true",
        here: &[("mkdir b &&", "true &&"), ("[COMMAND…]", "true"),
            // Another way to make the same.
            ("coracle spec --memory", "rm config.json; coracle spec --memory")],
        ..PLAIN
    },
    Page {
        file: "docs/ci.md",
        images: &[Alpine, Debian],
        before: "
cp \"$(readlink \"$(command -v coracle)\")\" coracle
printf 'FROM debian:12\\nRUN printf \"#!/bin/sh\\\\n\" >/usr/bin/make; chmod 755 /usr/bin/make\\n' >Dockerfile
export GITHUB_PATH=$PWD/path GITHUB_ACTOR=me GITHUB_REPOSITORY=team/app GITHUB_SHA=0a1b2c TOKEN=token
export CI_REGISTRY=$REGISTRY CI_REGISTRY_IMAGE=$REGISTRY/group/app CI_REGISTRY_USER=ci CI_REGISTRY_PASSWORD=secret CI_COMMIT_SHA=0a1b2c
mkdir -p \"$HOME/bin\" \"$HOME/usr\"",
        here: &[
            ("ghcr.io", "$REGISTRY"),
            ("/usr/local/bin/coracle && coracle system alias install", "\"$HOME/usr/coracle\" && \"$HOME/usr/coracle\" system alias install --dir \"$HOME/usr\""),
        ],
        ways: &[("sudo sysctl", Elsewhere("changes the machine"))],
    },
    Page {
        file: "docs/command-line.md",
        before: "coracle run -d --name web --restart on-failure:3 alpine:3.20 sleep 1000
mkdir -p zsh ~/.config/fish/completions",
        here: &[("${fpath[1]}", "zsh")],
        ways: &[
            ("coracle system alias", AsOrdinary("root's are the machine's")),
            ("coracle system man", AsOrdinary("root's are the machine's")),
            ("man coracle-run", Elsewhere("needs man")),
        ],
        ..PLAIN
    },
    Page {
        file: "docs/commit.md",
        before: WEB,
        ..PLAIN
    },
    Page {
        file: "docs/devices.md",
        before: "PASSWORD=geheim",
        here: &[
            ("/dev/ttyUSB0", "/dev/null"),
            ("/dev/fuse", "/dev/zero"),
            ("IMAGE", "alpine:3.20 true"),
        ],
        ways: &[
            ("coracle run --device /dev/snd", Elsewhere("needs a sound card")),
            ("coracle run --device nvidia", Elsewhere("needs a graphics card of NVIDIA's")),
            ("coracle run --gpus", Elsewhere("needs a graphics card of NVIDIA's")),
        ],
        ..PLAIN
    },
    Page {
        file: "docs/events.md",
        before: "coracle tag alpine:3.20 nginx; coracle run --name web nginx sh -c 'exit 7' || true",
        here: &[
            ("+01:00 container", "Z container"),
            ("name=web)", "name=web, test.origin=busybox)"),
        ],
        ways: &[("coracle events --since", Interrupted)],
        ..PLAIN
    },
    Page {
        file: "docs/files.md",
        before: "mkdir site; echo x >site/index.html
coracle run -d --name web alpine:3.20 sh -c 'mkdir -p /var/log /srv; echo x >/var/log/app.log; sleep 1000'
until coracle exec web test -s /var/log/app.log; do sleep 0.1; done",
        ..PLAIN
    },
    Page {
        file: "docs/health.md",
        before: "printf 'FROM alpine:3.20\\nRUN mkdir /www && echo x >/www/index.html\\nCMD [\"httpd\", \"-f\", \"-h\", \"/www\"]\\n' | coracle build -q -t my/web -",
        here: &[("http://localhost", "http://127.0.0.1"), ("--health-interval 10s", "--health-interval 1s")],
        ways: &[("coracle events", Interrupted)],
        ..PLAIN
    },
    Page {
        file: "docs/images.md",
        before: "printf 'FROM alpine:3.20\\nRUN touch /built\\n' | coracle build -q -t app -t app:old -",
        ways: &[("coracle image prune", Told("y"))],
        ..PLAIN
    },
    Page {
        file: "docs/manifests.md",
        before: "
for a in amd64 arm64; do printf 'FROM scratch\\nCOPY Dockerfile /\\n' >Dockerfile
coracle build -q --platform linux/$a -t $REGISTRY/app:1-$a .; coracle push -q $REGISTRY/app:1-$a; done
echo model >model.bin; echo readme >README.md; echo '{}' >sbom.json; mkdir models",
        here: &[("registry.example", "$REGISTRY"), ("/srv/models", "models")],
        ..PLAIN
    },
    Page {
        file: "docs/migration.md",
        images: &[Alpine, Debian],
        before: "coracle tag debian:12 debian; coracle tag alpine:3.20 app; coracle tag alpine:3.20 db",
        here: &[("; podman volume", "; coracle volume")],
        ways: &[
            ("coracle system alias", AsOrdinary("root's are the machine's")),
            ("podman save", Elsewhere("needs podman and its images")),
            ("coracle volume create data; podman", Elsewhere("needs podman and its volumes")),
        ],
    },
    Page {
        file: "docs/networking.md",
        images: &[Alpine, Debian, Postgres, Redis],
        before: "
printf 'FROM alpine:3.20\\nRUN mkdir /www && echo x >/www/index.html\\nCMD [\"httpd\", \"-f\", \"-h\", \"/www\"]\\n' | coracle build -q -t nginx -
coracle tag postgres:16 postgres; coracle tag redis:7 redis
coracle run -d --name CONTAINER -p 80 alpine:3.20 sleep 1000",
        here: &[
            ("--network web:alias=db,ip=10.20.0.130", "--network lan:alias=db,ip=10.20.0.130"),
            ("…", "alpine:3.20 true"),
        ],
        ways: &[
            ("coracle network prune", Told("y")),
            ("psql", Elsewhere("what stands in for postgres speaks another protocol")),
        ],
    },
    Page {
        file: "docs/push.md",
        before: "coracle tag alpine:3.20 $REGISTRY/team/app:0; coracle push -q $REGISTRY/team/app:0
printf 'FROM alpine:3.20\\nRUN touch /built\\n' | coracle build -q -t app -",
        here: &[("registry.example.org", "$REGISTRY")],
        ways: &[("coracle login", Terminal("me secret"))],
        ..PLAIN
    },
    Page {
        file: "docs/registries.md",
        before: "TOKEN=token",
        here: &[("registry.example", "$REGISTRY")],
        ways: &[
            ("coracle login registry.example", Terminal("me secret")),
            ("coracle search", Elsewhere("needs a registry with a search")),
        ],
        ..PLAIN
    },
    Page {
        file: "docs/reliability.md",
        ways: &[
            ("make", Elsewhere("tests this project itself")),
            ("CORACLE_", Elsewhere("tests this project itself")),
            ("SECONDS_", Elsewhere("tests this project itself")),
        ],
        ..PLAIN
    },
    Page {
        file: "docs/resources.md",
        ways: &[
            ("sudo", Elsewhere("changes the machine, and needs systemd")),
            ("printf", Elsewhere("changes the machine, and needs systemd")),
        ],
        ..PLAIN
    },
    Page {
        file: "docs/rootless.md",
        ways: &[
            ("sudo", Elsewhere("changes the machine")),
            ("coracle doctor", AsOrdinary("is about ordinary users")),
        ],
        ..PLAIN
    },
    Page {
        file: "docs/storage.md",
        before: "coracle tag alpine:3.20 alpine; coracle run --name kept alpine true",
        here: &[
            ("alpine debian:12 /srv/images", "alpine /srv/images"),
            // Nothing is left by a reset.
            ("coracle image export-store", "coracle pull -q alpine; coracle image export-store"),
            ("/srv/images", "$PWD/srv"),
        ],
        ways: &[
            ("coracle system prune", Told("y")),
            ("coracle container prune", Told("y")),
            ("coracle system reset", Told("y")),
        ],
        ..PLAIN
    },
    Page {
        file: "docs/transfer.md",
        before: "coracle rmi alpine:3.20; coracle tag localhost/x y 2>/dev/null || true",
        here: &[("REGISTRY/app", "alpine")],
        ..PLAIN
    },
    Page {
        file: "docs/trust.md",
        ways: &[
            ("coracle image trust", AsOrdinary("root's policy is the machine's")),
            ("coracle pull", Elsewhere("needs an image that is signed: trust.rs")),
        ],
        before: "openssl ecparam -genkey -name prime256v1 -noout | openssl ec -pubout >cosign.pub 2>/dev/null",
        ..PLAIN
    },
    Page {
        file: "docs/volumes.md",
        before: "coracle tag alpine:3.20 alpine; mkdir site",
        here: &[("…", "alpine true")],
        ..PLAIN
    },
];
