//! Which options of lists and watches go together.
//!
//! In: the [`Options`] of a request. Out: the errors that Kubernetes tells of the same options, in its order. Source:
//! `k8s.io/apimachinery/pkg/apis/meta/internalversion/validation` and the defaults before it (`SetListOptionsDefaults`).

use orlop_api::field::Errors;
use orlop_api::status::{self, Status};

use super::options::Options;

const NOT_OLDER_THAN: &str = "NotOlderThan";
const EXACT: &str = "Exact";

/// Gives the options of a watch that names neither of the two what they mean: a watch from no or any version begins with the state.
pub fn set_defaults(options: &mut Options) {
    let from_any = matches!(options.resource_version.as_str(), "" | "0");
    if options.watch && from_any && options.version_match.is_empty() && options.send_initial_events.is_none() {
        options.send_initial_events = Some(true);
        options.version_match = NOT_OLDER_THAN.to_owned();
    }
}

/// Refuses options that contradict each other.
///
/// # Errors
/// `Invalid`.
pub fn check(options: &Options) -> status::Result<()> {
    let mut errors = Errors::default();
    if options.watch {
        check_watch(options, &mut errors)
    } else {
        check_list(options, &mut errors)
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors)) }
}

fn check_list(options: &Options, errors: &mut Errors) {
    let given = options.version_match.as_str();
    let forbid = |errors: &mut Errors, text: &str| errors.forbidden("resourceVersionMatch", text);
    if !given.is_empty() {
        if options.resource_version.is_empty() {
            forbid(errors, "resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if !options.continued.is_empty() {
            forbid(errors, "resourceVersionMatch is forbidden when continue is provided");
        }
        if given != EXACT && given != NOT_OLDER_THAN {
            errors.not_supported("resourceVersionMatch", given, &[EXACT, NOT_OLDER_THAN, ""]);
        } else if given == EXACT && options.resource_version == "0" {
            forbid(errors, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
    }
    if options.send_initial_events.is_some() {
        errors.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list");
    }
}

fn check_watch(options: &Options, errors: &mut Errors) {
    let given = options.version_match.as_str();
    let forbid = |errors: &mut Errors, text: &str| errors.forbidden("resourceVersionMatch", text);
    if options.send_initial_events.is_some() && given != NOT_OLDER_THAN {
        forbid(errors, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
    if given.is_empty() {
        return;
    }
    if options.send_initial_events.is_none() {
        forbid(errors, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
    }
    if given != NOT_OLDER_THAN {
        errors.not_supported("resourceVersionMatch", given, &[NOT_OLDER_THAN]);
    }
    if !options.continued.is_empty() {
        forbid(errors, "resourceVersionMatch is forbidden when continue is provided");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_of(query: &str, expected: Option<&str>) {
        let mut options = Options::parse(query);
        set_defaults(&mut options);
        let got = check(&options).err().map(|it| it.message);
        let expected = expected.map(|it| format!("ListOptions.meta.k8s.io \"\" is invalid: {it}"));
        assert_eq!(got, expected, "{query}");
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        for fine in [
            "",
            "resourceVersion=5",
            "resourceVersion=5&resourceVersionMatch=Exact",
            "resourceVersion=0&resourceVersionMatch=NotOlderThan",
            "watch=1",
            "watch=1&resourceVersion=5",
            "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
            "watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=5",
            "watch=1&continue=x&resourceVersion=5",
        ] {
            check_of(fine, None);
        }
        let of = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden";
        check_of("resourceVersionMatch=Exact", Some(&format!("{of} unless resourceVersion is provided")));
        check_of(
            "resourceVersionMatch=Exact&resourceVersion=0",
            Some(
                "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ),
        );
        check_of(
            "resourceVersionMatch=Roughly&resourceVersion=1",
            Some(
                "resourceVersionMatch: Unsupported value: \"Roughly\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
            ),
        );
        check_of(
            "resourceVersionMatch=Exact&continue=x&resourceVersion=1",
            Some(&format!("{of} when continue is provided")),
        );
        check_of(
            "sendInitialEvents=false",
            Some("sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
        );
        check_of(
            "watch=1&resourceVersion=5&resourceVersionMatch=NotOlderThan",
            Some(&format!("{of} for watch unless sendInitialEvents is provided")),
        );
        check_of(
            "watch=1&sendInitialEvents=true",
            Some(
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ),
        );
        check_of(
            "watch=1&sendInitialEvents=true&resourceVersionMatch=Exact",
            Some(
                "[resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, resourceVersionMatch: Unsupported value: \"Exact\": supported values: \"NotOlderThan\"]",
            ),
        );
    }
}
