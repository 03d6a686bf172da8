//! MongoDB to run against: the user's own, a `mongod`, or the embedded default SecantusDB.
//!
//! [`Mongo::start`] looks in that order and says what it took; for a first look there is also SecantusDB's build in
//! Python. A server that it starts is a single-node replica set on loopback with its data in a temporary folder; it ends
//! with its [`Mongo`]. SecantusDB speaks MongoDB's wire protocol and is a separate program: it is run, never linked.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::mongodb::Client;
use ::mongodb::error::ErrorKind;
use ::mongodb::options::ClientOptions;
use bson::{Document, doc};

use crate::error::{Doing as _, Error, Result};
use crate::net;
use crate::process::{Process, Spec};
use crate::proxy::Proxy;
use crate::scratch::Scratch;
use crate::tools;

/// The user's own server.
pub const USER_URI: &str = "USAGE_LEDGER_MONGODB_URI";
const REPLICA_SET: &str = "usage-ledger";
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(20);
/// One attempt at talking to a server that is starting.
const ATTEMPT: Duration = Duration::from_secs(3);
const MISSING: &str = "no MongoDB found: set USAGE_LEDGER_MONGODB_URI to a replica set of yours, put `mongod` \
                       on PATH (or its path into MONGOD), or run `deploy/setup.sh mongodb`, which installs SecantusDB";

/// Which server was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The one `USAGE_LEDGER_MONGODB_URI` names; nothing was started.
    User,
    /// A `mongod`.
    Mongod,
    /// SecantusDB.
    Secantus,
    /// SecantusDB's build in Python: installed in seconds where the other is compiled for minutes, and too slow
    /// for anything but a look.
    SecantusPython,
}

impl Kind {
    /// What a server writes when it takes connections.
    fn says(self) -> &'static str {
        match self {
            Kind::Mongod => "Waiting for connections",
            _ => "listening on",
        }
    }
}

/// How to start a server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Take the user's own server where `USAGE_LEDGER_MONGODB_URI` names one.
    pub user_server: bool,
    /// Take SecantusDB's build in Python where nothing better is there.
    pub may_be_slow: bool,
    /// Require a log-in; this user (letters and digits) is made and may do everything.
    pub login: Option<(String, String)>,
    /// How much history change streams can look back on. SecantusDB counts entries; `mongod` knows sizes
    /// only, and gets its smallest for anything less than the default.
    pub oplog_entries: u64,
    /// For how long history is kept (SecantusDB).
    pub oplog_retention: Duration,
    /// How often an idle oplog moves (SecantusDB; `mongod` does so every 10 s).
    pub heartbeat: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            user_server: false,
            may_be_slow: false,
            login: None,
            oplog_entries: 100_000_000,
            oplog_retention: Duration::from_secs(30 * 86_400),
            heartbeat: None,
        }
    }
}

/// A MongoDB to run against. Dropping it ends what it started and removes the data.
#[derive(Debug)]
pub struct Mongo {
    kind: Kind,
    uri: String,
    description: String,
    own: Option<Own>,
}

/// A server of ours.
#[derive(Debug)]
struct Own {
    // Declared before the folder: the process ends first, then its data is removed.
    process: Process,
    spec: Spec,
    port: u16,
    folder: Scratch,
}

impl Mongo {
    /// Finds a server, starts it unless it is the user's, and waits until it takes writes.
    pub async fn start(options: Options) -> Result<Self> {
        if options.user_server
            && let Some(uri) = tools::set(USER_URI)
        {
            return Self::users(uri).await;
        }
        let (kind, program) = find(options.may_be_slow)?;
        let mut failed = 0;
        loop {
            // Somebody else may take the port between our look and the server's bind.
            match Self::launch(kind, &program, &options).await {
                Err(Error::Exited { .. }) if failed < 2 => failed += 1,
                done => return done,
            }
        }
    }

    async fn users(uri: String) -> Result<Self> {
        let client = connect(&uri).await?;
        let hello = client.database("admin").run_command(doc! {"hello": 1}).await?;
        if !hello.contains_key("setName") && hello.get_str("msg").ok() != Some("isdbgrid") {
            let what = format!("{USER_URI} names a server that is no replica set; change streams need one");
            return Err(Error::Other(what));
        }
        let description = format!("MongoDB {}, your own ({USER_URI})", version(&client).await?);
        Ok(Self {
            kind: Kind::User,
            uri,
            description,
            own: None,
        })
    }

