//! Makes the embedded image: `$OUT_DIR/embedded.tar`, an OCI archive (an image layout in a tar,
//! OCI image specification, `image-layout.md`) with one layer that holds one small program.
//!
//! The program is compiled here with the compiler alone, so that a fresh machine needs no
//! packages and no registry to run its first container. The layer is not compressed: it is
//! smaller than a decompressor's window. The same source gives the same bytes: times are fixed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

/// 2026-11-01T00:00:00Z, as the tar headers and the configuration have it.
const CREATED: (u64, &str) = (1_793_491_200, "2026-11-01T00:00:00Z");
const NAME: &str = "localhost/coracle-hello:latest";

pub fn build() {
    println!("cargo::rerun-if-changed=build/embedded.rs");
    println!("cargo::rerun-if-changed=build/hello.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let program = compile(&out);
    let archive = archive(&layer(&program));
    fs::write(out.join("embedded.tar"), archive).expect("OUT_DIR is writable");
}

/// Compiles `build/hello.rs` for the target and returns the executable.
fn compile(out: &Path) -> Vec<u8> {
    let executable = out.join("hello");
    let mut rustc = Command::new(env::var_os("RUSTC").expect("cargo sets RUSTC"));
    rustc
        .args(["--edition=2024", "--crate-name=hello", "build/hello.rs"])
        .arg("--target")
        .arg(env::var_os("TARGET").expect("cargo sets TARGET"))
        .arg("-o")
        .arg(&executable)
        .args(["-Cpanic=abort", "-Copt-level=s", "-Ccodegen-units=1"])
        .args(["-Cstrip=symbols", "-Crelocation-model=static"])
        .args(["-Ctarget-feature=+crt-static", "-Clink-arg=-static"])
        .args(["-Clink-arg=-nostartfiles", "-Clink-arg=-nostdlib"])
        .args(["-Clink-arg=-Wl,--build-id=none,-z,noseparate-code"]);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut option = std::ffi::OsString::from("-Clinker=");
        option.push(linker);
        rustc.arg(option);
    }
    let status = rustc.status().expect("the compiler can be started");
    assert!(
        status.success(),
        "the embedded image's program does not compile"
    );
    fs::read(&executable).expect("the compiler wrote its output")
}

/// The file tree: the program, and what every program may expect to find.
fn layer(program: &[u8]) -> Vec<u8> {
    let mut tar = Tar::default();
    for (directory, mode) in [
        ("dev/", 0o755),
        ("etc/", 0o755),
        ("proc/", 0o555),
        ("sys/", 0o555),
        ("tmp/", 0o1777),
    ] {
        tar.add(directory, mode, tar::EntryType::Directory, b"");
    }
    let file = tar::EntryType::Regular;
    tar.add("etc/passwd", 0o644, file, b"root:x:0:0:root:/:/hello\n");
    tar.add("etc/group", 0o644, file, b"root:x:0:\n");
    tar.add("hello", 0o755, file, program);
    tar.finish()
}

/// The OCI archive: layer, configuration, manifest, index.
fn archive(layer: &[u8]) -> Vec<u8> {
    let (architecture, variant) = match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("x86_64") => ("amd64", None),
        Ok("aarch64") => ("arm64", Some("v8")),
        other => {
            panic!("no embedded image for {other:?}: build/hello.rs has no system calls for it")
        }
    };
    let mut config = serde_json::json!({
        "created": CREATED.1,
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Env": ["PATH=/"],
            "Cmd": ["/hello"],
            "Labels": { "org.opencontainers.image.title": "coracle-hello" },
        },
        "rootfs": { "type": "layers", "diff_ids": [digest(layer)] },
        "history": [{ "created": CREATED.1, "created_by": "the embedded image of coracle" }],
    });
    if let Some(variant) = variant {
        config["variant"] = variant.into();
    }
    let config = config.to_string().into_bytes();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["annotations"] = serde_json::json!({
        "io.containerd.image.name": NAME,
        "org.opencontainers.image.ref.name": NAME,
    });
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    });

    let mut tar = Tar::default();
    let file = tar::EntryType::Regular;
    tar.add(
        "oci-layout",
        0o644,
        file,
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    );
    tar.add("index.json", 0o644, file, index.to_string().as_bytes());
    for blob in [&manifest[..], &config[..], layer] {
        let path = format!("blobs/{}", digest(blob).replace(':', "/"));
        tar.add(&path, 0o644, file, blob);
    }
    tar.finish()
}

fn descriptor(media_type: &str, content: &[u8]) -> serde_json::Value {
    serde_json::json!({
        "mediaType": media_type,
        "digest": digest(content),
        "size": content.len(),
    })
}

fn digest(content: &[u8]) -> String {
    let hex: String = Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// A tar in memory whose members all belong to root and have the same time.
struct Tar(tar::Builder<Vec<u8>>);

impl Default for Tar {
    fn default() -> Self {
        Tar(tar::Builder::new(Vec::new()))
    }
}

impl Tar {
    fn add(&mut self, path: &str, mode: u32, kind: tar::EntryType, content: &[u8]) {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(CREATED.0);
        header.set_size(content.len() as u64);
        self.0
            .append_data(&mut header, path, content)
            .expect("writing into memory");
    }

    fn finish(self) -> Vec<u8> {
        self.0.into_inner().expect("writing into memory")
    }
}
