//! A Kafka broker to run against: the user's own, or one out of the jars that `deploy/setup.sh kafka`
//! fetches.
//!
//! [`Broker::start`] runs one broker in `KRaft` mode on loopback, with its data in a temporary folder. It
//! speaks to it by Kafka's own command line tools, each a process of its own: about a second per call. What
//! needs more than they can do (partitions, transactions, reading back) is in [`records`].

pub mod records;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;

use crate::error::{Doing as _, Error, Result};
use crate::net;
use crate::process::{Process, Spec, log_after};
use crate::scratch::Scratch;
use crate::tools;

/// The user's own brokers.
pub const USER_BROKERS: &str = "USAGE_LEDGER_KAFKA_BROKERS";
const START: Duration = Duration::from_secs(90);
const STOP: Duration = Duration::from_secs(30);
const TOOL: Duration = Duration::from_secs(60);
/// Each cluster is alone in the world: all may bear the same name.
const CLUSTER: &str = "MkU3OEVBNTcwNTJENDM2Qg";
const STARTED: &str = "Kafka Server started";
const MISSING_JAVA: &str = "no Java found, which Kafka runs on: run `deploy/setup.sh kafka`, or set \
                            USAGE_LEDGER_KAFKA_BROKERS to a cluster of yours";
const MISSING_JARS: &str = "no Kafka found: run `deploy/setup.sh kafka`, which fetches it once, or set \
                            USAGE_LEDGER_KAFKA_BROKERS to a cluster of yours";

/// How to start a broker.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Take the user's own cluster where `USAGE_LEDGER_KAFKA_BROKERS` names one.
    pub user_brokers: bool,
    /// The port that clients are told to connect to, for a proxy that stands there
    /// (`Link::start_on(port, broker.address()?)`); the broker's own otherwise.
    pub advertised: Option<u16>,
    /// More ways in, beside the plain one.
    pub listeners: Vec<Listener>,
    /// More lines of `server.properties`.
    pub properties: Vec<(String, String)>,
}

/// One way in.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Its name, upper case; its properties begin with `listener.name.<name, lower case>.`.
    pub name: String,
    /// `SASL_PLAINTEXT`, `SSL` or `SASL_SSL`.
    pub protocol: String,
    /// Where it listens on loopback.
    pub port: u16,
}

/// A Kafka to run against. Dropping it ends what it started and removes the data.
#[derive(Debug)]
pub struct Broker {
    brokers: String,
    description: String,
    java: Java,
    own: Option<Own>,
    /// Logs of the tools.
    folder: Scratch,
}

#[derive(Debug)]
struct Own {
    process: Process,
    spec: Spec,
    port: u16,
}

/// Java, and Kafka's jars.
#[derive(Debug, Clone)]
struct Java {
    program: PathBuf,
    jars: PathBuf,
}

impl Broker {
    /// Starts a broker, or takes the user's, and waits until it serves.
    pub async fn start(options: Options) -> Result<Self> {
        let java = Java::find()?;
        let folder = Scratch::new("kafka")?;
        if options.user_brokers
            && let Some(brokers) = tools::set(USER_BROKERS)
        {
            let description = format!("Kafka at {brokers}, your own ({USER_BROKERS})");
            return Ok(Self {
                brokers,
                description,
                java,
                own: None,
                folder,
            });
        }
        let port = net::free_port()?;
        let settings = folder.path().join("server.properties");
        let text = properties(port, net::free_port()?, folder.path(), &options);
        std::fs::write(&settings, text).doing(|| format!("write {}", settings.display()))?;
        let format = java
            .tool(
                "format Kafka's storage",
                "kafka.tools.StorageTool",
                &folder.path().join("format.log"),
            )
            .args(["format", "-t", CLUSTER, "-c"])
            .arg(&settings);
        run(format.spawn()?).await?;
        let spec = java.broker(&settings, &folder.path().join("log"));
        let process = spec.clone().spawn_until(STARTED, START).await?;
        let brokers = net::loopback(options.advertised.unwrap_or(port)).to_string();
        let description = format!("Apache Kafka, started from {}", java.jars.display());
        Ok(Self {
            brokers,
            description,
            java,
            own: Some(Own { process, spec, port }),
            folder,
        })
    }

