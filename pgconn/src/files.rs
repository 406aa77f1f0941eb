//! A URL that names files, for command lines: `sslrootcert`, `sslcert` and `sslkey`.

use std::path::PathBuf;

use trunkline_model::database::{Certificates, ClientCertificate, DatabaseLogin};
use trunkline_model::secret::SecretBytes;

use crate::parameters::{SYSTEM_ROOTS, split};

/// Why the files of a URL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A file cannot be read.
    #[error("cannot read {}, which {parameter} in the database URL names", path.display())]
    Unreadable {
        /// The parameter.
        parameter: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// One half of a pair.
    #[error("the database URL names one of sslcert and sslkey; give both or neither")]
    HalfAPair,
}

/// Reads the files that a connection URL names, and takes them out of it.
///
/// # Errors
/// [`FileError`]. A malformed URL comes back as it is; [`crate::Target::parse`] refuses it.
pub fn read_files(url: &str) -> Result<DatabaseLogin, FileError> {
    let parts = split(url.trim());
    let read = |parameter: &'static str| -> Result<Option<Vec<u8>>, FileError> {
        let Some(path) = parts.get(parameter).filter(|path| *path != SYSTEM_ROOTS) else {
            return Ok(None);
        };
        let path = PathBuf::from(path);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(source) => Err(FileError::Unreadable {
                parameter,
                path,
                source,
            }),
        }
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let client = match (read("sslcert")?, read("sslkey")?) {
        (None, None) => None,
        (Some(chain), Some(key)) => Some(ClientCertificate {
            chain: text(chain),
            key: SecretBytes::new(key),
        }),
        _ => return Err(FileError::HalfAPair),
    };
    Ok(DatabaseLogin {
        certificates: Certificates {
            authorities: read("sslrootcert")?.map(text),
            client,
        },
        url: SecretBytes::new(parts.without_files()),
    })
}
