//! Watches ("Watchers should observe add, update, and delete watch notifications on configmaps", "... be able to start watching from a specific
//! resource version", "... be able to restart watching from the last resource version observed by the previous watch", "... observe an object
//! deletion if it stops meeting the requirements of the selector", "... receive events on concurrent watches in same order"), and pages
//! ("Servers with support for API chunking should return chunks of results for list calls").
//!
//! A watch that begins at a version shows all that came after it, so that it may be opened when everything has happened, and closed after a
//! second.

use anyhow::{Context, Result, ensure};
use orlop_e2e::scene::{POD_LIMIT, Scene};
use serde_json::{Value, json};

use super::plain::{Http, MERGE, count, meta, names};

const LABEL: &str = "watch-this-configmap";
/// How long a watch stays open that has nothing to wait for.
const SECONDS: u32 = 1;
/// Pod templates that are listed in pages.
const TEMPLATES: usize = 40;

/// Events as `TYPE name data`, without who else is in the namespace.
fn told(events: &[(String, Value)]) -> Vec<String> {
    let text = |(kind, it): &(String, Value)| {
        format!("{kind} {} {}", meta(it, "name"), it["data"]["mutation"].as_str().unwrap_or("-"))
    };
    events.iter().map(text).collect()
}

pub fn watches(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let maps = it.path("configmaps");
    let map = |name: &str, label: &str| json!({ "metadata": { "name": name, "labels": { LABEL: label } } });
    let mutate = |name: &str, value: &str| -> Result<Value> {
        http.patch(&format!("{maps}/{name}"), MERGE, &json!({ "data": { "mutation": value } }))?.is(200)
    };
    let delete = |name: &str| http.delete(&format!("{maps}/{name}"), &Value::Null)?.is(200);
    let start = meta(&http.get(&maps)?.is(200)?, "resourceVersion").to_owned();
    let mut revisions =
        vec![meta(&http.post(&maps, &map("a", "multiple-watchers-A"))?.is(201)?, "resourceVersion").to_owned()];
    for value in ["1", "2"] {
        revisions.push(meta(&mutate("a", value)?, "resourceVersion").to_owned());
    }
    delete("a")?;
    http.post(&maps, &map("b", "multiple-watchers-B"))?.is(201)?;
    delete("b")?;

    // Each watcher sees its own, all of it, in order.
    let since = |revision: &str, label: &str| {
        let selector = format!("labelSelector={LABEL}+in+({label})&resourceVersion={revision}");
        http.watch(&format!("{maps}?{selector}"), SECONDS)
    };
    let of_a = ["ADDED a -", "MODIFIED a 1", "MODIFIED a 2", "DELETED a 2"];
    let of_b = ["ADDED b -", "DELETED b -"];
    ensure!(told(&since(&start, "multiple-watchers-A")?) == of_a, "{:?}", since(&start, "multiple-watchers-A")?);
    ensure!(told(&since(&start, "multiple-watchers-B")?) == of_b, "{:?}", since(&start, "multiple-watchers-B")?);
    let both = told(&since(&start, "multiple-watchers-A,multiple-watchers-B")?);
    ensure!(both == [&of_a[..], &of_b[..]].concat(), "{both:?}");
    // From a version on, and from the last that was seen on.
    ensure!(told(&since(&revisions[1], "multiple-watchers-A")?) == of_a[2..], "after the first change");
    let seen = since(&start, "multiple-watchers-A")?;
    for (at, (_, object)) in seen.iter().enumerate() {
        let rest = told(&since(meta(object, "resourceVersion"), "multiple-watchers-A")?);
        ensure!(rest == of_a[at + 1..], "after {at}: {rest:?}");
    }

    // What leaves the selection is gone, what returns is new.
    let start =
        meta(&http.post(&maps, &map("c", "label-changed-and-restored"))?.is(201)?, "resourceVersion").to_owned();
    mutate("c", "1")?;
    let label = |value: &str| {
        http.patch(&format!("{maps}/c"), MERGE, &json!({ "metadata": { "labels": { LABEL: value } } }))?.is(200)
    };
    label("wrong-value")?;
    mutate("c", "2")?;
    label("label-changed-and-restored")?;
    mutate("c", "3")?;
    delete("c")?;
    let found = told(&since(&start, "label-changed-and-restored")?);
    ensure!(found == ["MODIFIED c 1", "DELETED c 1", "ADDED c 2", "MODIFIED c 3", "DELETED c 3"], "{found:?}");

    // Watchers beside each other, from every version there was, see the rest of one order.
    let start = meta(&http.get(&maps)?.is(200)?, "resourceVersion").to_owned();
    for at in 0..20 {
        let name = format!("d{}", at % 5);
        match at % 4 {
            0 | 1 if http.get(&format!("{maps}/{name}"))?.code == 404 => {
                drop(http.post(&maps, &map(&name, "order"))?.is(201)?)
            }
            3 => drop(http.delete(&format!("{maps}/{name}"), &Value::Null)?),
            _ => drop(http.patch(
                &format!("{maps}/{name}"),
                MERGE,
                &json!({ "data": { "mutation": at.to_string() } }),
            )?),
        }
    }
    let whole = since(&start, "order")?;
    ensure!(whole.len() >= 10, "{whole:?}");
    let order = |events: &[(String, Value)]| -> Vec<String> {
        events.iter().map(|it| meta(&it.1, "resourceVersion").to_owned()).collect()
    };
    let whole = order(&whole);
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..whole.len())
            .step_by(3)
            .map(|at| {
                scope.spawn({
                    let (since, whole) = (&since, &whole);
                    move || anyhow::Ok((at, order(&since(&whole[at], "order")?)))
                })
            })
            .collect();
        for other in others {
            let (at, found) = other.join().map_err(|_| anyhow::anyhow!("a watcher panicked"))??;
            ensure!(found == whole[at + 1..], "from {at}: {found:?} instead of {whole:?}");
        }
        Ok(())
    })
}