    /// What clients connect to.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// What was taken, in words.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Whether it is the user's own, of which nothing was started.
    #[must_use]
    pub fn is_users(&self) -> bool {
        self.own.is_none()
    }

    /// Where a broker of ours listens, whatever it advertises.
    pub fn address(&self) -> Result<std::net::SocketAddr> {
        self.own
            .as_ref()
            .map(|own| net::loopback(own.port))
            .ok_or_else(not_ours)
    }

    /// The process, of a broker of ours.
    pub fn process(&mut self) -> Result<&mut Process> {
        Ok(&mut self.own_mut()?.process)
    }

    /// Makes a topic; `settings` are topic settings such as `retention.ms=1000`.
    pub async fn create_topic(&self, topic: &str, partitions: u16, settings: &[&str]) -> Result<()> {
        let partitions = partitions.to_string();
        let mut arguments = vec!["--create", "--topic", topic, "--partitions", &partitions];
        settings
            .iter()
            .for_each(|setting| arguments.extend(["--config", setting]));
        self.tool("org.apache.kafka.tools.TopicCommand", &arguments)
            .await
            .map(drop)
    }

    /// Removes a topic.
    pub async fn delete_topic(&self, topic: &str) -> Result<()> {
        self.tool(
            "org.apache.kafka.tools.TopicCommand",
            &["--delete", "--topic", topic],
        )
        .await
        .map(drop)
    }

    /// Runs one of Kafka's command line tools, by its class, against this cluster; returns what it printed.
    pub async fn tool(&self, class: &str, arguments: &[&str]) -> Result<String> {
        let log = tempfile::Builder::new()
            .suffix(".log")
            .tempfile_in(self.folder.path())
            .doing(|| "make a log".to_owned())?;
        let spec = self.java.tool(class, class, log.path());
        let process = spec
            .args(["--bootstrap-server", &self.brokers])
            .args(arguments)
            .spawn()?;
        run(process).await
    }

    /// A producer of keyed records.
    pub fn producer(&self, topic: &str) -> Result<Producer> {
        Producer::start(
            &self.java,
            &self.brokers,
            topic,
            &self.folder.path().join("producer.log"),
        )
    }

    /// Kills the broker with SIGKILL; its data stays.
    pub fn kill9(&mut self) -> Result<()> {
        self.own_mut()?.process.kill9().map(drop)
    }

    /// Stops the broker in good order; its data stays.
    pub async fn stop(&mut self) -> Result<()> {
        self.own_mut()?.process.stop(STOP).await.map(drop)
    }

    /// Starts it again (after stopping it, if it runs) on the same ports and data, and waits until it
    /// serves.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        let own = self.own_mut()?;
        own.process = own.spec.clone().spawn_until(STARTED, START).await?;
        Ok(())
    }

    /// Freezes it: connections stay open and nothing answers.
    pub fn pause(&mut self) -> Result<()> {
        self.own_mut()?.process.pause()
    }

    /// Lets it go on.
    pub fn resume(&mut self) -> Result<()> {
        self.own_mut()?.process.resume()
    }

    fn own_mut(&mut self) -> Result<&mut Own> {
        self.own.as_mut().ok_or_else(not_ours)
    }
}

/// Sends keyed records, in order, by Kafka's console producer.
#[derive(Debug)]
pub struct Producer {
    process: Process,
    input: ChildStdin,
}

impl Producer {
    /// For brokers of any origin.
    pub fn connect(brokers: &str, topic: &str, log: &Path) -> Result<Self> {
        Self::start(&Java::find()?, brokers, topic, log)
    }

    fn start(java: &Java, brokers: &str, topic: &str, log: &Path) -> Result<Self> {
        let mut spec = java
            .tool(
                "Kafka's console producer",
                "org.apache.kafka.tools.ConsoleProducer",
                log,
            )
            .args(["--bootstrap-server", brokers, "--topic", topic])
            .args(["--property", "parse.key=true"]);
        // Its own defaults give up after 3 tries of 1.5 s each.
        for setting in [
            "acks=all",
            "retries=2147483647",
            "request.timeout.ms=30000",
            "linger.ms=20",
            "batch.size=131072",
        ] {
            spec = spec.args(["--producer-property", setting]);
        }
        let mut process = spec.piped().spawn()?;
        let input = process
            .stdin()
            .ok_or_else(|| Error::Other("the producer has no input".to_owned()))?;
        let input = ChildStdin::from_std(input).doing(|| "write to the producer".to_owned())?;
        Ok(Self { process, input })
    }

