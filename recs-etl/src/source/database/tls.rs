//! Encryption on the way to a database, in the terms of PostgreSQL's `sslmode`.

use crate::error::{Cause, DatabaseFailure, Error, Place, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// How far a connection must be protected; the names are those of PostgreSQL's `sslmode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Never encrypted.
    Disable,
    /// Encrypted where the server can; nobody's certificate is checked. Safe from listeners, not from impostors.
    #[default]
    Prefer,
    /// Encrypted or not at all; the certificate is not checked.
    Require,
    /// The certificate must come from a known authority; its host name does not matter.
    VerifyCa,
    /// The certificate must come from a known authority and be that of the host. What to use across networks.
    VerifyFull,
}

/// Encryption of a database connection.
///
/// The cryptography is the rustls provider that the host application installed (`CryptoProvider::install_default`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// What is demanded.
    pub mode: TlsMode,
    /// PEM file of the authorities to trust; unset: the system's.
    pub ca_file: Option<PathBuf>,
}

impl TlsConfig {
    /// The client's side of a handshake; `None` for [`TlsMode::Disable`].
    ///
    /// Reads the authorities' file, so not from an async thread.
    ///
    /// # Errors
    /// [`DatabaseFailure::Tls`]: no provider is installed, or the authorities cannot be read.
    pub(crate) fn client(&self, origin: &str) -> Result<Option<ClientConfig>> {
        if self.mode == TlsMode::Disable {
            return Ok(None);
        }
        self.build()
            .map(Some)
            .map_err(|cause| Error::database(Place::table(origin, ""), DatabaseFailure::Tls, cause))
    }

    fn build(&self) -> Result<ClientConfig, Cause> {
        let provider = CryptoProvider::get_default().cloned().ok_or_else(|| {
            Cause::new(
                "no TLS provider is installed; the host application calls \
                 rustls::crypto::ring::default_provider().install_default() when it starts, or sets tls.mode = \"disable\"",
            )
        })?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(Cause::new)?;
        let algorithms = provider.signature_verification_algorithms;
        let authority = match self.mode {
            TlsMode::Disable | TlsMode::Prefer | TlsMode::Require => None,
            TlsMode::VerifyCa | TlsMode::VerifyFull => {
                let roots = Arc::new(self.roots()?);
                Some(
                    WebPkiServerVerifier::builder_with_provider(roots, provider)
                        .build()
                        .map_err(Cause::new)?,
                )
            }
        };
        let by_name = self.mode == TlsMode::VerifyFull;
        let verifier = Arc::new(Verifier { authority, by_name, algorithms });
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }

    fn roots(&self) -> Result<RootCertStore, Cause> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &self.ca_file else {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            return if roots.is_empty() {
                Err(Cause::new("the system knows no authorities; set tls.ca_file"))
            } else {
                Ok(roots)
            };
        };
        let named = |problem: String| Cause::new(format!("tls.ca_file {}: {problem}", path.display()));
        for certificate in CertificateDer::pem_file_iter(path).map_err(|e| named(e.to_string()))? {
            let certificate = certificate.map_err(|e| named(e.to_string()))?;
            roots.add(certificate).map_err(|e| named(e.to_string()))?;
        }
        if roots.is_empty() {
            return Err(named("holds no certificate".into()));
        }
        Ok(roots)
    }
}

/// Checks as much of a certificate as the mode asks for. Signatures of the handshake are always checked.
#[derive(Debug)]
struct Verifier {
    /// Whom to ask; nobody checks the certificate without one.
    authority: Option<Arc<WebPkiServerVerifier>>,
    by_name: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(authority) = &self.authority else { return Ok(ServerCertVerified::assertion()) };
        let verified =
            authority.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The chain is checked before the name: only the name is wrong.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.by_name => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