/// Pages are of one moment and lose nothing, whatever their size.
pub fn chunks(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let path = it.path("podtemplates");
    let template =
        json!({ "template": { "spec": { "containers": [{ "name": "c", "image": "registry.local/web:1" }] } } });
    for at in 0..TEMPLATES {
        let mut body = template.clone();
        body["metadata"]["name"] = format!("template-{at:04}").into();
        http.post(&path, &body)?.is(201)?;
    }
    for limit in [1, 7, TEMPLATES / 2, TEMPLATES, TEMPLATES + 1, 500] {
        let (mut token, mut found, mut revision) = (String::new(), Vec::new(), String::new());
        loop {
            let page = http.get(&format!("{path}?limit={limit}&continue={token}"))?.is(200)?;
            ensure!(count(&page) <= limit, "{limit}: {} on a page", count(&page));
            if revision.is_empty() {
                meta(&page, "resourceVersion").clone_into(&mut revision);
                if limit == 7 {
                    // What comes later is on no page.
                    let mut late = template.clone();
                    late["metadata"]["name"] = "template-0020-late".into();
                    http.post(&path, &late)?.is(201)?;
                }
            }
            ensure!(meta(&page, "resourceVersion") == revision, "{limit}: the pages are of one version");
            found.extend(names(&page));
            meta(&page, "continue").clone_into(&mut token);
            let left = page["metadata"]["remainingItemCount"].as_u64();
            ensure!(
                left == (!token.is_empty()).then(|| (TEMPLATES - found.len()) as u64),
                "{limit}: {}",
                page["metadata"]
            );
            if token.is_empty() {
                break;
            }
        }
        let expected: Vec<String> = (0..TEMPLATES).map(|at| format!("template-{at:04}")).collect();
        ensure!(found == expected, "{limit}: {found:?}");
        if limit == 7 {
            http.delete(&format!("{path}/template-0020-late"), &Value::Null)?.is(200)?;
            it.api.gone(&format!("{path}/template-0020-late"), POD_LIMIT)?;
        }
    }
    let whole = http.get(&path)?.is(200)?;
    ensure!(count(&whole) == TEMPLATES && whole["metadata"]["continue"].is_null(), "{}", whole["metadata"]);
    http.get(&format!("{path}?limit=1&continue=nonsense"))?
        .refuses(400, "continue key is not valid")
        .context("a token of nobody")
}
