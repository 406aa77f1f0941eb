//! Reads a login to PostgreSQL out of a Secret.

use trunkline_model::database::{Certificates, ClientCertificate, DatabaseLogin};
use trunkline_model::secret::SecretBytes;
use trunkline_model::url::encode_part;
use trunkline_pgconn::add_missing;

use crate::manifests::SecretData;

/// Parameters of libpq that may stand beside the URL or its parts.
const PARAMETERS: [&str; 3] = ["sslmode", "channel_binding", "target_session_attrs"];

/// The login of a Secret: its `uri`, or made of `host`, `port`, `user` (or `username`), `password`
/// and `dbname`, the keys that CloudNativePG writes; with [`PARAMETERS`], `ca.crt`, `tls.crt` and
/// `tls.key`. `authority` comes before the Secret's own `ca.crt`.
///
/// Whoever gives an authority wants the server verified. libpq's default would take it and verify
/// nothing, so that without an `sslmode` it is `verify-full`.
///
/// # Errors
/// A sentence's end that says which key is missing or unusable, never its value.
pub fn database_login(
    data: &SecretData,
    authority: Option<&SecretBytes>,
) -> Result<DatabaseLogin, String> {
    let text = |key: &str| text(data, key);
    let client = match (text("tls.crt")?, data.get("tls.key")) {
        (None, None) => None,
        (Some(chain), Some(key)) => Some(ClientCertificate {
            chain,
            key: key.clone(),
        }),
        _ => {
            return Err(
                "has one of the keys \"tls.crt\" and \"tls.key\"; give both or neither".to_owned(),
            );
        }
    };
    let authorities = match authority {
        None => text("ca.crt")?,
        Some(authority) => match authority.expose_str() {
            Some(text) => Some(text.to_owned()),
            None => return Err("has an authority (caSecretRef) that is not UTF-8".to_owned()),
        },
    };
    let mut url = match text("uri")? {
        Some(uri) if uri.starts_with("postgres://") || uri.starts_with("postgresql://") => uri,
        Some(_) => {
            return Err(
                "has a key \"uri\" that does not start with postgres:// or postgresql://"
                    .to_owned(),
            );
        }
        None => assembled(data, client.is_some())?,
    };
    for name in PARAMETERS {
        if let Some(value) = text(name)? {
            add_missing(&mut url, name, &value);
        }
    }
    if authorities.is_some() {
        add_missing(&mut url, "sslmode", "verify-full");
    }
    Ok(DatabaseLogin {
        url: SecretBytes::new(url),
        certificates: Certificates {
            authorities,
            client,
        },
    })
}

fn text(data: &SecretData, key: &str) -> Result<Option<String>, String> {
    match data.get(key) {
        None => Ok(None),
        Some(value) => match value.expose_str() {
            Some(text) => Ok(Some(text.trim().to_owned())),
            None => Err(format!("has a key {key:?} that is not UTF-8")),
        },
    }
}

/// A URL of its parts. `host` and `port` may be lists.
fn assembled(data: &SecretData, has_certificate: bool) -> Result<String, String> {
    let text = |key: &str| text(data, key);
    let user = match text("user")? {
        Some(user) => Some(user),
        None => text("username")?,
    };
    let (host, password) = (text("host")?, text("password")?);
    let (Some(hosts), Some(user)) = (host, user) else {
        return Err(incomplete());
    };
    let password = match password {
        Some(password) => format!(":{}", encode_part(password.as_bytes())),
        // The certificate may be all that the server asks for.
        None if has_certificate => String::new(),
        None => return Err(incomplete()),
    };
    let ports = text("port")?.unwrap_or_else(|| "5432".to_owned());
    let ports: Vec<_> = ports.split(',').map(str::trim).collect();
    if ports.iter().any(|port| port.parse::<u16>().is_err()) {
        return Err("has a key \"port\" that is not a port number".to_owned());
    }
    let hosts: Vec<_> = hosts.split(',').map(str::trim).collect();
    if ports.len() != 1 && ports.len() != hosts.len() {
        return Err(
            "lists another number of ports than hosts; give one port, or one for each host"
                .to_owned(),
        );
    }
    let places: Vec<_> = hosts
        .iter()
        .zip(ports.iter().cycle())
        .map(|(host, port)| {
            if host.contains(':') {
                format!("[{host}]:{port}")
            } else {
                format!("{}:{port}", encode_part(host.as_bytes()))
            }
        })
        .collect();
    let dbname = text("dbname")?.unwrap_or_else(|| user.clone());
    Ok(format!(
        "postgres://{}{password}@{}/{}",
        encode_part(user.as_bytes()),
        places.join(","),
        encode_part(dbname.as_bytes()),
    ))
}

