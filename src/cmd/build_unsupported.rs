//! Flags of Docker's, buildx's and Podman's builds that are known and not there: refused, or without an
//! effect and said so. What limits or protects is never dropped.

use super::unsupported::{
    Answer::{Ignore, Refuse},
    CONTENT_TRUST, NO_DECRYPTION, RUNTIMES, Unsupported, boolean, refused, valued,
};

const ONE_BINARY: &str = "coracle is the only runtime";

/// Goes on in silence: it is what happens anyway, or about what is not here.
const fn moot(long: &'static str, why: &'static str) -> Unsupported {
    Unsupported {
        harmless: &[
            "true", "false", "1", "0", "t", "f", "T", "F", "TRUE", "FALSE", "True", "False",
        ],
        instead: why,
        ..boolean(long, Ignore)
    }
}

pub static BUILD: &[Unsupported] = &[
    moot("compress", "a context is not sent anywhere"),
    // Its letter is podman's --disable-compression, too, and neither does a thing.
    Unsupported {
        short: Some('D'),
        ..moot("debug", "`coracle --debug build` says more")
    },
    CONTENT_TRUST,
    moot("force-rm", "steps leave no containers behind"),
    moot("rm", "steps leave no containers behind"),
    moot(
        "identity-label",
        "images are not labelled with the name of the builder",
    ),
    moot(
        "inherit-labels",
        "labels of the base image are always inherited",
    ),
    moot(
        "inherit-annotations",
        "annotations of the base image are not inherited",
    ),
    moot("layers", "steps are always kept for the next build"),
    moot(
        "logsplit",
        "the output of platforms is told apart by their names",
    ),
    moot(
        "skip-unused-stages",
        "stages that nothing needs are never built",
    ),
    moot(
        "disable-compression",
        "layers are packed when they are pushed",
    ),
    Unsupported {
        harmless: &["false", "0", ""],
        instead: "no attestations are made",
        ..valued("provenance", Ignore)
    },
    Unsupported {
        harmless: &["false", "0", ""],
        instead: "no attestations are made",
        ..valued("sbom", Ignore)
    },
    Unsupported {
        instead: "no attestations are made",
        ..valued("attest", Ignore)
    },
    Unsupported {
        harmless: &["default", "", "oci", "chroot", "rootless"],
        ..refused(
            "isolation",
            "steps run as containers do: default is the only isolation",
        )
    },
    Unsupported {
        harmless: RUNTIMES,
        ..refused("runtime", ONE_BINARY)
    },
    refused("runtime-flag", ONE_BINARY),
    refused(
        "policy",
        "containers-policy.json says which base images may be used",
    ),
    refused(
        "resource",
        "limits have flags of their own: --memory, --cpus, …",
    ),
    refused(
        "manifest",
        "build with --platform A,B, or see `coracle manifest add`",
    ),
    Unsupported {
        instead: "flatten the image: `coracle export` and `coracle import`",
        ..boolean("squash-all", Refuse)
    },
    refused(
        "userns",
        "steps have the user namespace of the store: see docs/user-namespaces.md",
    ),
    refused("userns-uid-map", "steps have the ids of the store"),
    refused("userns-gid-map", "steps have the ids of the store"),
    refused("userns-uid-map-user", "steps have the ids of the store"),
    refused("userns-gid-map-group", "steps have the ids of the store"),
    refused("cgroupns", "every step has a cgroup namespace of its own"),
    refused("ipc", "every step has an IPC namespace of its own"),
    refused("pid", "every step has a PID namespace of its own"),
    refused("uts", "every step has a UTS namespace of its own"),
    refused("device", "steps get no devices of the machine"),
    refused(
        "group-add",
        "put the groups into the image: its /etc/group counts",
    ),
    refused("hooks-dir", "steps run no hooks"),
    refused("decryption-key", NO_DECRYPTION),
    refused("cw", "there are no confidential workloads here"),
    refused("cache-ttl", "--no-cache asks the cache for nothing"),
    refused("cpp-flag", "run cpp(1) first"),
    refused("env", "write ENV into the Dockerfile"),
    refused(
        "unsetenv",
        "an image keeps the variables of its base: write ENV NAME= into the Dockerfile",
    ),
    refused(
        "unsetlabel",
        "an image keeps the labels of its base: --label NAME= empties one",
    ),
    refused(
        "unsetannotation",
        "annotations of the base image are not inherited",
    ),
    refused(
        "from",
        "--build-context NAME=docker-image://OTHER puts another image in its place",
    ),
    refused(
        "layer-label",
        "histories have no labels: --label sets one of the image",
    ),
    refused("logfile", "progress is on standard error: 2>FILE keeps it"),
    refused("os-feature", "Linux images have no features of the system"),
    refused("os-version", "Linux images have no version of the system"),
    refused("sign-by", "sign while pushing: `coracle push --sign-by-…`"),
    Unsupported {
        instead: "name the platforms: --platform A,B",
        ..boolean("all-platforms", Refuse)
    },
    Unsupported {
        instead: "what steps write below a VOLUME is kept",
        ..boolean("compat-volumes", Refuse)
    },
    Unsupported {
        instead: "steps have a hostname file that is not part of the image",
        ..boolean("no-hostname", Refuse)
    },
    Unsupported {
        instead: "steps have a hosts file that is not part of the image: see --add-host",
        ..boolean("no-hosts", Refuse)
    },
    Unsupported {
        instead: "an image says how it was made",
        ..boolean("omit-history", Refuse)
    },
    Unsupported {
        instead: "steps read nothing: bind a file with RUN --mount=type=bind",
        ..boolean("stdin", Refuse)
    },
    moot("created-annotation", "the image says when it was made"),
    refused("sbom-image-output", "no bill of materials is made"),
    refused("sbom-image-purl-output", "no bill of materials is made"),
    refused("sbom-merge-strategy", "no bill of materials is made"),
    refused("sbom-output", "no bill of materials is made"),
    refused("sbom-purl-output", "no bill of materials is made"),
    refused("sbom-scanner-command", "no bill of materials is made"),
    refused("sbom-scanner-image", "no bill of materials is made"),
];
