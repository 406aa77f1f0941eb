//! The same server and database as another role. Pure.

use trunkline_model::database::{Certificates, DatabaseLogin};
use trunkline_model::secret::SecretBytes;
use trunkline_model::url::encode_part;

use crate::parameters::add;
use crate::target::{ChannelBinding, Place, Target};

impl Target {
    /// The login of another role to the same servers, with the same protection. `database` stands
    /// in where the URL names none.
    ///
    /// A client certificate stays behind: it proves who we are, and the other role is someone else.
    #[must_use]
    pub fn as_role(&self, role: &str, password: &SecretBytes, database: &str) -> DatabaseLogin {
        let hosts: Vec<_> = self
            .endpoints
            .iter()
            .map(|endpoint| {
                let (host, port) = endpoint.host_and_port();
                let host = match endpoint.place {
                    Place::Socket(_) => encode_part(host.as_bytes()),
                    _ => authority(&host),
                };
                format!("{host}:{port}")
            })
            .collect();
        let mut url = format!(
            "postgres://{}:{}@{}/{}",
            encode_part(role.as_bytes()),
            encode_part(password.expose()),
            hosts.join(","),
            encode_part(self.database.as_deref().unwrap_or(database).as_bytes()),
        );
        // Always there, so that a reader which knows no TLS refuses instead of doing without.
        add(&mut url, "sslmode", self.ssl_mode.as_str());
        match self.channel_binding {
            ChannelBinding::Prefer => {}
            ChannelBinding::Disable => add(&mut url, "channel_binding", "disable"),
            ChannelBinding::Require => add(&mut url, "channel_binding", "require"),
        }
        if let Some(timeout) = self.connect_timeout {
            add(&mut url, "connect_timeout", &timeout.as_secs().to_string());
        }
        let addresses: Vec<_> = self
            .endpoints
            .iter()
            .filter_map(|endpoint| match &endpoint.place {
                Place::Address(address, _) => Some(address.to_string()),
                _ => None,
            })
            .collect();
        if !addresses.is_empty() {
            add(&mut url, "hostaddr", &addresses.join(","));
        }
        if let Some(options) = &self.options {
            add(&mut url, "options", options);
        }
        DatabaseLogin {
            url: SecretBytes::new(url),
            certificates: Certificates {
                authorities: self.login().certificates.authorities.clone(),
                client: None,
            },
        }
    }
}

fn authority(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        encode_part(host.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Target {
        Target::parse(SecretBytes::new(url)).unwrap()
    }

    fn ingest(owner: &str, password: &str) -> String {
        let login = parse(owner).as_role("in", &SecretBytes::new(password), "shown");
        login.url.expose_str().unwrap().to_owned()
    }

    #[test]
    fn another_role_comes_to_the_same_place_with_the_same_protection() {
        assert_eq!(
            ingest(
                "postgres://o:s@db.example:6432/app?sslmode=disable&connect_timeout=3",
                "p@s:s/ü"
            ),
            "postgres://in:p%40s%3As%2F%C3%BC@db.example:6432/app?sslmode=disable&connect_timeout=3"
        );
        for owner in [
            "postgres://o@one,two:5433/app?target_session_attrs=read-write",
            "postgres://o@[::1]:5499/app?sslmode=require&channel_binding=require",
            "postgres://o@%2Fvar%2Frun%2Fpostgresql/app",
            "postgres://o@a,b:7/app?sslmode=verify-full",
            "host=h port=5433 user=o dbname=app hostaddr=127.0.0.1 channel_binding=disable",
            "hostaddr=::1 port=5433 user=o dbname=app options='-c a=b'",
        ] {
            let (before, after) = (parse(owner), parse(&ingest(owner, "%")));
            assert_eq!(after.user(), "in", "{owner}");
            assert_eq!(after.password().map(SecretBytes::expose), Some(&b"%"[..]));
            assert_eq!(after.database(), "app", "{owner}");
            assert_eq!(after.endpoints, before.endpoints, "{owner}");
            assert_eq!(after.ssl_mode, before.ssl_mode, "{owner}");
            assert_eq!(after.channel_binding, before.channel_binding, "{owner}");
            assert_eq!(after.options, before.options, "{owner}");
        }
    }

    #[test]
    fn a_database_that_the_url_does_not_name_is_named() {
        assert!(ingest("postgres://o@h", "p").starts_with("postgres://in:p@h:5432/shown?"));
    }
}
