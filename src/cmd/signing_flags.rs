//! Podman's flags of pushes that would sign. All are known so that none is passed over in silence:
//! what should go out signed must not go out without.

use clap::Args;

#[derive(Args)]
pub struct SigningFlags {
    /// Not supported: images are not signed here, sign the digest that is pushed, for example with cosign
    #[arg(long, hide = true, value_name = "string")]
    sign_by: Option<String>,
    /// Not supported: images are not signed here, sign the digest that is pushed, for example with cosign
    #[arg(long, hide = true, value_name = "path")]
    sign_by_sigstore: Option<String>,
    /// Not supported: images are not signed here, sign the digest that is pushed, for example with cosign
    #[arg(long, hide = true, value_name = "path")]
    sign_by_sigstore_private_key: Option<String>,
    /// Not supported: images are not signed here, sign the digest that is pushed, for example with cosign
    #[arg(long, hide = true, value_name = "fingerprint")]
    sign_by_sq_fingerprint: Option<String>,
    /// Not supported: images are not signed here, sign the digest that is pushed, for example with cosign
    #[arg(long, hide = true, value_name = "path")]
    sign_passphrase_file: Option<String>,
}

impl SigningFlags {
    /// The first one that was given, as it is typed.
    pub fn first(&self) -> Option<&'static str> {
        let flags = [
            ("--sign-by", &self.sign_by),
            ("--sign-by-sigstore", &self.sign_by_sigstore),
            (
                "--sign-by-sigstore-private-key",
                &self.sign_by_sigstore_private_key,
            ),
            ("--sign-by-sq-fingerprint", &self.sign_by_sq_fingerprint),
            ("--sign-passphrase-file", &self.sign_passphrase_file),
        ];
        let given = flags.into_iter().find(|(_, value)| value.is_some());
        given.map(|(flag, _)| flag)
    }
}
