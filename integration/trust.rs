//! Policies, and images signed with openssl as cosign signs them: each kind of key, what is refused
//! and what is left then, `image trust`.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    case::{Case, shared},
    registry::Registry,
};

cases! {
    signed_images_are_used_others_not: root ordinary;
    every_kind_of_key: root;
    run_asks_the_policy_too: root ordinary;
    archives_and_tars_are_refused: root ordinary;
    the_users_policy_counts_before_the_systems: root ordinary;
    rules_are_set_and_shown: root ordinary;
    mistyped_rules_change_nothing: root ordinary;
}

fn sh(case: &Case, script: &str) -> String {
    let output = Command::new("sh")
        .args(["-ec", script])
        .current_dir(&case.dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{script}: {said}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Copies busybox to `name` of the registry.
fn publish(case: &Case, registry: &Registry, name: &str) -> String {
    let image = format!("{}/{name}", registry.address);
    let archive = shared().join("images/busybox.oci.tar");
    let archive = archive.display();
    sh(
        case,
        &format!(
            "skopeo copy -q --insecure-policy --dest-tls-verify=false oci-archive:{archive} docker://{image}"
        ),
    );
    image
}

/// A key and its public half, `NAME.pem` and `NAME.pub`.
fn key(case: &Case, name: &str, generate: &str) -> PathBuf {
    sh(
        case,
        &format!(
            "openssl {generate} -out {name}.pem 2>/dev/null; openssl pkey -in {name}.pem -pubout -out {name}.pub; chmod 644 {name}.pub"
        ),
    );
    case.dir.join(format!("{name}.pub"))
}

const P256: &str = "ecparam -name prime256v1 -genkey -noout";

/// Puts a signature beside the image: the tag `sha256-HEX.sig`.
fn sign(case: &Case, image: &str, key: &str, options: &str, name: &str) {
    let script = r#"
        rm -rf layout; mkdir -p layout/blobs/sha256
        digest=$(skopeo inspect --raw --tls-verify=false docker://IMAGE | sha256sum | cut -d' ' -f1)
        printf '{"critical":{"identity":{"docker-reference":"NAME"},"image":{"docker-manifest-digest":"sha256:%s"},"type":"cosign container image signature"},"optional":null}' $digest >payload
        openssl OPTIONS KEY.pem -out signature PAYLOAD
        put() { hex=$(sha256sum $1 | cut -d' ' -f1); size=$(stat -c %s $1); cp $1 layout/blobs/sha256/$hex; }
        printf '{"architecture":"","os":"","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' $(sha256sum payload | cut -d' ' -f1) >config
        put config; config='"size":'$size',"digest":"sha256:'$hex'"'
        put payload; payload='"size":'$size',"digest":"sha256:'$hex'"'
        printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json",%s},"layers":[{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json",%s,"annotations":{"dev.cosignproject.cosign/signature":"%s"}}]}' "$config" "$payload" $(base64 -w0 signature) >manifest
        put manifest
        printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s}]}' $hex $size >layout/index.json
        echo '{"imageLayoutVersion":"1.0.0"}' >layout/oci-layout
        skopeo copy -q --insecure-policy --dest-tls-verify=false oci:layout docker://REPOSITORY:sha256-$digest.sig
    "#;
    let (repository, _) = image.rsplit_once(':').unwrap();
    let message = match options.contains("-in") {
        true => "",
        false => "payload",
    };
    let script = script
        .replace("REPOSITORY", repository)
        .replace("IMAGE", image)
        .replace("NAME", name)
        .replace("OPTIONS", options)
        .replace("KEY", key)
        .replace("PAYLOAD", message);
    sh(case, &script);
}

const DIGEST_SIGN: &str = "dgst -sha256 -sign";

/// All of the registry must be signed by this key; everything else is rejected.
fn policy(case: &Case, registry: &Registry, key: &str) -> String {
    let text = format!(
        r#"{{"default": [{{"type": "reject"}}], "transports": {{"docker": {{"{}": [{{"type": "sigstoreSigned", "keyPath": "{key}"}}]}}}}}}"#,
        registry.address
    );
    case.make_file("policy.json", text).display().to_string()
}

fn signed_images_are_used_others_not(case: &Case) {
    let registry = Registry::writable(case, "registry");
    let signed = publish(case, &registry, "team/signed:1");
    let unsigned = publish(case, &registry, "other/unsigned:1");
    let public = key(case, "key", P256);
    sign(case, &signed, "key", DIGEST_SIGN, &signed);
    let policy = policy(case, &registry, public.to_str().unwrap());
    let pull = |image: &str| case.words(&["pull", "--signature-policy", &policy, image]);
    pull(&signed).ok();
    pull(&signed).ok();
    case.engine(&format!("run --rm --network none {signed} echo fine"))
        .ok()
        .prints("fine");
    pull(&unsigned).fails(1, "a signature is required, and it has none");
    pull("localhost:1/never/asked").fails(1, "the policy rejects it");
    // Another image under the signed name.
    let layout = "skopeo copy -q --insecure-policy --dest-tls-verify=false --format v2s2";
    let archive = shared().join("images/busybox.oci.tar");
    sh(
        case,
        &format!(
            "{layout} oci-archive:{} docker://{signed}",
            archive.display()
        ),
    );
    pull(&signed).fails(1, "must not be used");
    case.words(&["images", "-q"]).ok();
    case.words(&["images", "--format", "{{.Repository}}"])
        .ok()
        .prints(signed.strip_suffix(":1").unwrap());
}

