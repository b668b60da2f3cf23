//! Flags of Docker's, buildx's and Podman's builds that are known and not there: refused, or without an
//! effect and said so. What limits or protects is never dropped.

use super::unsupported::{
    Answer::{Ignore, Refuse},
    CONTENT_TRUST, Unsupported, boolean, refused, valued,
};

const ONE_BINARY: &str = "coracle is the only runtime";

/// Goes on in silence: it is what happens anyway, or about what is not here.
const fn moot(long: &'static str) -> Unsupported {
    Unsupported {
        harmless: &["true", "false", "1", "0"],
        ..boolean(long, Ignore)
    }
}

pub static BUILD: &[Unsupported] = &[
    moot("compress"),
    moot("debug"),
    CONTENT_TRUST,
    moot("force-rm"),
    moot("rm"),
    moot("identity-label"),
    moot("inherit-labels"),
    moot("inherit-annotations"),
    moot("layers"),
    moot("logsplit"),
    moot("skip-unused-stages"),
    Unsupported {
        short: Some('D'),
        ..moot("disable-compression")
    },
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
        harmless: &["coracle", ""],
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
    refused(
        "squash-all",
        "flatten the image: `coracle export` and `coracle import`",
    ),
    refused("userns", ""),
    refused("userns-uid-map", ""),
    refused("userns-gid-map", ""),
    refused("userns-uid-map-user", ""),
    refused("userns-gid-map-group", ""),
    refused("cgroupns", ""),
    refused("ipc", ""),
    refused("pid", ""),
    refused("uts", ""),
    refused("device", ""),
    refused("group-add", ""),
    refused("hooks-dir", ""),
    refused("decryption-key", ""),
    refused("cw", ""),
    refused("cache-ttl", "--no-cache asks the cache for nothing"),
    refused("cpp-flag", "run cpp(1) first"),
    refused("env", "write ENV into the Dockerfile"),
    refused("unsetenv", ""),
    refused("unsetlabel", ""),
    refused("unsetannotation", ""),
    refused(
        "from",
        "--build-context NAME=docker-image://OTHER puts another image in its place",
    ),
    refused("layer-label", ""),
    refused("logfile", "progress is on standard error: 2>FILE keeps it"),
    refused("os-feature", ""),
    refused("os-version", ""),
    refused("sign-by", "sign while pushing: `coracle push --sign-by-…`"),
    boolean("all-platforms", Refuse),
    boolean("compat-volumes", Refuse),
    boolean("no-hostname", Refuse),
    boolean("no-hosts", Refuse),
    boolean("omit-history", Refuse),
    boolean("stdin", Refuse),
    moot("created-annotation"),
    refused("sbom-image-output", ""),
    refused("sbom-image-purl-output", ""),
    refused("sbom-merge-strategy", ""),
    refused("sbom-output", ""),
    refused("sbom-purl-output", ""),
    refused("sbom-scanner-command", ""),
    refused("sbom-scanner-image", ""),
];