    async fn launch(kind: Kind, program: &Path, options: &Options) -> Result<Self> {
        let folder = Scratch::new("mongodb")?;
        let port = net::free_port()?;
        let spec = match kind {
            Kind::Mongod => mongod(program, port, folder.path(), options).await?,
            _ => secantus(kind, program, port, folder.path(), options),
        };
        let mut process = spec.clone().spawn_until(kind.says(), START).await?;
        let client = connect(&direct_uri(port)).await?;
        if kind == Kind::Mongod {
            initiate(&client, port).await?;
        }
        let hello = writable(&mut process, &client).await?;
        if let Some((user, password)) = &options.login {
            let command = doc! {"createUser": user, "pwd": password, "roles": ["root"]};
            client.database("admin").run_command(command).await?;
        }
        let set = hello.get_str("setName").unwrap_or(REPLICA_SET);
        let login = options
            .login
            .as_ref()
            .map(|(user, password)| format!("{user}:{password}@"));
        let login = login.unwrap_or_default();
        let uri = format!("mongodb://{login}127.0.0.1:{port}/?replicaSet={set}");
        let name = match kind {
            Kind::SecantusPython => "SecantusDB (its build in Python), speaking MongoDB",
            Kind::Secantus => "SecantusDB, speaking MongoDB",
            _ => "mongod",
        };
        let description = format!(
            "{name} {}, started from {}",
            version(&connect(&uri).await?).await?,
            program.display()
        );
        Ok(Self {
            kind,
            uri,
            description,
            own: Some(Own {
                process,
                spec,
                port,
                folder,
            }),
        })
    }

    /// Which server this is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The connection string, with log-in and replica set.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// What was taken, in words.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// A new client of this server.
    pub async fn client(&self) -> Result<Client> {
        connect(&self.uri).await
    }

    /// The port, of a server of ours.
    pub fn port(&self) -> Result<u16> {
        self.own.as_ref().map(|own| own.port).ok_or_else(not_ours)
    }

    /// The process, of a server of ours.
    pub fn process(&mut self) -> Result<&mut Process> {
        Ok(&mut self.own_mut()?.process)
    }

    /// The folder of the data and the log, of a server of ours.
    pub fn folder(&self) -> Result<&Path> {
        self.own
            .as_ref()
            .map(|own| own.folder.path())
            .ok_or_else(not_ours)
    }

    /// A proxy before this server.
    pub async fn proxy(&self) -> Result<Proxy> {
        Proxy::start(net::loopback(self.port()?)).await
    }

    /// The connection string through a proxy before this server, with log-in and replica set: the proxy is what
    /// the server says that it is.
    #[must_use]
    pub fn proxied_uri(&self, proxy: &Proxy) -> String {
        through(&self.uri, proxy.upstream(), proxy.address())
    }

    /// Kills the server with SIGKILL; its data stays.
    pub fn kill9(&mut self) -> Result<()> {
        self.own_mut()?.process.kill9().map(drop)
    }

    /// Stops the server in good order; its data stays.
    pub async fn stop(&mut self) -> Result<()> {
        self.own_mut()?.process.stop(STOP).await.map(drop)
    }

