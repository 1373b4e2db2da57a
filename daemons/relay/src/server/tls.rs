//! TLS at the door of AceBase clients, with a certificate from PEM files or from PKCS#12.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use p12_keystore::Pkcs12Archive;
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Own, flags::TlsVersion};

/// Secures connections, each with the certificate that holds when it begins. A clone is the same.
#[derive(Clone, Debug)]
pub(super) struct Tls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: RwLock<Arc<ServerConfig>>,
    handshakes: AtomicU64,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("`--tls-cert` and `--tls-key` go together, and not with `--tls-pfx`")]
    Flags,

    #[error(
        "TLS is wanted (`--tls`, `SSL=1`, a password of a key) and has no certificate: name `--tls-cert` and `--tls-key`, or `--tls-pfx`"
    )]
    NoFiles,

    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },

    #[error("`{}` holds no {wanted} in PEM", path.display())]
    Pem { path: PathBuf, wanted: &'static str },

    #[error("`{}` is encrypted in a way of before PKCS#8; `openssl pkcs8 -topk8` writes it anew", .0.display())]
    OldKey(PathBuf),

    #[error("`{}` is encrypted; `--tls-key-password` opens it, if it is the right one", .0.display())]
    Locked(PathBuf),

    #[error("cannot open `{}` as PKCS#12 with this passphrase: {why}", path.display())]
    Pfx { path: PathBuf, why: String },

    #[error("`{}` holds no {wanted}", path.display())]
    Empty { path: PathBuf, wanted: &'static str },

    #[error("{files} can't be used")]
    Unusable { files: String, source: rustls::Error },
}

/// What proves who the server is.
struct Identity {
    /// Its own certificate first, then those that vouch for it.
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Tls {
    /// TLS, if the flags ask for it.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub(super) fn load(own: &Own) -> Result<Option<Self>, TlsError> {
        let config = config(own)?;
        let inner =
            |config| Inner { config: RwLock::new(Arc::new(config)), handshakes: AtomicU64::new(0) };
        Ok(config.map(|it| Self(Arc::new(inner(it)))))
    }

    /// Takes another certificate and key, for connections that begin from now on.
    pub(super) fn set(&self, config: ServerConfig) {
        *self.0.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// How many handshakes have begun.
    pub(super) fn handshakes(&self) -> u64 {
        self.0.handshakes.load(Relaxed)
    }

    /// Secures a connection.
    pub(super) fn accept(
        &self,
        stream: TcpStream,
    ) -> impl Future<Output = io::Result<TlsStream<TcpStream>>> + use<> {
        self.0.handshakes.fetch_add(1, Relaxed);
        let config = Arc::clone(&self.0.config.read().unwrap_or_else(PoisonError::into_inner));
        TlsAcceptor::from(config).accept(stream)
    }
}

/// What the flags and the files that they name say of TLS, if anything.
pub(super) fn config(own: &Own) -> Result<Option<ServerConfig>, TlsError> {
    let identity = match (&own.tls_cert, &own.tls_key, &own.tls_pfx) {
        (None, None, None) if is_wanted(own) => return Err(TlsError::NoFiles),
        (None, None, None) => return Ok(None),
        (Some(cert), Some(key), None) => from_pem(cert, key, own.tls_key_password.as_deref())?,
        (None, None, Some(pfx)) => from_pfx(pfx, own.tls_passphrase.as_deref())?,
        _ => return Err(TlsError::Flags),
    };
    let versions: &[&SupportedProtocolVersion] = match own.tls_min {
        TlsVersion::Tls12 => &[&TLS12, &TLS13],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .and_then(|it| it.with_no_client_auth().with_single_cert(identity.chain, identity.key));
    config.map(Some).map_err(|source| TlsError::Unusable { files: files(own), source })
}

fn is_wanted(own: &Own) -> bool {
    own.tls || own.tls_key_password.is_some() || own.tls_passphrase.is_some()
}

fn files(own: &Own) -> String {
    let named = [&own.tls_cert, &own.tls_key, &own.tls_pfx].into_iter().flatten();
    named.map(|it| format!("`{}`", it.display())).collect::<Vec<_>>().join(" and ")
}

fn from_pem(cert: &Path, key: &Path, password: Option<&str>) -> Result<Identity, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(cert)?).collect();
    let chain = chain.ok().filter(|it| !it.is_empty());
    let no_pem = |path: &Path, wanted| TlsError::Pem { path: path.to_owned(), wanted };
    let chain = chain.ok_or_else(|| no_pem(cert, "certificate"))?;
    let text = read(key)?;
    if let Some(document) = encrypted(&text) {
        return Ok(Identity { chain, key: unlock(key, &document, password)? });
    }
    if has(&text, "Proc-Type: 4,ENCRYPTED") {
        return Err(TlsError::OldKey(key.to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| no_pem(key, "key"))?;
    Ok(Identity { chain, key })
}

/// The key in PKCS#8 that a password encrypts, if `text` has one.
fn encrypted(text: &[u8]) -> Option<SecretDocument> {
    let text = std::str::from_utf8(text).ok()?;
    let start = text.find("-----BEGIN ENCRYPTED PRIVATE KEY-----")?;
    let (_, document) = SecretDocument::from_pem(text[start..].trim()).ok()?;
    Some(document)
}

fn unlock(
    path: &Path,
    document: &SecretDocument,
    password: Option<&str>,
) -> Result<PrivateKeyDer<'static>, TlsError> {
    let locked = || TlsError::Locked(path.to_owned());
    let info = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|_| locked())?;
    let opened = info.decrypt(password.ok_or_else(locked)?).map_err(|_| locked())?;
    Ok(PrivatePkcs8KeyDer::from(opened.as_bytes().to_vec()).into())
}

/// The archive's first key, its certificate, and those that vouch for it.
fn from_pfx(path: &Path, passphrase: Option<&str>) -> Result<Identity, TlsError> {
    let empty = |wanted| TlsError::Empty { path: path.to_owned(), wanted };
    let archive = Pkcs12Archive::from_pkcs12(&read(path)?, passphrase.unwrap_or_default());
    let archive =
        archive.map_err(|error| TlsError::Pfx { path: path.to_owned(), why: error.to_string() })?;
    let key = archive.keys.first().ok_or_else(|| empty("key"))?;
    let id = key.local_key_id.as_ref().map(AsRef::as_ref);
    let is_its =
        |bag: &&p12_keystore::CertificateBag| id.is_some() && bag.local_key_id.as_deref() == id;
    let own = archive.certs.iter().find(is_its).or_else(|| archive.certs.first());
    let mut chain = vec![&own.ok_or_else(|| empty("certificate"))?.cert];
    while let Some(last) = chain.last()
        && let Some(next) = archive.certs.iter().find(|it| it.cert.subject() == last.issuer())
        && !chain.contains(&&next.cert)
    {
        chain.push(&next.cert);
    }
    let chain = chain.iter().map(|it| it.as_der().to_vec().into()).collect();
    let key = PrivatePkcs8KeyDer::from(key.key.as_der().to_vec()).into();
    Ok(Identity { chain, key })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn has(text: &[u8], part: &str) -> bool {
    text.windows(part.len()).any(|it| it == part.as_bytes())
}
