//! `orlop logs`: what containers have written, of one pod or of all pods of a workload or selector.

use std::io::Write;

use anyhow::{Context, Result, bail};
use futures::stream::{FuturesUnordered, StreamExt};
use futures::{AsyncBufReadExt, AsyncReadExt};
use http::Request;
use serde_json::Value;

use crate::manifest::name_of;
use crate::session::{JSON, Session, Url};
use crate::target::Target;

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// POD, TYPE/NAME, and optionally a container.
    words: Vec<String>,
    /// Pods whose labels match.
    #[arg(short = 'l', long, default_value = "")]
    selector: String,
    /// The container, where the pod has several.
    #[arg(short, long)]
    container: Option<String>,
    /// Every container of the pod.
    #[arg(long)]
    all_containers: bool,
    /// Go on as more is written.
    #[arg(short, long)]
    follow: bool,
    /// Of the container before the last restart.
    #[arg(short, long)]
    previous: bool,
    /// Only the last lines; -1 for all.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    tail: i64,
    /// Only what is newer: 5s, 2m, 3h.
    #[arg(long)]
    since: Option<String>,
    /// Only what is newer than this time (RFC 3339).
    #[arg(long)]
    since_time: Option<String>,
    /// With the time of each line.
    #[arg(long)]
    timestamps: bool,
    /// At most so many bytes.
    #[arg(long)]
    limit_bytes: Option<u64>,
    /// With pod and container before each line.
    #[arg(long)]
    prefix: bool,
}

/// Streams followed at once: more would not be readable.
const STREAMS_LIMIT: usize = 64;

/// Seconds of a duration as kubectl writes them: `90`, `90s`, `5m`, `1h30m`.
///
/// # Errors
/// When the text is no duration.
pub fn seconds(text: &str) -> Result<u64> {
    if let Ok(plain) = text.parse::<u64>() {
        return Ok(plain);
    }
    let (mut total, mut digits) = (0u64, String::new());
    for letter in text.chars() {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        let factor = match letter {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => bail!("invalid duration \"{text}\""),
        };
        let number: u64 = digits.parse().with_context(|| format!("invalid duration \"{text}\""))?;
        total = number
            .checked_mul(factor)
            .and_then(|it| it.checked_add(total))
            .with_context(|| format!("invalid duration \"{text}\""))?;
        digits.clear();
    }
    if !digits.is_empty() {
        bail!("invalid duration \"{text}\": missing unit");
    }
    Ok(total)
}

/// Runs it.
///
/// # Errors
/// When the pod or container is missing, or its node cannot be reached.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let (pods, container) = pods(&args, session).await?;
    let mut streams = Vec::new();
    for pod in &pods {
        let name = name_of(pod);
        let containers: Vec<Option<String>> = if args.all_containers {
            let listed =
                ["initContainers", "containers"].iter().flat_map(|it| pod["spec"][it].as_array().into_iter().flatten());
            listed.map(|it| it["name"].as_str().map(str::to_owned)).collect()
        } else {
            vec![container.clone()]
        };
        for container in containers {
            streams.push((name.to_owned(), container));
        }
    }
    if streams.is_empty() {
        eprintln!("No resources found in {} namespace.", session.namespace);
        return Ok(());
    }
    if streams.len() > STREAMS_LIMIT {
        bail!("{} logs are more than the {STREAMS_LIMIT} that are read at once: select fewer", streams.len());
    }
    if !args.follow {
        for (pod, container) in &streams {
            copy(&args, session, pod, container.as_deref()).await?;
        }
        return Ok(());
    }
    let mut all: FuturesUnordered<_> =
        streams.iter().map(|(pod, container)| copy(&args, session, pod, container.as_deref())).collect();
    while let Some(outcome) = all.next().await {
        outcome?;
    }
    Ok(())
}

/// The pods that are meant, and the container if one is named.
async fn pods(args: &Args, session: &Session) -> Result<(Vec<Value>, Option<String>)> {
    let pods_url = Url::path(format!("/api/v1/namespaces/{}/pods", session.namespace));
    let listed = |mut list: Value| list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
    if !args.selector.is_empty() {
        let list = session.get(&pods_url.with("labelSelector", &args.selector), JSON).await?;
        return Ok((listed(list), args.container.clone()));
    }
    let Some(first) = args.words.first() else { bail!("expected POD, TYPE/NAME or a selector with -l") };
    let container = args.container.clone().or_else(|| args.words.get(1).cloned());
    let name = match first.split_once('/') {
        None => first.as_str(),
        Some((kind, name)) if ["pod", "pods", "po"].contains(&kind) => name,
        Some(_) => {
            let target = Target { words: vec![first.clone()], ..Target::default() };
            let objects = target.objects(session).await?;
            let selector = objects.first().map(|(_, it)| &it["spec"]["selector"]).context("no such object")?;
            let labels = selector.get("matchLabels").unwrap_or(selector);
            let pairs: Vec<String> = labels
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
                .collect();
            if pairs.is_empty() {
                bail!("{first} selects no pods");
            }
            let list = session.get(&pods_url.with("labelSelector", pairs.join(",")), JSON).await?;
            return Ok((listed(list), container));
        }
    };
    Ok((vec![session.get(&pods_url.child(name), JSON).await?], container))
}

async fn copy(args: &Args, session: &Session, pod: &str, container: Option<&str>) -> Result<()> {
    let flag = |it: bool| if it { "true" } else { "" };
    let mut url = Url::path(format!("/api/v1/namespaces/{}/pods", session.namespace)).child(pod).child("log");
    url = url.with("container", container.unwrap_or_default());
    url = url
        .with("follow", flag(args.follow))
        .with("previous", flag(args.previous))
        .with("timestamps", flag(args.timestamps));
    if args.tail >= 0 {
        url = url.with("tailLines", args.tail.to_string());
    }
    if let Some(since) = &args.since {
        url = url.with("sinceSeconds", seconds(since)?.to_string());
    }
    url = url.with("sinceTime", args.since_time.clone().unwrap_or_default());
    url = url.with("limitBytes", args.limit_bytes.map(|it| it.to_string()).unwrap_or_default());
    let request = Request::get(url.text()).body(Vec::new())?;
    let mut stream = session.client().request_stream(request).await?;
    if !args.prefix {
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let length = stream.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            let mut out = std::io::stdout().lock();
            out.write_all(&buffer[..length])?;
            out.flush()?;
        }
    }
    let mut lines = stream.lines();
    while let Some(line) = lines.next().await {
        writeln!(std::io::stdout().lock(), "[pod/{pod}/{}] {}", container.unwrap_or_default(), line?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn reads_durations() {
        for (text, expected) in [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("0", 0)] {
            assert_eq!(seconds(text).unwrap(), expected, "{text}");
        }
        for text in ["5x", "m", "1h30", "99999999999999999999h"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
