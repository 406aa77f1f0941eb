//! Whether ingesters with TLS have a certificate that senders take.

use jiff::{SignedDuration, Timestamp};

use super::conditions::{Finding, Truth};
use crate::validate::{ServerCertificate, Tls};

/// Time before the expiry at which a renewal is overdue: cert-manager renews when a third of the
/// time is left (<https://cert-manager.io/docs/usage/certificate/>).
const OVERDUE_FRACTION: i64 = 4;
/// Of a certificate that lives long, only this is said ahead.
const OVERDUE_AT_MOST: SignedDuration = SignedDuration::from_hours(14 * 24);

/// What is to be said of the certificate. `host` is that of the cluster's URL.
#[must_use]
pub fn certificate(tls: &Tls, host: &str, now: Timestamp) -> Finding {
    match &tls.certificate {
        Ok(certificate) => shown(tls, certificate, host, now),
        Err(fault) => Finding::no(
            fault.reason,
            format!(
                "{}. Until then no pod is started or changed",
                fault.message.trim_end_matches('.')
            ),
        ),
    }
}

/// Whether senders refuse what ingesters show. It is so whatever else is in order.
pub(super) fn is_refused(certificate: &Finding) -> bool {
    certificate.truth == Truth::False
        && [EXPIRED, NOT_YET_VALID].contains(&certificate.reason.as_ref())
}

const EXPIRED: &str = "CertificateExpired";
const NOT_YET_VALID: &str = "CertificateNotYetValid";

fn shown(tls: &Tls, certificate: &ServerCertificate, host: &str, now: Timestamp) -> Finding {
    let secret = &tls.secret;
    let (valid_from, expires_at) = (at(certificate.valid_from), at(certificate.expires_at));
    let left = certificate.expires_at - now.as_second();
    let life = certificate.expires_at - certificate.valid_from;
    if left <= 0 {
        Finding::no(
            EXPIRED,
            format!(
                "the certificate in the Secret {secret:?} has expired at {expires_at}, and senders \
                 refuse it; renew it"
            ),
        )
    } else if now.as_second() < certificate.valid_from {
        Finding::no(
            NOT_YET_VALID,
            format!(
                "the certificate in the Secret {secret:?} is valid from {valid_from}, and senders \
                 refuse it until then; write one that is valid now"
            ),
        )
    } else if left < (life / OVERDUE_FRACTION).min(OVERDUE_AT_MOST.as_secs()) {
        Finding::yes(
            "ReadyWithWarning",
            format!(
                "the certificate in the Secret {secret:?} expires at {expires_at}; renew it, or see \
                 why cert-manager does not"
            ),
        )
    } else if !certificate.is_for_host {
        Finding::yes(
            "ReadyWithWarning",
            format!(
                "the certificate in the Secret {secret:?} is not for {host}, and senders that check \
                 the name refuse it; add the name to its subject alternative names"
            ),
        )
    } else {
        Finding::yes("Ready", format!("the certificate expires at {expires_at}"))
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::CertificateFault;

    const DAY: i64 = 86_400;

    fn found(days: i64, days_left: i64, is_for_host: bool) -> Finding {
        let now = 1_800_000_000;
        let tls = Tls {
            secret: "hooks-tls".to_owned(),
            certificate: Ok(ServerCertificate {
                fingerprint: [0; 32],
                valid_from: now + (days_left - days) * DAY,
                expires_at: now + days_left * DAY,
                is_for_host,
            }),
        };
        certificate(&tls, "h.svc", Timestamp::from_second(now).unwrap())
    }

    #[test]
    fn a_certificate_is_ready_until_it_is_overdue_and_not_ready_once_it_is_refused() {
        for (days, days_left, reason) in [
            (90, 30, "Ready"),
            (90, 15, "Ready"),
            (90, 13, "ReadyWithWarning"),
            // One that lives for six days is not overdue all its life.
            (6, 2, "Ready"),
            (6, 1, "ReadyWithWarning"),
            (3650, 13, "ReadyWithWarning"),
            (90, 0, "CertificateExpired"),
            (90, -10, "CertificateExpired"),
            (90, 91, "CertificateNotYetValid"),
        ] {
            let finding = found(days, days_left, true);
            assert_eq!(finding.reason, reason, "{days} {days_left}");
            let is_ready = reason.starts_with("Ready");
            assert_eq!(finding.truth == Truth::True, is_ready);
            assert_eq!(is_refused(&finding), !is_ready);
            assert!(is_ready || finding.message.contains("\"hooks-tls\""));
        }
    }

    #[test]
    fn another_name_is_a_warning() {
        let finding = found(90, 80, false);
        assert_eq!(
            (finding.truth, &*finding.reason),
            (Truth::True, "ReadyWithWarning")
        );
        assert!(finding.message.contains("is not for h.svc"));
        // What is more urgent is said first.
        assert!(found(90, 1, false).message.contains("expires at"));
    }

    #[test]
    fn what_cannot_be_shown_refuses_nobody_who_is_served() {
        let tls = Tls {
            secret: "hooks-tls".to_owned(),
            certificate: Err(CertificateFault {
                reason: "SecretNotFound",
                message: "spec.tls.secretName: create it".to_owned(),
            }),
        };
        let finding = certificate(&tls, "h.svc", Timestamp::UNIX_EPOCH);
        assert_eq!(
            (finding.truth, &*finding.reason, finding.message.as_str()),
            (
                Truth::False,
                "SecretNotFound",
                "spec.tls.secretName: create it. Until then no pod is started or changed"
            )
        );
        assert!(!is_refused(&finding));
    }
}
