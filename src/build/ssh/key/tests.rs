//! Keys as ssh-keygen(1) and openssl(1) write them; they were made for this and open nothing.

use proptest::prelude::*;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};

use super::*;

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/data/ssh/", $name))
    };
}

const ALL: [(&str, Option<&str>); 8] = [
    (file!("ed25519"), Some(file!("ed25519.pub"))),
    (file!("ed25519_pkcs8"), None),
    (file!("ecdsa256"), Some(file!("ecdsa256.pub"))),
    (file!("ecdsa256_pem"), Some(file!("ecdsa256.pub"))),
    (file!("ecdsa384"), Some(file!("ecdsa384.pub"))),
    (file!("ecdsa384_pkcs8"), Some(file!("ecdsa384.pub"))),
    (file!("rsa"), Some(file!("rsa.pub"))),
    (file!("rsa_pem"), Some(file!("rsa.pub"))),
];

fn key(text: &str) -> Key {
    Key::parse(text.as_bytes(), "name").unwrap()
}

#[test]
fn the_public_half_is_what_ssh_keygen_says() {
    for (private, public) in ALL
        .into_iter()
        .chain([(file!("rsa_pkcs8"), Some(file!("rsa.pub")))])
    {
        let key = key(private);
        let Some(public) = public else { continue };
        let mut words = public.split_whitespace();
        let _kind = words.next();
        assert_eq!(BASE64_STANDARD.encode(key.public()), words.next().unwrap());
        if private.contains("OPENSSH") {
            let comment: Vec<&str> = words.collect();
            assert_eq!(key.comment, comment.join(" "));
        } else {
            assert_eq!(key.comment, "name");
        }
    }
}

/// The parts of what SSH writes as one string after another.
fn strings(bytes: &[u8]) -> Vec<&[u8]> {
    let mut reader = Reader(bytes);
    std::iter::from_fn(|| reader.string()).collect()
}

fn verify(algorithm: &'static dyn VerificationAlgorithm, public: &[u8], signature: &[u8]) {
    let public = UnparsedPublicKey::new(algorithm, public);
    public.verify(b"data", signature).unwrap();
}

#[test]
fn signatures_are_right() {
    for (private, _) in ALL {
        let key = key(private);
        let public = key.public();
        let public = strings(&public);
        let signed = key.sign(b"data", RSA_SHA2_512).unwrap();
        let [kind, signature] = strings(&signed)[..] else {
            panic!("{signed:?}")
        };
        match kind {
            b"ssh-ed25519" => verify(&ED25519, public[1], signature),
            b"rsa-sha2-512" => {
                let parts = PublicKeyComponents {
                    e: public[1],
                    n: without_zeros(public[2]),
                };
                parts
                    .verify(&RSA_PKCS1_2048_8192_SHA512, b"data", signature)
                    .unwrap();
                let signed = key.sign(b"data", RSA_SHA2_256).unwrap();
                let signature = strings(&signed)[1];
                parts
                    .verify(&RSA_PKCS1_2048_8192_SHA256, b"data", signature)
                    .unwrap();
                assert_eq!(key.sign(b"data", 0), None);
            }
            _ => {
                let (algorithm, size): (&dyn VerificationAlgorithm, _) = match kind {
                    b"ecdsa-sha2-nistp256" => (&ECDSA_P256_SHA256_FIXED, 32),
                    _ => (&ECDSA_P384_SHA384_FIXED, 48),
                };
                let padded: Vec<u8> = strings(signature)
                    .into_iter()
                    .flat_map(|number| {
                        let number = without_zeros(number);
                        [&vec![0; size - number.len()], number].concat()
                    })
                    .collect();
                verify(algorithm, public[2], &padded);
            }
        }
    }
}

#[test]
fn what_is_no_use_says_why() {
    let fault = |text: &str| Key::parse(text.as_bytes(), "x").unwrap_err();
    assert_eq!(fault(file!("encrypted")), Fault::Encrypted);
    assert_eq!(fault(file!("rsa_pem_encrypted")), Fault::Encrypted);
    assert_eq!(
        fault(file!("ecdsa521")),
        Fault::Kind("ecdsa-sha2-nistp521".to_owned())
    );
    assert_eq!(fault(file!("rsa.pub")), Fault::NoKey);
    assert_eq!(fault(""), Fault::NoKey);
    let short = file!("ed25519").replacen("b3Blbn", "", 1);
    assert_eq!(fault(&short), Fault::Broken);
    // Halves that do not belong together.
    let pem = "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----";
    assert_eq!(fault(pem), Fault::Broken);
}

#[test]
fn remainders() {
    for (number, modulus) in [
        (0_u64, 1_u64),
        (7, 3),
        (255, 255),
        (1 << 40, 12345),
        (5, 1 << 33),
    ] {
        let expected = (number % modulus).to_be_bytes();
        let found = remainder(&number.to_be_bytes(), &modulus.to_be_bytes()).unwrap();
        assert_eq!(found, without_zeros(&expected), "{number} {modulus}");
    }
    assert_eq!(remainder(&[1], &[0]), None);
}

fn armoured(label: &str, bytes: &[u8]) -> String {
    let body = BASE64_STANDARD.encode(bytes);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

proptest! {
    #[test]
    fn no_file_is_too_odd(
        which in 0..ALL.len(),
        places in proptest::collection::vec((0..2000_usize, any::<u8>()), 0..4),
        length in 0..3000_usize,
        text in "(?s).{0,80}",
    ) {
        let _ = Key::parse(text.as_bytes(), "x");
        let (label, mut bytes) = unarmour(ALL[which].0).unwrap();
        for (place, byte) in places {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        bytes.truncate(length);
        if let Ok(key) = Key::parse(armoured(label, &bytes).as_bytes(), "x") {
            let _ = key.sign(b"data", RSA_SHA2_256);
        }
    }

    #[test]
    fn remainders_are_those_of_numbers(number: u128, modulus in 1_u128..) {
        let found = remainder(&number.to_be_bytes(), &modulus.to_be_bytes()).unwrap();
        let expected = (number % modulus).to_be_bytes();
        prop_assert_eq!(&found[..], without_zeros(&expected));
    }

    #[test]
    fn no_message_is_too_odd(message in proptest::collection::vec(any::<u8>(), 0..200), kind in 9_u8..20) {
        use crate::build::ssh::agent::answer;
        let keys = [key(file!("ed25519"))];
        for message in [message.clone(), [&[kind], &message[..]].concat()] {
            let answer = answer(&message, &keys);
            prop_assert!(matches!(answer[0], 5 | 12 | 14));
        }
    }
}
