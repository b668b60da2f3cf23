//! Whom to trust: rustls with ring, and roots read without walking a folder of certificates.
//!
//! Roots are, first match wins: the file that `SSL_CERT_FILE` names, the first bundle file that
//! distributions are known to have, the roots compiled in. Reading a bundle takes a millisecond;
//! walking `/etc/ssl/certs`, as other loaders do, up to sixty: folders are walked only if
//! `SSL_CERT_DIR` names some. To them come, for one host:
//!
//! ```text
//! CERTS_DIR/HOST[:PORT]/*.crt                 further authorities, or the server's own certificate
//! CERTS_DIR/HOST[:PORT]/NAME.cert, NAME.key   what to show when the server asks who we are
//! ```
//!
//! All of it is PEM, as for Docker (`/etc/docker/certs.d`) and podman.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};

use super::endpoint::{Origin, Scheme};
use crate::model::{Context, Error, ErrorKind, RegistryOptions, Result};

const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The authorities that are trusted for every host.
pub(super) fn roots(options: &RegistryOptions) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let bundle = match &options.ca_file {
        Some(path) => {
            let found = certificates(path)?;
            let (added, _) = store.add_parsable_certificates(found);
            if added == 0 {
                return Err(Error::invalid(format!(
                    "no certificate in {}",
                    path.display()
                )));
            }
            None
        }
        None => BUNDLES.iter().find_map(|path| {
            certificates(Path::new(path))
                .ok()
                .filter(|found| !found.is_empty())
        }),
    };
    // Bundles and folders may hold a few that webpki cannot read; the others still count.
    store.add_parsable_certificates(bundle.unwrap_or_default());
    for folder in &options.ca_dirs {
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        for file in files {
            store.add_parsable_certificates(certificates(&file.path()).unwrap_or_default());
        }
    }
    if store.is_empty() {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Ok(store)
}

/// How to speak TLS with `origin`.
pub(super) fn client_config(
    origin: &Origin,
    options: &RegistryOptions,
    roots: &RootCertStore,
) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let own = OwnFiles::read(origin, &options.certs_dirs)?;
    let verifier: Arc<dyn ServerCertVerifier> = if options.tls_verify == Some(false) {
        Arc::new(TrustAnyone {
            provider: provider.clone(),
        })
    } else {
        let mut roots = roots.clone();
        roots.add_parsable_certificates(own.authorities.iter().cloned());
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .context(ErrorKind::Registry, || {
                "cannot set up TLS verification".to_owned()
            })?;
        Arc::new(TrustRootsAndPinned {
            usual,
            pinned: own.authorities,
        })
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context(ErrorKind::Registry, || "cannot set up TLS".to_owned())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match own.identity {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key, path)) => builder
            .with_client_auth_cert(chain, key)
            .context(ErrorKind::InvalidArgument, || {
                format!("cannot use client certificate {}", path.display())
            }),
    }
}

type Identity = (
    Vec<CertificateDer<'static>>,
    PrivateKeyDer<'static>,
    PathBuf,
);

/// What the `certs.d` folders hold for one host.
#[derive(Default)]
struct OwnFiles {
    authorities: Vec<CertificateDer<'static>>,
    identity: Option<Identity>,
}

impl OwnFiles {
    fn read(origin: &Origin, certs_dirs: &[PathBuf]) -> Result<OwnFiles> {
        let mut own = OwnFiles::default();
        for name in folder_names(origin) {
            for dir in certs_dirs {
                own.read_dir(&dir.join(&name))?;
            }
        }
        Ok(own)
    }

    fn read_dir(&mut self, dir: &Path) -> Result<()> {
        let Ok(entries) = fs::read_dir(dir) else {
            return Ok(());
        };
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        files.sort();
        for file in &files {
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => self.authorities.extend(certificates(file)?),
                Some("cert") if self.identity.is_none() => {
                    let key_file = file.with_extension("key");
                    let key = PrivateKeyDer::from_pem_file(&key_file)
                        .context(ErrorKind::InvalidArgument, || {
                            format!("cannot read client key {}", key_file.display())
                        })?;
                    self.identity = Some((certificates(file)?, key, file.clone()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// `HOST:PORT`, and `HOST` when that is the default port. A redirect may name any host, so one
/// that would be a path of its own is left out.
fn folder_names(origin: &Origin) -> Vec<String> {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if !origin.host.bytes().all(harmless) || origin.host.starts_with('.') {
        return Vec::new();
    }
    let mut names = vec![format!("{}:{}", origin.host, origin.port)];
    if origin.scheme == Scheme::Https && origin.port == 443 {
        names.push(origin.host.clone());
        if origin.host == "registry-1.docker.io" {
            names.push("docker.io".to_owned());
        }
    }
    names
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let what = || format!("cannot read certificates from {}", path.display());
    CertificateDer::pem_file_iter(path)
        .context(ErrorKind::InvalidArgument, what)?
        .collect::<Result<Vec<_>, _>>()
        .context(ErrorKind::InvalidArgument, what)
}

/// The usual verification, but a certificate that the user put into `certs.d` may also be the
/// server's own. That is what `openssl req -x509` makes and what Docker accepts; webpki alone
/// refuses it because it is marked as an authority.
#[derive(Debug)]
struct TrustRootsAndPinned {
    usual: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for TrustRootsAndPinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.usual.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verdict {
            // "Authority used as a server" has no variant of its own in rustls. webpki looks at the
            // dates before it looks at that mark, so they are right.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_)))
                if self.pinned.iter().any(|pinned| pinned == end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// `--tls-verify=false`: encrypted, but to whom is not known.
#[derive(Debug)]
struct TrustAnyone {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_cannot_choose_a_folder_outside_of_certs_d() {
        let names = |host: &str, port| {
            folder_names(&Origin {
                scheme: Scheme::Https,
                host: host.to_owned(),
                port,
            })
        };
        assert_eq!(names("example.org", 5000), ["example.org:5000"]);
        assert_eq!(
            names("example.org", 443),
            ["example.org:443", "example.org"]
        );
        assert_eq!(names("[::1]", 5000), ["[::1]:5000"]);
        assert!(names("..", 443).is_empty());
        assert!(names("a/../b", 443).is_empty());
    }
}
