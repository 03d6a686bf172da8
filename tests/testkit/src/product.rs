//! The product itself as a process: `usage-ledger`, its settings, its addresses.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

use crate::error::{Doing as _, Error, Result};
use crate::net;
use crate::process::{Process, Spec, log_after};
use crate::scratch::Scratch;
use crate::tools;

/// One request to the product.
const ANSWER: Duration = Duration::from_secs(15);

/// How to start it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The program; see [`program`].
    pub program: PathBuf,
    /// Its arguments, such as `run`.
    pub arguments: Vec<String>,
    /// Its settings, by the names after `USAGE_LEDGER_`. The caller's own variables of that prefix are
    /// hidden from it.
    pub variables: Vec<(String, String)>,
    /// The port of the reader.
    pub api_port: u16,
    /// The port of health and metrics.
    pub admin_port: u16,
}

/// A running product. Dropping it kills it.
#[derive(Debug)]
pub struct Product {
    process: Process,
    http: reqwest::Client,
    api: String,
    admin: String,
    _folder: Scratch,
}

/// The program: `USAGE_LEDGER_BIN`, or `usage-ledger` beside the running one; tests are a folder below it.
pub fn program() -> Result<PathBuf> {
    if let Some(program) = tools::set("USAGE_LEDGER_BIN") {
        return tools::from_variable("USAGE_LEDGER_BIN").ok_or_else(|| {
            Error::Missing(format!("USAGE_LEDGER_BIN names `{program}`, which is no program"))
        });
    }
    let here = env::current_exe().doing(|| "find the running program".to_owned())?;
    let folders = here.ancestors().skip(1).take(2);
    let mut beside = folders.map(|folder| folder.join("usage-ledger"));
    if let Some(program) = beside.find(|path| path.is_file()) {
        return Ok(program);
    }
    let what = format!(
        "no `usage-ledger` beside {}: build it there with cargo, or set USAGE_LEDGER_BIN",
        here.display()
    );
    Err(Error::Missing(what))
}

impl Product {
    /// Starts it, and returns at once.
    pub fn start(settings: Settings) -> Result<Self> {
        let folder = Scratch::new("product")?;
        let (api, admin) = (
            net::loopback(settings.api_port),
            net::loopback(settings.admin_port),
        );
        let mut spec = Spec::new("usage-ledger", settings.program, folder.path().join("log"))
            .args(&settings.arguments)
            .forget_env("USAGE_LEDGER_")
            .env("USAGE_LEDGER_API_ADDR", api.to_string())
            .env("USAGE_LEDGER_ADMIN_ADDR", admin.to_string());
        for (name, value) in &settings.variables {
            spec = spec.env(format!("USAGE_LEDGER_{name}"), value);
        }
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(ANSWER)
            .build()
            .map_err(|error| Error::Other(format!("http: {error}")))?;
        Ok(Self {
            process: spec.spawn()?,
            http,
            api: format!("http://{api}"),
            admin: format!("http://{admin}"),
            _folder: folder,
        })
    }

    /// Waits until `/readyz` says yes.
    pub async fn wait_ready(&mut self, deadline: Duration) -> Result<()> {
        let (http, url) = (&self.http, format!("{}/readyz", self.admin));
        let url = &url;
        let probe = || async move {
            http.get(url)
                .send()
                .await
                .is_ok_and(|answer| answer.status() == StatusCode::OK)
        };
        self.process.wait_until("ready", deadline, probe).await
    }

    /// Where the reader and the dashboard are.
    #[must_use]
    pub fn api(&self) -> &str {
        &self.api
    }

    /// Where health and metrics are.
    #[must_use]
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it has said so far.
    #[must_use]
    pub fn said(&self) -> String {
        log_after(self.process.log(), 0)
    }

    /// Asks the reader; anything but success is an error in the reader's own words.
    pub async fn ask(&self, path: &str, query: &[(&str, String)]) -> Result<Value> {
        let failed = |error: reqwest::Error| Error::Other(format!("{path}: {error}"));
        let request = self.http.get(format!("{}{path}", self.api));
        let answer = request.query(query).send().await.map_err(failed)?;
        let status = answer.status();
        let text = answer.text().await.map_err(failed)?;
        if !status.is_success() {
            return Err(Error::Other(format!("{path}: {status}: {text}")));
        }
        serde_json::from_str(&text).map_err(|error| Error::Other(format!("{path}: {error}")))
    }

    /// The status and the body of any address.
    pub async fn get(&self, url: &str) -> Result<(u16, String)> {
        let failed = |error: reqwest::Error| Error::Other(format!("{url}: {error}"));
        let answer = self.http.get(url).send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await.map_err(failed)?))
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> Result<String> {
        let failed = |error: reqwest::Error| Error::Other(format!("metrics: {error}"));
        let answer = self
            .http
            .get(format!("{}/metrics", self.admin))
            .send()
            .await
            .map_err(failed)?;
        answer
            .error_for_status()
            .map_err(failed)?
            .text()
            .await
            .map_err(failed)
    }

    /// Asks it to drain and end; fails unless it ends with code 0 in time.
    pub async fn stop(&mut self, deadline: Duration) -> Result<()> {
        let status = self.process.stop(deadline).await?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Exited {
            name: "usage-ledger".to_owned(),
            status,
            log: self.process.last_lines(),
        })
    }
}