fn incomplete() -> String {
    "needs the key \"uri\", or \"host\", \"user\" and \"password\" (and \"port\", \"dbname\")"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(entries: &[(&str, &str)]) -> SecretData {
        entries
            .iter()
            .map(|&(key, value)| (key.to_owned(), SecretBytes::new(value.as_bytes().to_vec())))
            .collect()
    }

    fn url(entries: &[(&str, &str)]) -> String {
        let login = database_login(&data(entries), None).unwrap();
        login.url.expose_str().unwrap().to_owned()
    }

    #[test]
    fn both_shapes_of_the_secret_give_a_url() {
        assert_eq!(
            url(&[("uri", "postgresql://a:b@c/d\n")]),
            "postgresql://a:b@c/d"
        );
        let parts = [
            ("host", "db"),
            ("username", "app"),
            ("password", "p@s/s"),
            ("dbname", "shop"),
        ];
        assert_eq!(url(&parts), "postgres://app:p%40s%2Fs@db:5432/shop");
        let lists = [
            ("host", "a, b"),
            ("port", "1,2"),
            ("user", "u"),
            ("password", "p"),
            ("sslmode", "require"),
            ("target_session_attrs", "read-write"),
        ];
        assert_eq!(
            url(&lists),
            "postgres://u:p@a:1,b:2/u?sslmode=require&target_session_attrs=read-write"
        );
    }

    #[test]
    fn a_parameter_of_the_uri_comes_before_the_key_of_that_name() {
        let mode = [
            ("uri", "postgres://h/d?a=b&sslmode=disable"),
            ("sslmode", "require"),
        ];
        assert_eq!(url(&mode), "postgres://h/d?a=b&sslmode=disable");
        let mode = [("uri", "postgres://h/d?a=b"), ("sslmode", "require")];
        assert_eq!(url(&mode), "postgres://h/d?a=b&sslmode=require");
    }

    #[test]
    fn an_authority_asks_for_full_verification_unless_the_mode_is_said() {
        let own = [("uri", "postgres://h/d"), ("ca.crt", "own")];
        let login = database_login(&data(&own), None).unwrap();
        assert_eq!(login.url.expose(), b"postgres://h/d?sslmode=verify-full");
        assert_eq!(login.certificates.authorities.as_deref(), Some("own"));
        let referred = SecretBytes::new("referred");
        let login = database_login(&data(&own), Some(&referred)).unwrap();
        assert_eq!(login.certificates.authorities.as_deref(), Some("referred"));
        let said = [("uri", "postgres://h/d?sslmode=verify-ca")];
        let login = database_login(&data(&said), Some(&referred)).unwrap();
        assert_eq!(login.url.expose(), b"postgres://h/d?sslmode=verify-ca");
    }

    #[test]
    fn a_client_certificate_may_stand_in_for_the_password() {
        let parts = [
            ("host", "h"),
            ("user", "u"),
            ("tls.crt", "c"),
            ("tls.key", "k"),
        ];
        let login = database_login(&data(&parts), None).unwrap();
        assert_eq!(login.url.expose(), b"postgres://u@h:5432/u");
        assert_eq!(login.certificates.client.unwrap().chain, "c");
    }

    #[test]
    fn an_unusable_secret_is_refused_without_its_value() {
        let cases = [
            (data(&[("uri", "hunter2")]), "postgres://"),
            (data(&[("host", "h"), ("user", "u")]), "password"),
            (
                data(&[("uri", "postgres://h/d"), ("tls.key", "hunter2")]),
                "tls.crt",
            ),
            (
                data(&[
                    ("host", "h"),
                    ("user", "u"),
                    ("password", "hunter2"),
                    ("port", "x"),
                ]),
                "port",
            ),
            (
                data(&[
                    ("host", "a,b,c"),
                    ("user", "u"),
                    ("password", "hunter2"),
                    ("port", "1,2"),
                ]),
                "number of ports",
            ),
        ];
        for (data, word) in cases {
            let error = database_login(&data, None).unwrap_err();
            assert!(
                error.contains(word) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
