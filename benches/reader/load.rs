//! Asks over many connections at once, and takes the time.

use std::time::{Duration, Instant};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::outcome::Outcome;

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const CONNECTIONS: usize = 16;
pub(crate) const REQUESTS: usize = 1_000;
/// A run that takes longer is cut, and says how many requests it made.
const LONGEST: Duration = Duration::from_secs(60);

/// How long requests took.
pub(crate) struct Taken(Vec<Duration>);

impl Taken {
    /// The median and the 99th percentile in milliseconds, with the number of requests where it is not the
    /// usual one.
    pub(crate) fn shown(&self) -> String {
        let at = |share: usize| {
            let index = (self.0.len() * share).div_ceil(100).saturating_sub(1);
            milliseconds(self.0.get(index).copied().unwrap_or_default())
        };
        let few = match self.0.len() {
            REQUESTS => String::new(),
            few => format!(" ({few})"),
        };
        format!("{} / {}{few}", at(50), at(99))
    }
}

pub(crate) fn milliseconds(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1_000.0;
    match milliseconds {
        100.0.. => format!("{milliseconds:.0}"),
        _ => format!("{milliseconds:.1}"),
    }
}

/// A token of somebody who may read everything and is a member of the organization.
///
/// The reader limits the requests of one person. So each connection of each run is another person: sixteen
/// people with a dashboard, and the limit is on as ever.
fn token(subject: &str) -> Outcome<String> {
    let claims = json!({"sub": subject, "exp": 4_000_000_000_u64, "platformRole": "staff",
                        "organizations": {"acme": "member"}});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    Ok(encode(&Header::default(), &claims, &key)?)
}

/// Asks one thing, and reads the answer to its end.
async fn ask(client: &reqwest::Client, url: &str, token: &str) -> Outcome<(Duration, Vec<u8>)> {
    let start = Instant::now();
    let answer = client.get(url).bearer_auth(token).send().await?;
    let status = answer.status();
    let body = answer.bytes().await?;
    let took = start.elapsed();
    if !status.is_success() {
        return Err(format!("{url}: {status}: {}", String::from_utf8_lossy(&body)).into());
    }
    Ok((took, body.into()))
}

/// Asks one thing once.
pub(crate) async fn once(url: &str, subject: &str) -> Outcome<Value> {
    let (_, body) = ask(&reqwest::Client::new(), url, &token(subject)?).await?;
    Ok(serde_json::from_slice(&body)?)
}

/// Asks for the address that `url` makes of each request's number, as the person that `who` makes of each
/// connection's.
pub(crate) async fn run(
    who: impl Fn(usize) -> String,
    url: impl Fn(usize) -> String + Clone + Send + 'static,
) -> Outcome<Taken> {
    // Clients are made before the clock starts: what it takes to load certificates is nobody's latency.
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| reqwest::Client::new()).collect();
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for (connection, client) in clients.into_iter().enumerate() {
        let (url, token) = (url.clone(), token(&who(connection))?);
        tasks.spawn(async move {
            let mut taken = Vec::new();
            for n in (connection..REQUESTS).step_by(CONNECTIONS) {
                match ask(&client, &url(n), &token).await {
                    Ok((took, _)) => taken.push(took),
                    Err(error) => return Err(error.to_string()),
                }
                if start.elapsed() > LONGEST {
                    break;
                }
            }
            Ok(taken)
        });
    }
    let mut taken = Vec::new();
    for result in tasks.join_all().await {
        taken.extend(result?);
    }
    taken.sort_unstable();
    Ok(Taken(taken))
}
