//! Traces, by OpenTelemetry's standard variables of the environment: [`Traces`].
//!
//! Off without an endpoint. Spans leave in batches by OTLP over HTTP (protobuf); a queue that is full
//! drops them, so that nobody waits for a collector.

use std::env;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL,
    OTEL_EXPORTER_OTLP_PROTOCOL_HTTP_PROTOBUF, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Handle;

/// A PEM file with the authorities that sign the collector's certificate.
const CERTIFICATE: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
];

/// Bound on one export. The exporter's own timeout, from the environment, is within it.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(30);

/// Bound on the last export, at the end of the process.
const LAST_EXPORT_TIMEOUT: Duration = Duration::from_secs(1);

/// Where spans go, or nowhere. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Traces {
    on: Option<(SdkTracerProvider, SdkTracer)>,
}

/// Why there are no traces although an endpoint is set.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// Only one protocol is spoken.
    #[error(
        "{variable}={found} is not supported; set it to http/protobuf and the endpoint to the \
             collector's port for HTTP (4318 by default)"
    )]
    Protocol {
        /// The variable.
        variable: &'static str,
        /// Its value.
        found: String,
    },
    /// The file of authorities cannot be used.
    #[error(
        "the file {path} of OTEL_EXPORTER_OTLP_CERTIFICATE cannot be used; name one with \
             certificates in PEM"
    )]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The TLS library has no protocol version that it may speak.
    #[error("TLS is not available in this build")]
    Tls(#[source] rustls::Error),
    /// The endpoint, a header or the compression cannot be used.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT and the variables beside it cannot be used")]
    Exporter(#[from] ExporterBuildError),
}

impl Traces {
    /// What the environment asks for. Off while it names no endpoint, and with `OTEL_SDK_DISABLED` or
    /// `OTEL_TRACES_EXPORTER=none`. `service` is the name of the service unless `OTEL_SERVICE_NAME`
    /// or `OTEL_RESOURCE_ATTRIBUTES` says another.
    ///
    /// Needs a tokio runtime, which sends the spans.
    ///
    /// # Errors
    /// [`TracesError`] names the variable and the fix.
    pub fn from_env(service: &'static str) -> Result<Self, TracesError> {
        if !is_wanted(|name| env::var(name).ok()) {
            return Ok(Self::default());
        }
        refuse_other_protocols(|name| env::var(name).ok())?;
        let client = OnRuntime {
            runtime: Handle::current(),
            client: Arc::new(HyperClient::new(connector()?, EXPORT_TIMEOUT, None)),
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(client)
            .build()?;
        let mut resource = Resource::builder();
        if !names_service(|name| env::var(name).ok()) {
            resource = resource.with_service_name(service);
        }
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.build())
            .with_batch_exporter(exporter)
            .build();
        let tracer = provider.tracer(service);
        Ok(Self {
            on: Some((provider, tracer)),
        })
    }

    /// What makes spans; none while there are no traces.
    #[must_use]
    pub fn tracer(&self) -> Option<&SdkTracer> {
        self.on.as_ref().map(|(_, tracer)| tracer)
    }

    /// Sends what waits, within a second.
    pub async fn stop(self) {
        let Some((provider, _)) = self.on else {
            return;
        };
        // It waits for the thread that sends, and that one for this runtime.
        let stop = move || provider.shutdown_with_timeout(LAST_EXPORT_TIMEOUT);
        match tokio::task::spawn_blocking(stop).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last spans were not sent"),
            Err(error) => tracing::warn!(%error, "the last spans were not sent"),
        }
    }
}

fn is_wanted(variable: impl Fn(&str) -> Option<String>) -> bool {
    let has_endpoint = [
        OTEL_EXPORTER_OTLP_ENDPOINT,
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    ]
    .iter()
    .any(|name| variable(name).is_some_and(|value| !value.is_empty()));
    let is_disabled =
        variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let is_elsewhere = variable("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
    has_endpoint && !is_disabled && !is_elsewhere
}

fn names_service(variable: impl Fn(&str) -> Option<String>) -> bool {
    let attributes = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    variable("OTEL_SERVICE_NAME").is_some_and(|name| !name.is_empty())
        || attributes
            .split(',')
            .any(|attribute| attribute.trim().starts_with("service.name="))
}

fn refuse_other_protocols(variable: impl Fn(&str) -> Option<String>) -> Result<(), TracesError> {
    // The first that is set counts.
    let names = [
        OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
        OTEL_EXPORTER_OTLP_PROTOCOL,
    ];
    let set = names
        .into_iter()
        .find_map(|name| Some((name, variable(name)?)));
    match set {
        Some((variable, found)) if found != OTEL_EXPORTER_OTLP_PROTOCOL_HTTP_PROTOBUF => {
            Err(TracesError::Protocol { variable, found })
        }
        _ => Ok(()),
    }
}

/// The way to the collector: `http`, or `https` by the public authorities or by those of the file.
fn connector() -> Result<HttpsConnector<HttpConnector>, TracesError> {
    let path = CERTIFICATE.iter().find_map(env::var_os).map(PathBuf::from);
    let roots = match path {
        Some(path) => {
            authorities(&path).map_err(|source| TracesError::Certificate { path, source })?
        }
        None => webpki_root_certs::TLS_SERVER_ROOT_CERTS.to_vec(),
    };
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TracesError::Tls)?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .build())
}

fn authorities(path: &PathBuf) -> io::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(io::Error::other)?;
    let certificates: Result<Vec<_>, _> = certificates.collect();
    let certificates = certificates.map_err(io::Error::other)?;
    if certificates.is_empty() {
        return Err(io::Error::other("it holds no certificate"));
    }
    Ok(certificates)
}

/// Sends on the runtime what the exporter's own thread has to send.
#[derive(Debug)]
struct OnRuntime {
    runtime: Handle,
    client: Arc<HyperClient<HttpsConnector<HttpConnector>>>,
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = Arc::clone(&self.client);
        self.runtime
            .spawn(async move { client.send_bytes(request).await })
            .await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment<'a>(
        variables: &'a [(&'a str, &'a str)],
    ) -> impl Fn(&str) -> Option<String> + 'a {
        |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        }
    }

    #[test]
    fn an_endpoint_turns_traces_on_and_two_variables_off() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        let cases: [(&[(&str, &str)], bool); 6] = [
            (&[], false),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], false),
            (&[endpoint], true),
            (
                &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/v1/traces")],
                true,
            ),
            (&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")], false),
            (&[endpoint, ("OTEL_TRACES_EXPORTER", "none")], false),
        ];
        for (variables, expected) in cases {
            assert_eq!(is_wanted(environment(variables)), expected, "{variables:?}");
        }
    }

    #[test]
    fn another_protocol_is_refused_with_the_fix() {
        let grpc = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
        let error = refuse_other_protocols(environment(&grpc)).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
            "{error}"
        );
        assert!(error.to_string().contains("http/protobuf"), "{error}");
        let both = [
            grpc[0],
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ];
        assert!(refuse_other_protocols(environment(&both)).is_ok());
        assert!(refuse_other_protocols(environment(&[])).is_ok());
    }

    #[test]
    fn the_environment_names_the_service_first() {
        assert!(!names_service(environment(&[])));
        assert!(!names_service(environment(&[(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment=x"
        )])));
        assert!(names_service(environment(&[(
            "OTEL_SERVICE_NAME",
            "hooks"
        )])));
        assert!(names_service(environment(&[(
            "OTEL_RESOURCE_ATTRIBUTES",
            "a=b, service.name=hooks"
        )])));
    }
}