fn every_kind_of_key(case: &Case) {
    let registry = Registry::writable(case, "registry");
    let image = publish(case, &registry, "team/app:1");
    let raw = "pkeyutl -sign -rawin -in payload -inkey";
    for (name, generate, options) in [
        ("p256", P256, DIGEST_SIGN),
        (
            "p384",
            "ecparam -name secp384r1 -genkey -noout",
            DIGEST_SIGN,
        ),
        (
            "p384long",
            "ecparam -name secp384r1 -genkey -noout",
            "dgst -sha384 -sign",
        ),
        (
            "rsa",
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048",
            DIGEST_SIGN,
        ),
        ("ed25519", "genpkey -algorithm ed25519", raw),
    ] {
        let public = key(case, name, generate);
        sign(case, &image, name, options, &image);
        let policy = policy(case, &registry, public.to_str().unwrap());
        case.words(&["pull", "--signature-policy", &policy, &image])
            .ok();
    }
    let public = key(case, "p521", "ecparam -name secp521r1 -genkey -noout");
    let policy = policy(case, &registry, public.to_str().unwrap());
    case.words(&["pull", "--signature-policy", &policy, &image])
        .fails(1, "only ECDSA on P-256");
}

fn user_policy(case: &Case, text: &str) {
    case.make_dir("home/.config");
    case.make_dir("home/.config/containers");
    case.make_file("home/.config/containers/policy.json", text);
}

fn run_asks_the_policy_too(case: &Case) {
    let registry = Registry::writable(case, "registry");
    let image = publish(case, &registry, "team/app:1");
    user_policy(case, r#"{"default": [{"type": "reject"}]}"#);
    case.words(&["run", "--rm", "--network", "none", &image, "true"])
        .fails(125, "the policy rejects it");
    case.words(&["create", &image, "true"])
        .fails(1, "the policy rejects it");
    user_policy(case, r#"{"default": [{"type": "rej"#);
    case.words(&["run", "--rm", "--network", "none", &image, "true"])
        .fails(125, "invalid signature policy");
    user_policy(case, r#"{"default": [{"type": "insecureAcceptAnything"}]}"#);
    case.words(&["run", "--rm", "--network", "none", &image, "true"])
        .ok();
    // What is here was admitted.
    user_policy(case, r#"{"default": [{"type": "reject"}]}"#);
    case.words(&["run", "--rm", "--network", "none", &image, "true"])
        .ok();
}

fn archives_and_tars_are_refused(case: &Case) {
    user_policy(
        case,
        r#"{"default": [{"type": "reject"}], "transports": {"docker-archive": {"": [{"type": "insecureAcceptAnything"}]}}}"#,
    );
    let file = |name: &str| shared().join("images").join(name).display().to_string();
    case.words(&["load", "-i", &file("busybox.oci.tar")])
        .fails(1, "the policy rejects it");
    let tar = case.make_file("some.tar", [0; 1024]).display().to_string();
    case.words(&["import", &tar])
        .fails(1, "the policy rejects it");
    case.words(&["images", "-q"]).ok().prints("");
    case.load_busybox();
}

fn the_users_policy_counts_before_the_systems(case: &Case) {
    user_policy(case, "{}");
    case.words(&["image", "trust", "show"])
        .fails(1, "missing field `default`");
    let named = case.make_file(
        "named.json",
        r#"{"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}]}"#,
    );
    let named = named.display().to_string();
    case.words(&["pull", "--signature-policy", &named, "localhost:1/a"])
        .fails(1, "GnuPG, which cannot be verified");
    case.words(&["pull", "--signature-policy", "/not/there", "localhost:1/a"])
        .fails(1, "/not/there");
}

fn rules_are_set_and_shown(case: &Case) {
    user_policy(case, r#"{"default": [{"type": "insecureAcceptAnything"}]}"#);
    let public = key(case, "key", P256).display().to_string();
    case.engine("image trust set -t reject default").ok();
    case.engine("image trust set -t accept docker.io/library")
        .ok();
    case.words(&[
        "image",
        "trust",
        "set",
        "-t",
        "sigstoreSigned",
        "-f",
        &public,
        "a.io",
    ])
    .ok();
    case.engine("image trust show --noheading")
        .ok()
        .prints(&format!(
            "all          default             reject           \n\
         repository   a.io                sigstoreSigned   {public}\n\
         repository   docker.io/library   accept"
        ));
    case.engine("image trust show --json a.io")
        .ok()
        .contains(&format!("\"{public}\""));
    let written = case.dir.join("home/.config/containers/policy.json");
    let text = fs::read_to_string(written).unwrap();
    case.engine("image trust show --raw")
        .ok()
        .prints(text.trim_end());
    case.engine("pull localhost:1/x")
        .fails(1, "the policy rejects it");
}

fn mistyped_rules_change_nothing(case: &Case) {
    let before = r#"{"default": [{"type": "reject"}]}"#;
    user_policy(case, before);
    let refused = |words: &[&str], code: i32, why: &str| {
        let all = [&["image", "trust", "set"], words].concat();
        case.words(&all).fails(code, why);
    };
    refused(
        &["-t", "accept", "busybox"],
        1,
        "names must be written in full",
    );
    refused(&["-t", "accept", "BAD NAME"], 1, "invalid scope");
    refused(&["-t", "maybe", "a.io"], 125, "invalid --type");
    refused(&["a.io"], 1, "GnuPG");
    refused(
        &["-t", "sigstoreSigned", "a.io"],
        1,
        "at least one public key",
    );
    refused(
        &["-t", "sigstoreSigned", "-f", "/etc/passwd", "a.io"],
        1,
        "PUBLIC KEY",
    );
    refused(
        &["-t", "accept", "-f", "/etc/passwd", "a.io"],
        1,
        "sigstoreSigned alone",
    );
    refused(&["-t", "accept"], 125, "name a registry");
    let written = case.dir.join("home/.config/containers/policy.json");
    assert_eq!(fs::read_to_string(written).unwrap(), before);
}