    /// Sends records. They are on their way when this returns, and arrived when [`Producer::close`] does.
    pub async fn send(&mut self, records: impl IntoIterator<Item = (&str, String)>) -> Result<()> {
        let mut lines = String::new();
        for (key, value) in records {
            lines.push_str(key);
            lines.push('\t');
            lines.push_str(&value);
            lines.push('\n');
        }
        self.process.check()?;
        let written = async {
            self.input.write_all(lines.as_bytes()).await?;
            self.input.flush().await
        };
        written.await.doing(|| "write to the producer".to_owned())
    }

    /// Waits until everything has arrived.
    pub async fn close(self) -> Result<()> {
        let Self { process, input } = self;
        drop(input);
        let said = run(process).await?;
        if said.contains("ERROR") {
            return Err(Error::Other(format!(
                "Kafka's console producer lost records:\n{said}"
            )));
        }
        Ok(())
    }
}

impl Java {
    fn find() -> Result<Self> {
        let home = tools::set("JAVA_HOME").map(|home| PathBuf::from(home).join("bin/java"));
        let program = home
            .filter(|java| java.is_file())
            .or_else(|| tools::on_path("java"));
        let program = program.ok_or_else(|| Error::Missing(MISSING_JAVA.to_owned()))?;
        let jars = tools::folder().join("kafka/lib");
        if jars.is_dir() {
            Ok(Self { program, jars })
        } else {
            Err(Error::Missing(MISSING_JARS.to_owned()))
        }
    }

    fn tool(&self, name: &str, class: &str, log: &Path) -> Spec {
        self.class(name, log, &["-Xmx256m", "-XX:TieredStopAtLevel=1"])
            .arg(class)
    }

    fn broker(&self, settings: &Path, log: &Path) -> Spec {
        // The line that says "started" is one of these packages'.
        let speak = "-Dorg.slf4j.simpleLogger.log.kafka.server=info";
        self.class("Kafka", log, &["-Xmx512m", speak])
            .arg("kafka.Kafka")
            .arg(settings)
    }

    fn class(&self, name: &str, log: &Path, options: &[&str]) -> Spec {
        Spec::new(name, &self.program, log)
            .args(options)
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
            .arg("-cp")
            .arg(self.jars.join("*"))
    }
}

fn not_ours() -> Error {
    Error::Other(format!(
        "the cluster that {USER_BROKERS} names is the user's own: it is not started or stopped"
    ))
}

/// Waits for a tool; returns what it printed.
async fn run(mut process: Process) -> Result<String> {
    let status = process.wait_ended(TOOL).await?;
    if status.success() {
        return Ok(log_after(process.log(), 0));
    }
    Err(Error::Exited {
        name: process.name().to_owned(),
        status,
        log: process.last_lines(),
    })
}

fn properties(port: u16, controller: u16, folder: &Path, options: &Options) -> String {
    let advertised = options.advertised.unwrap_or(port);
    let more = |write: fn(&Listener) -> String| options.listeners.iter().map(write).collect::<String>();
    let addresses = more(|listener| format!(",{}://127.0.0.1:{}", listener.name, listener.port));
    let protocols = more(|listener| format!(",{}:{}", listener.name, listener.protocol));
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{addresses}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{advertised}{addresses}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}\n\
         log.dirs={}\n",
        folder.join("data").display()
    );
    text.push_str(
        "offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=4\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         group.min.session.timeout.ms=1000\n\
         auto.create.topics.enable=false\n\
         log.retention.ms=-1\n",
    );
    for (name, value) in &options.properties {
        text.push_str(&format!("{name}={value}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_the_advertised_port() {
        let options = Options {
            advertised: Some(7),
            properties: vec![("a.b".into(), "c".into())],
            ..Options::default()
        };
        let text = properties(1, 2, Path::new("/data"), &options);
        assert!(text.contains("listeners=PLAINTEXT://127.0.0.1:1,"));
        assert!(text.contains("advertised.listeners=PLAINTEXT://127.0.0.1:7\n"));
        assert!(text.ends_with("a.b=c\n"));
    }
}
