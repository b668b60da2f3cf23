//! Images made by hand: OCI archives in memory, good ones and every kind of bad one.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub fn digest(content: &[u8]) -> String {
    let hex: String = Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// A layer: a tar whose members are added one by one.
pub struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    pub fn new() -> Layer {
        Layer(tar::Builder::new(Vec::new()))
    }

    pub fn file(self, path: &str, content: &str) -> Layer {
        self.member(path, tar::EntryType::Regular, "", 0o644, content.as_bytes())
    }

    pub fn dir(self, path: &str) -> Layer {
        self.member(path, tar::EntryType::Directory, "", 0o755, b"")
    }

    pub fn symlink(self, path: &str, target: &str) -> Layer {
        self.member(path, tar::EntryType::Symlink, target, 0o777, b"")
    }

    pub fn hardlink(self, path: &str, target: &str) -> Layer {
        self.member(path, tar::EntryType::Link, target, 0o644, b"")
    }

    pub fn fifo(self, path: &str) -> Layer {
        self.member(path, tar::EntryType::Fifo, "", 0o644, b"")
    }

    /// A character device that everybody may open.
    pub fn device(mut self, path: &str, major: u32, minor: u32) -> Layer {
        let mut header = tar::Header::new_gnu();
        header.set_path(path).unwrap();
        header.set_entry_type(tar::EntryType::Char);
        header.set_mode(0o666);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        header.set_cksum();
        self.0.append(&header, &b""[..]).unwrap();
        self
    }

    /// Names are written as they are, without the checks that the tar crate makes.
    pub fn member(
        mut self,
        path: &str,
        kind: tar::EntryType,
        link: &str,
        mode: u32,
        content: &[u8],
    ) -> Layer {
        let mut header = tar::Header::new_gnu();
        {
            let fields = header.as_gnu_mut().unwrap();
            fields.name[..path.len()].copy_from_slice(path.as_bytes());
            fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// An image in the making; every field may be made wrong.
pub struct Image {
    pub name: String,
    pub layers: Vec<Vec<u8>>,
    pub layer_media_type: String,
    /// The digests the configuration promises; computed if empty.
    pub diff_ids: Vec<String>,
    pub config: Value,
    pub architecture: String,
    /// Done to the finished manifest.
    pub spoil: fn(&mut Value),
}

impl Image {
    pub fn new(name: &str, layers: Vec<Vec<u8>>) -> Image {
        Image {
            name: name.to_owned(),
            layers,
            layer_media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
            diff_ids: Vec::new(),
            config: json!({ "Cmd": ["/bin/sh"] }),
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            }
            .to_owned(),
            spoil: |_| {},
        }
    }

    /// The image as an OCI archive.
    pub fn archive(&self) -> Vec<u8> {
        let diff_ids = if self.diff_ids.is_empty() {
            self.layers.iter().map(|layer| digest(layer)).collect()
        } else {
            self.diff_ids.clone()
        };
        let config = json!({
            "created": "2023-11-14T22:13:20Z",
            "architecture": self.architecture,
            "os": "linux",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        })
        .to_string()
        .into_bytes();
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|layer| descriptor(&self.layer_media_type, layer))
            .collect();
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": layers,
        });
        (self.spoil)(&mut manifest);
        let manifest = manifest.to_string().into_bytes();
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": self.name });
        let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();

        let mut tar = Layer::new()
            .file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)
            .file("index.json", &index);
        for blob in [&manifest, &config].into_iter().chain(&self.layers) {
            let path = format!("blobs/{}", digest(blob).replace(':', "/"));
            tar = tar.member(&path, tar::EntryType::Regular, "", 0o644, blob);
        }
        tar.bytes()
    }
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(content), "size": content.len() })
}

/// The busybox program, as a layer other than the shared image's: a shell for images made by hand.
pub fn busybox_layer() -> Layer {
    let program = ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .find_map(|path| std::fs::read(path).ok())
        .expect("busybox-static is installed");
    let mut layer = Layer::new().dir("bin/").member(
        "bin/busybox",
        tar::EntryType::Regular,
        "",
        0o755,
        &program,
    );
    for applet in [
        "sh", "cat", "ls", "pwd", "true", "id", "readlink", "env", "stat", "sleep", "rm", "ln",
        "mv", "head", "wc", "grep", "mkdir", "touch",
    ] {
        layer = layer.symlink(&format!("bin/{applet}"), "busybox");
    }
    layer
}
