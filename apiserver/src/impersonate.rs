//! Impersonation: who may act as somebody else, and as whom (`kubectl --as`, `--as-group`, `--as-uid`).
//!
//! In: the headers of a request and who sent it. Out: the identity to act as, when one is asked for and every part of it may be taken on. It
//! comes between authentication and authorization, so that nothing behind it knows the difference. Source:
//! `k8s.io/apiserver/pkg/endpoints/filters/impersonation`.

use std::collections::BTreeMap;

use http::HeaderMap;
use orlop_api::status::{self, Reason, Status};

use crate::stage::{Attributes, Authorizer, Decision, Identity, refusal};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

const ANONYMOUS: &str = "system:anonymous";
const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// Whom the headers ask to act as; none when they do not ask.
///
/// # Errors
/// `Forbidden` when the sender may not, `BadRequest` for headers that are no text, `InternalError` (as Kubernetes) for groups without a user.
pub fn asked(headers: &HeaderMap, sender: &Identity, by: &dyn Authorizer) -> status::Result<Option<Identity>> {
    let Some(wanted) = read(headers)? else { return Ok(None) };
    let account = account_of(&wanted.user);
    match account {
        Some((namespace, name)) => {
            may(sender, by, &Part { resource: "serviceaccounts", namespace, name, ..Part::USER })?
        }
        None => may(sender, by, &Part { name: &wanted.user, ..Part::USER })?,
    }
    for group in &wanted.groups {
        may(sender, by, &Part { resource: "groups", name: group, ..Part::USER })?;
    }
    let more = Part { group: "authentication.k8s.io", ..Part::USER };
    if !wanted.uid.is_empty() {
        may(sender, by, &Part { resource: "uids", name: &wanted.uid, ..more })?;
    }
    for (key, values) in &wanted.extra {
        for value in values {
            may(sender, by, &Part { resource: "userextras", subresource: key, name: value, ..more })?;
        }
    }
    Ok(Some(complete(wanted)))
}

/// What has to be allowed, as authorizers see it.
#[derive(Clone, Copy)]
struct Part<'a> {
    group: &'a str,
    resource: &'a str,
    subresource: &'a str,
    namespace: &'a str,
    name: &'a str,
}

impl Part<'static> {
    const USER: Self = Part { group: "", resource: "users", subresource: "", namespace: "", name: "" };
}

fn may(sender: &Identity, by: &dyn Authorizer, part: &Part<'_>) -> status::Result<()> {
    let attributes = Attributes {
        identity: sender,
        verb: "impersonate",
        resource_request: true,
        group: part.group,
        version: "v1",
        resource: part.resource,
        subresource: part.subresource,
        namespace: part.namespace,
        name: part.name,
        path: "",
        field_selector: "",
        label_selector: "",
    };
    match by.authorize(&attributes) {
        Decision::Allow => Ok(()),
        Decision::Deny(why) | Decision::NoOpinion(why) => Err(refusal(&attributes, &why)),
    }
}

fn read(headers: &HeaderMap) -> status::Result<Option<Identity>> {
    let all = |name: &str| -> status::Result<Vec<String>> {
        let texts = headers.get_all(name).iter().map(|it| it.to_str().map(str::to_owned));
        texts.collect::<Result<_, _>>().map_err(|_| Status::bad_request(format!("the header {name} is no text")))
    };
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in headers.keys() {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            // Keys are percent-encoded, since a header's name may not hold a slash.
            let key =
                form_urlencoded::parse(key.replace('+', "%2B").as_bytes()).next().map(|(key, _)| key.into_owned());
            extra.insert(key.unwrap_or_default(), all(name.as_str())?);
        }
    }
    let user = all(USER)?.into_iter().next().unwrap_or_default();
    let uid = all(UID)?.into_iter().next().unwrap_or_default();
    let wanted = Identity { user, uid, groups: all(GROUP)?, extra };
    if !wanted.user.is_empty() {
        return Ok(Some(wanted));
    }
    if wanted == Identity::default() {
        return Ok(None);
    }
    Err(Status::new(
        Reason::InternalError,
        "Internal error occurred: requested impersonation without impersonating a user",
    ))
}

/// The namespace and the name of the service account that a user name stands for.
fn account_of(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:")?.split_once(':').filter(|(_, name)| !name.contains(':'))
}

/// Adds the groups that everybody of this kind is in.
fn complete(mut wanted: Identity) -> Identity {
    if wanted.groups.is_empty()
        && let Some((namespace, _)) = account_of(&wanted.user)
    {
        wanted.groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    }
    let missing = match wanted.user.as_str() {
        ANONYMOUS if !wanted.is_in(UNAUTHENTICATED) => Some(UNAUTHENTICATED),
        ANONYMOUS => None,
        _ if wanted.is_in(AUTHENTICATED) || wanted.is_in(UNAUTHENTICATED) => None,
        _ => Some(AUTHENTICATED),
    };
    wanted.groups.extend(missing.map(str::to_owned));
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets users be impersonated, and nothing else.
    struct Users;

    impl Authorizer for Users {
        fn authorize(&self, it: &Attributes<'_>) -> Decision {
            let allowed = it.verb == "impersonate" && matches!(it.resource, "users" | "serviceaccounts");
            if allowed { Decision::Allow } else { Decision::NoOpinion(String::new()) }
        }
    }

    fn check(lines: &[(&'static str, &str)], expected: Result<Option<(&str, &[&str])>, &str>) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let found = asked(&headers, &Identity::new("ann", &[]), &Users);
        let found = found.map_err(|it| it.message).map(|it| it.map(|it| (it.user, it.groups)));
        let expected = expected.map_err(str::to_owned).map(|it| {
            it.map(|(user, groups)| (user.to_owned(), groups.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()))
        });
        assert_eq!(found, expected, "{lines:?}");
    }

    #[test]
    fn every_part_of_an_identity_has_to_be_allowed() {
        check(&[], Ok(None));
        check(&[(USER, "bob")], Ok(Some(("bob", &[AUTHENTICATED]))));
        check(&[(USER, ANONYMOUS)], Ok(Some((ANONYMOUS, &[UNAUTHENTICATED]))));
        check(
            &[(USER, "system:serviceaccount:d:bot")],
            Ok(Some((
                "system:serviceaccount:d:bot",
                &["system:serviceaccounts", "system:serviceaccounts:d", AUTHENTICATED],
            ))),
        );
        check(
            &[(USER, "bob"), (GROUP, "system:masters")],
            Err(
                "groups \"system:masters\" is forbidden: User \"ann\" cannot impersonate resource \"groups\" in API group \"\" at the cluster scope",
            ),
        );
        check(
            &[(GROUP, "system:masters")],
            Err("Internal error occurred: requested impersonation without impersonating a user"),
        );
        check(
            &[(USER, "bob"), ("impersonate-extra-a%2fb", "c")],
            Err(
                "userextras.authentication.k8s.io \"c\" is forbidden: User \"ann\" cannot impersonate resource \"userextras/a/b\" in API group \"authentication.k8s.io\" at the cluster scope",
            ),
        );
    }
}
