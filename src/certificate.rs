//! The reader's certificate while the program runs: another one in its files is taken up, and metrics tell how long it is
//! good.

use std::time::Duration;

use api::tls::Tls;
use chrono::{DateTime, Utc};
use prometheus::{IntGauge, Registry};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::config::{Certificate, CertificateFiles, Contents, Mark};

/// How often the files are looked at. They are read, for their times tell too little: what changes within one second, or
/// behind a symlink, may keep its own.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// When the certificate in use expires.
pub(crate) fn gauge(registry: &Registry) -> prometheus::Result<IntGauge> {
    let gauge = IntGauge::new(
        "usage_ledger_certificate_expiry_timestamp_seconds",
        "When the certificate expires that the reader shows to new connections; not given where it speaks no TLS",
    )?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

/// Looks after the certificate of a port.
pub(crate) struct Renewal {
    files: CertificateFiles,
    /// What the files held when they were last judged, good or not.
    judged: Mark,
    tls: Tls,
    gauge: IntGauge,
    now: fn() -> DateTime<Utc>,
}

impl Renewal {
    /// Begins with this certificate.
    pub(crate) fn new(certificate: &Certificate, gauge: IntGauge, now: fn() -> DateTime<Utc>) -> Self {
        let renewal = Self {
            files: certificate.files.clone(),
            judged: certificate.mark,
            tls: Tls::new(certificate.pair.clone()),
            gauge,
            now,
        };
        renewal.show(certificate);
        renewal
    }

    /// What the port shows: always the newest that could be used.
    pub(crate) fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// Takes up what takes the place of the files.
    pub(crate) async fn keep(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let files = self.files.clone();
            // A file system may take its time.
            let read = tokio::task::spawn_blocking(move || files.read(|path| std::fs::read(path)));
            tokio::select! {
                () = stop.cancelled() => return,
                contents = read => match contents {
                    Ok(contents) => self.look(&contents),
                    Err(error) => tracing::error!(%error, "the files of the certificate were not looked at"),
                },
            }
        }
    }

    /// What is not usable is said once. Where only one of two files is there already it is judged again with the other.
    fn look(&mut self, contents: &Contents) {
        let mark = contents.mark();
        if self.judged == mark {
            return;
        }
        self.judged = mark;
        match self.files.judge(contents) {
            Ok(certificate) => {
                self.tls.renew(certificate.pair.clone());
                let expires = certificate.pair.expires().to_rfc3339();
                tracing::info!(
                    expires,
                    "the reader shows the certificate that its files hold now"
                );
                self.show(&certificate);
            }
            Err(problems) => {
                for problem in problems {
                    tracing::warn!(%problem, "the reader keeps its certificate: the files hold none that can be used");
                }
            }
        }
    }

    fn show(&self, certificate: &Certificate) {
        self.gauge.set(certificate.pair.expires().timestamp());
        if let Some(problem) = certificate.warning((self.now)()) {
            tracing::warn!(%problem, "the reader's certificate has expired");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
