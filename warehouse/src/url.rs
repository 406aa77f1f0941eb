//! The owner's connection URL in, the ingest login's out. Pure.
//!
//! Invariant: protection that the owner's URL asks for is never ignored: TLS is refused as long as
//! it is not supported.

use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use trunkline_model::secret::SecretBytes;
use trunkline_model::url::encode_part;

use crate::error::Error;

/// How long reaching one address may take when the URL does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the owner's URL (or libpq's `key=value` form).
///
/// # Errors
/// [`Error::Url`] and [`Error::TlsAsked`].
pub(crate) fn parse(url: &SecretBytes) -> Result<Config, Error> {
    let text = url.expose_str().ok_or(Error::Url)?.trim();
    // The driver knows only disable, prefer and require, and would call these a malformed URL.
    for mode in ["verify-ca", "verify-full"] {
        if text.contains(&format!("sslmode={mode}")) {
            return Err(Error::TlsAsked(mode));
        }
    }
    let mut config: Config = text.parse().map_err(|_| Error::Url)?;
    if config.get_ssl_mode() == SslMode::Require {
        return Err(Error::TlsAsked("require"));
    }
    let is_password_in = |host: &Host| matches!(host, Host::Tcp(name) if name.contains('@'));
    let is_nowhere = config.get_hosts().is_empty() && config.get_hostaddrs().is_empty();
    if is_nowhere || config.get_hosts().iter().any(is_password_in) {
        return Err(Error::Url);
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_application_name().is_none() {
        config.application_name("trunkline");
    }
    Ok(config)
}

/// The role that a connection URL logs in as.
///
/// # Errors
/// [`Error::Url`], also when the URL names no role, and [`Error::TlsAsked`].
pub fn role_of(url: &SecretBytes) -> Result<String, Error> {
    parse(url)?.get_user().map(str::to_owned).ok_or(Error::Url)
}

/// The same server and database as another role. Keep-alives and load balancing are left out: the
/// ingester's commit path has deadlines of its own.
pub(crate) fn for_login(
    owner: &Config,
    role: &str,
    password: &SecretBytes,
    database: &str,
) -> SecretBytes {
    let mut parameters = Vec::new();
    if owner.get_ssl_mode() == SslMode::Disable {
        parameters.push("sslmode=disable".to_owned());
    }
    if let Some(timeout) = owner.get_connect_timeout() {
        parameters.push(format!("connect_timeout={}", timeout.as_secs()));
    }
    if owner.get_target_session_attrs() == TargetSessionAttrs::ReadWrite {
        parameters.push("target_session_attrs=read-write".to_owned());
    }
    if !owner.get_hostaddrs().is_empty() {
        let addresses: Vec<_> = owner
            .get_hostaddrs()
            .iter()
            .map(ToString::to_string)
            .collect();
        parameters.push(format!(
            "hostaddr={}",
            encode_part(addresses.join(",").as_bytes())
        ));
    }
    if let Some(options) = owner.get_options() {
        parameters.push(format!("options={}", encode_part(options.as_bytes())));
    }
    let separator = if parameters.is_empty() { "" } else { "?" };
    let url = format!(
        "postgres://{}:{}@{}/{}{separator}{}",
        encode_part(role.as_bytes()),
        encode_part(password.expose()),
        authority(owner, |host| match host {
            Host::Tcp(name) if name.contains(':') => format!("[{name}]"),
            Host::Tcp(name) => encode_part(name.as_bytes()),
            Host::Unix(path) => encode_part(path.to_string_lossy().as_bytes()),
        }),
        encode_part(owner.get_dbname().unwrap_or(database).as_bytes()),
        parameters.join("&"),
    );
    SecretBytes::new(url)
}

/// Hosts and ports for messages.
pub(crate) fn address(config: &Config) -> String {
    authority(config, |host| match host {
        Host::Tcp(name) if name.contains(':') => format!("[{name}]"),
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    })
}

/// Hosts and ports, joined as in a URL.
fn authority(config: &Config, host: impl Fn(&Host) -> String) -> String {
    let ports = config.get_ports();
    let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(5432);
    if config.get_hosts().is_empty() {
        let addresses = config.get_hostaddrs().iter().enumerate();
        let with_port = |(index, address)| std::net::SocketAddr::new(address, port(index));
        return addresses
            .map(|(index, address)| with_port((index, *address)).to_string())
            .collect::<Vec<_>>()
            .join(",");
    }
    let hosts = config.get_hosts().iter().enumerate();
    hosts
        .map(|(index, name)| format!("{}:{}", host(name), port(index)))
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Result<Config, Error> {
        parse(&SecretBytes::new(url))
    }

    fn ingest(owner: &str, password: &str) -> String {
        let owner = parsed(owner).unwrap();
        let url = for_login(&owner, "in", &SecretBytes::new(password), "shown");
        url.expose_str().unwrap().to_owned()
    }

    #[test]
    fn tls_that_is_asked_for_is_refused_and_not_ignored() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let error = parsed(&format!("postgres://u:p@h/d?sslmode={mode}")).unwrap_err();
            assert!(
                matches!(error, Error::TlsAsked(found) if found == mode),
                "{error}"
            );
        }
        assert!(parsed("postgres://u:p@h/d?sslmode=prefer").is_ok());
    }

    #[test]
    fn a_malformed_url_is_refused_without_quoting_it() {
        for url in [
            "postgres://u:p@ss?hunter2=1",
            "postgres://u:hunter2@h:x/d",
            // A password that was not encoded: the driver takes its end for a part of the host.
            "postgres://u:p@hunter2@h/d",
            "hunter2",
            "",
            "postgres:///d",
        ] {
            let error = parsed(url).unwrap_err();
            assert!(matches!(error, Error::Url), "{url}");
            assert!(!format!("{error} {error:?}").contains("hunt"), "{error:?}");
        }
    }

    #[test]
    fn the_ingest_url_leads_to_the_same_place() {
        assert_eq!(
            ingest(
                "postgres://o:s@db.example:6432/app?sslmode=disable&connect_timeout=3",
                "p@s:s/ü"
            ),
            "postgres://in:p%40s%3As%2F%C3%BC@db.example:6432/app?sslmode=disable&connect_timeout=3"
        );
        for owner in [
            "postgres://o@one,two:5433/app?target_session_attrs=read-write",
            "postgres://o@[::1]:5499/app",
            "postgres://o@%2Fvar%2Frun%2Fpostgresql/app",
            "host=h port=5433 user=o dbname=app hostaddr=127.0.0.1",
            "hostaddr=::1 port=5433 user=o dbname=app",
        ] {
            let (before, after) = (parsed(owner).unwrap(), parsed(&ingest(owner, "%")).unwrap());
            assert_eq!(after.get_user(), Some("in"), "{owner}");
            assert_eq!(after.get_password(), Some(&b"%"[..]), "{owner}");
            assert_eq!(after.get_dbname(), Some("app"), "{owner}");
            assert_eq!(address(&after), address(&before), "{owner}");
            assert_eq!(
                after.get_target_session_attrs(),
                before.get_target_session_attrs(),
                "{owner}"
            );
        }
    }

    #[test]
    fn the_role_is_read_from_the_url() {
        let role = |url: &str| role_of(&SecretBytes::new(url)).ok();
        assert_eq!(
            role("postgres://load%20er:p@h/d"),
            Some("load er".to_owned())
        );
        assert_eq!(role("host=h user=loader"), Some("loader".to_owned()));
        assert_eq!(role("postgres://h/d"), None);
    }

    #[test]
    fn a_database_that_the_url_does_not_name_is_named() {
        assert!(ingest("postgres://o@h", "p").starts_with("postgres://in:p@h:5432/shown?"));
    }
}