    /// Starts it again (after stopping it, if it runs) on the same port and data, and waits until it takes
    /// writes.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        let says = self.kind.says();
        let own = self.own_mut()?;
        own.process = own.spec.clone().spawn_until(says, START).await?;
        let client = connect(&direct_uri(own.port)).await?;
        writable(&mut own.process, &client).await.map(drop)
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

fn not_ours() -> Error {
    Error::Other(format!(
        "the server that {USER_URI} names is the user's own: it is not started, stopped or proxied"
    ))
}

/// The program to start, by the order in the module's description.
fn find(may_be_slow: bool) -> Result<(Kind, PathBuf)> {
    let mongod = || tools::from_variable("MONGOD").or_else(|| tools::on_path("mongod"));
    let secantus = || {
        tools::from_variable("SECANTUSD")
            .or_else(|| tools::on_path("secantusd-rs"))
            .or_else(|| tools::from_folder("secantus/bin/secantusd-rs"))
    };
    let python = || tools::from_folder("secantus-python/bin/secantusd-py").filter(|_| may_be_slow);
    mongod()
        .map(|program| (Kind::Mongod, program))
        .or_else(|| secantus().map(|program| (Kind::Secantus, program)))
        .or_else(|| python().map(|program| (Kind::SecantusPython, program)))
        .ok_or_else(|| Error::Missing(MISSING.to_owned()))
}

fn secantus(kind: Kind, program: &Path, port: u16, folder: &Path, options: &Options) -> Spec {
    let mut spec = Spec::new("SecantusDB", program, folder.join("log"))
        .args([
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--storage-path",
        ])
        .arg(folder.join("data"))
        // Without it a kill -9 loses acknowledged majority writes, which MongoDB does not.
        .arg("--sync-on-commit")
        .args(["--oplog-max-entries", &options.oplog_entries.to_string()])
        .args([
            "--oplog-retention-seconds",
            &options.oplog_retention.as_secs().max(1).to_string(),
        ]);
    if kind == Kind::Secantus {
        // A log file is allocated in full: the default would make each empty store 128 MB. (The build in Python has
        // no such option, and says that it listens only at its usual level.)
        spec = spec.args(["--log-file-max", "32MB", "--log-level", "WARNING"]);
    }
    if let Some(every) = options.heartbeat {
        spec = spec.args(["--noop-heartbeat-seconds", &every.as_secs().max(1).to_string()]);
    }
    if options.login.is_some() {
        spec.arg("--auth")
    } else {
        spec
    }
}

async fn mongod(program: &Path, port: u16, folder: &Path, options: &Options) -> Result<Spec> {
    let data = folder.join("data");
    std::fs::create_dir(&data).doing(|| format!("make {}", data.display()))?;
    let mut spec = Spec::new("mongod", program, folder.join("log"))
        .args([
            "--bind_ip",
            "127.0.0.1",
            "--nounixsocket",
            "--replSet",
            REPLICA_SET,
        ])
        .args([
            "--wiredTigerCacheSizeGB",
            "0.5",
            "--port",
            &port.to_string(),
            "--dbpath",
        ])
        .arg(data);
    if options.oplog_entries < Options::default().oplog_entries {
        spec = spec.args(["--oplogSize", "1"]);
    }
    if options.login.is_some() {
        let key = folder.join("key");
        write_secret(&key)?;
        spec = spec.arg("--auth").arg("--keyFile").arg(key);
    }
    Ok(spec)
}

/// The members of a replica set prove themselves by a shared key; one alone needs any.
fn write_secret(path: &Path) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let key: [u64; 4] = rand::random();
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(key.map(|part| format!("{part:016x}")).concat().as_bytes()))
        .doing(|| format!("write {}", path.display()))
}

/// The connection string with another address in the place of its own.
fn through(uri: &str, from: SocketAddr, to: SocketAddr) -> String {
    uri.replacen(&from.to_string(), &to.to_string(), 1)
}

fn direct_uri(port: u16) -> String {
    format!("mongodb://127.0.0.1:{port}/?directConnection=true")
}

async fn connect(uri: &str) -> Result<Client> {
    let mut options = ClientOptions::parse(uri).await?;
    options
        .app_name
        .get_or_insert_with(|| "usage-ledger-stack".to_owned());
    options
        .server_selection_timeout
        .get_or_insert(Duration::from_secs(10));
    Ok(Client::with_options(options)?)
}

async fn version(client: &Client) -> Result<String> {
    let answer = client
        .database("admin")
        .run_command(doc! {"buildInfo": 1})
        .await?;
    Ok(answer
        .get_str("version")
        .unwrap_or("of an unknown version")
        .to_owned())
}

async fn initiate(client: &Client, port: u16) -> Result<()> {
    const ALREADY_INITIALIZED: i32 = 23;
    let members = doc! {"_id": REPLICA_SET, "members": [{"_id": 0, "host": format!("127.0.0.1:{port}")}]};
    match client
        .database("admin")
        .run_command(doc! {"replSetInitiate": members})
        .await
    {
        Ok(_) => Ok(()),
        Err(error) => match error.kind.as_ref() {
            ErrorKind::Command(refused) if refused.code == ALREADY_INITIALIZED => Ok(()),
            _ => Err(error.into()),
        },
    }
}

/// Waits until the server takes writes; returns its `hello`.
async fn writable(process: &mut Process, client: &Client) -> Result<Document> {
    let (found, answer) = tokio::sync::watch::channel(Document::new());
    let found = &found;
    let probe = || async move {
        let admin = client.database("admin");
        let hello = admin.run_command(doc! {"hello": 1});
        match tokio::time::timeout(ATTEMPT, hello.into_future()).await {
            Ok(Ok(hello)) if hello.get_bool("isWritablePrimary").unwrap_or(false) => {
                found.send_replace(hello);
                true
            }
            _ => false,
        }
    };
    process.wait_until("taking writes", START, probe).await?;
    Ok(answer.borrow().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_send<T: Send>(_: T) {}

    #[test]
    fn the_futures_can_move_between_threads() {
        a_send(Mongo::start(Options::default()));
    }

    #[test]
    fn proxied_uris_keep_the_log_in_and_the_replica_set() {
        assert_eq!(
            through(
                "mongodb://u:p@127.0.0.1:1/?replicaSet=set",
                net::loopback(1),
                net::loopback(2)
            ),
            "mongodb://u:p@127.0.0.1:2/?replicaSet=set"
        );
    }
}
