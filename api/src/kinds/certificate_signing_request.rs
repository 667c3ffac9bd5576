//! `CertificateSigningRequest`: somebody asks a signer for a certificate; somebody else approves; the signer answers in the status.
//!
//! The request itself never changes; `/approval` owns the conditions Approved and Denied, `/status` the certificate and the rest. Who asks
//! is filled in by the API server, which knows it. Source: `pkg/registry/certificates`, `pkg/apis/certificates/validation`.

use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition as Condition, CertificateSigningRequestStatus,
};

use crate::csr;
use crate::duration;
use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Selectable, Strategy, Sub};
use crate::kinds::cells::{self, AGE};
use crate::kinds::checks;
use crate::name::{self, NameRule};
use crate::table::{Cell, Column};

/// The signer of old that takes anything, and that the v1 API no longer offers.
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
/// The shortest validity that may be asked for.
const EXPIRATION_SECONDS_MIN: i32 = 600;
/// Conditions that, once there, are true and stay.
const LASTING: [&str; 3] = ["Approved", "Denied", "Failed"];
/// What a certificate may be asked for, sorted.
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
/// The longest domain and the longest path of a signer's name; the path holds a namespace's and an object's name, and a dot.
const DOMAIN_BYTES_MAX: usize = 253;
const SIGNER_PATH_BYTES_MAX: usize = 253 + 63 + 1;

impl Strategy for CertificateSigningRequest {
    const NAMES: Names = Names {
        plural: "certificatesigningrequests",
        singular: "certificatesigningrequest",
        short: &["csr"],
        categories: &[],
    };
    const SCOPE: Scope = Scope::Cluster;
    const SUBS: &'static [Sub] = &[Sub::Approval, Sub::Status];
    const STATUS_RESETS: &'static [&'static [&'static str]] = &[&["spec"], &["status", "conditions"]];
    const FIELDS: &'static [Selectable] = &[Selectable { path: "spec.signerName", absent: "", from: &[] }];
    const COLUMNS: &'static [Column] = &[
        AGE,
        cells::text("SignerName", |it| cells::cell_or_none(&it["spec"]["signerName"])).doc(".spec.signerName"),
        cells::text("Requestor", |it| cells::cell(&it["spec"]["username"])).doc(".spec.request"),
        cells::text("RequestedDuration", |it| {
            Cell::Text(it["spec"]["expirationSeconds"].as_i64().map_or_else(|| cells::NONE.to_owned(), duration::human))
        })
        .doc(".spec.expirationSeconds"),
        cells::text("Condition", condition).doc(".status.conditions"),
    ];
    const NAME_RULE: NameRule = NameRule::PathSegment;

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        let Some(old) = old else {
            // Nobody makes a request that is approved already.
            self.status = Some(CertificateSigningRequestStatus::default());
            return;
        };
        self.spec.clone_from(&old.spec);
        let before = old.status.clone().unwrap_or_default();
        match part {
            Part::Status => {
                let status = self.status.get_or_insert_with(Default::default);
                keep_approval(status, &before);
                date(status, &before);
            }
            Part::Approval => {
                let conditions = self.status.take().and_then(|it| it.conditions);
                let mut status =
                    CertificateSigningRequestStatus { conditions, certificate: before.certificate.clone() };
                date(&mut status, &before);
                self.status = Some(status);
            }
            _ => self.status.clone_from(&old.status),
        }
    }

    fn validate(&self, part: Part, old: Option<&Self>, errors: &mut Errors) {
        self.check_spec(old, errors);
        check_conditions(self, old, errors);
        let certificate = |it: &Self| it.status.as_ref().and_then(|it| it.certificate.clone()).map(|it| it.0);
        let (new_certificate, old_certificate) = (certificate(self).unwrap_or_default(), old.and_then(certificate));
        let old_certificate = old_certificate.unwrap_or_default();
        let path = "status.certificate";
        let is_new = new_certificate != old_certificate;
        if is_new
            && !new_certificate.is_empty()
            && let Err(why) = csr::check_certificates(&new_certificate)
        {
            errors.invalid(path, "<certificate data>", why);
        }
        if let Some(old) = old {
            check_lasting(self, old, part, errors);
        }
        if is_new && part != Part::Status {
            errors.forbidden(path, "updates may not set certificate content");
        } else if is_new && !old_certificate.is_empty() {
            errors.forbidden(path, "updates may not modify existing certificate content");
        }
    }
}

/// What was decided stays, and only `/approval` decides.
fn check_lasting(new: &CertificateSigningRequest, old: &CertificateSigningRequest, part: Part, errors: &mut Errors) {
    let path = "status.conditions";
    let of = |kind: &'static str| (kind, of_type(new, kind), of_type(old, kind));
    for (kind, now, before) in LASTING.map(of) {
        if now.len() < before.len() {
            errors.forbidden(path, format!("updates may not remove a condition of type {kind:?}"));
        }
    }
    if part == Part::Approval {
        return;
    }
    for (kind, now, before) in ["Approved", "Denied"].map(of) {
        if now.len() > before.len() {
            errors.forbidden(path, format!("updates may not add a condition of type {kind:?}"));
        } else if now.len() == before.len() && now != before {
            errors.forbidden(path, format!("updates may not modify a condition of type {kind:?}"));
        }
    }
}

/// What is checked of the request itself.
trait Checked {
    fn check_spec(&self, old: Option<&Self>, errors: &mut Errors);
}

impl Checked for CertificateSigningRequest {
    fn check_spec(&self, old: Option<&Self>, errors: &mut Errors) {
        let (spec, path) = (&self.spec, Path::new("spec"));
        // The request was verified when it was made and has not changed since; signatures cost.
        if old.is_none_or(|it| it.spec.request != spec.request)
            && let Err(why) = csr::Csr::verified(&spec.request.0)
        {
            errors.invalid(path.child("request"), &spec.request, why);
        }
        let usages = spec.usages.as_deref().unwrap_or_default();
        if usages.is_empty() {
            errors.required(path.child("usages"), "");
        }
        if old.is_none() {
            for (index, usage) in usages.iter().enumerate() {
                checks::none_or_one_of(Some(usage), USAGES, || path.child("usages").index(index), errors);
            }
            for (index, usage) in usages.iter().enumerate() {
                if usages[..index].contains(usage) {
                    errors.duplicate(path.child("usages").index(index), usage);
                }
            }
        }
        let signer = || path.child("signerName");
        if spec.signer_name == LEGACY_SIGNER && old.is_none_or(|it| it.spec.signer_name != LEGACY_SIGNER) {
            let why = "the legacy signerName is not allowed via this API version";
            errors.invalid(signer(), &spec.signer_name, why);
        } else {
            signer_name(&spec.signer_name, signer, errors);
        }
        if let Some(seconds) = spec.expiration_seconds.filter(|it| *it < EXPIRATION_SECONDS_MIN) {
            let why = "may not specify a duration less than 600 seconds (10 minutes)";
            errors.invalid(path.child("expirationSeconds"), seconds, why);
        }
    }
}

/// `text` must name a signer: a domain of at least two labels, a slash, and dotted subdomains.
pub(super) fn signer_name(text: &str, path: impl Fn() -> Path, errors: &mut Errors) {
    if text.is_empty() {
        return errors.required(path(), "");
    }
    let mut segments = text.split('/');
    let (Some(domain), Some(rest), None) = (segments.next(), segments.next(), segments.next()) else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.invalid(path(), text, why);
    };
    if domain.len() > DOMAIN_BYTES_MAX {
        errors.too_long(path(), DOMAIN_BYTES_MAX);
    }
    let mut check = |whole: &str, rule: fn(&str) -> name::Complaints| {
        // The first label that is wrong says enough.
        for label in whole.split('.') {
            let complaints = rule(label);
            if !complaints.is_empty() {
                for complaint in complaints {
                    errors.invalid(path(), whole, format!("validating label {label:?}: {complaint}"));
                }
                break;
            }
        }
    };
    check(domain, name::dns1123_label);
    check(rest, name::dns1123_subdomain);
    if !domain.contains('.') {
        errors.invalid(path(), domain, "should be a domain with at least two segments separated by dots");
    }
    if text.len() > DOMAIN_BYTES_MAX + 1 + SIGNER_PATH_BYTES_MAX {
        errors.too_long(path(), DOMAIN_BYTES_MAX + 1 + SIGNER_PATH_BYTES_MAX);
    }
}

fn check_conditions(it: &CertificateSigningRequest, old: Option<&CertificateSigningRequest>, errors: &mut Errors) {
    let conditions = conditions(it);
    let standing = old.map(self::conditions).unwrap_or_default();
    let has = |type_: &str| standing.iter().any(|it| it.type_ == type_);
    let (mut approved, mut denied) = (false, false);
    // What stands already, from before this was checked, may stay.
    let both_stand = has("Approved") && has("Denied");
    for (index, condition) in conditions.iter().enumerate() {
        let path = Path::from("status.conditions").index(index);
        if condition.type_.is_empty() && !has("") {
            errors.required(path.child("type"), "");
        }
        let allowed: &[&str] =
            if LASTING.contains(&condition.type_.as_str()) { &["True"] } else { &["False", "True", "Unknown"] };
        checks::one_of(Some(&condition.status), allowed, || path.child("status"), errors);
        let excluded = match condition.type_.as_str() {
            "Approved" => {
                approved = true;
                denied
            }
            "Denied" => {
                denied = true;
                approved
            }
            _ => false,
        };
        if excluded && !both_stand {
            let why = "Approved and Denied conditions are mutually exclusive";
            errors.invalid(path.child("type"), &condition.type_, why);
        }
        let twice = |in_: &[Condition], end: usize, type_: &str| in_[..end].iter().any(|it| it.type_ == type_);
        if twice(conditions, index, &condition.type_)
            && !standing.iter().enumerate().any(|(at, it)| twice(standing, at, &it.type_))
        {
            errors.duplicate(path.child("type"), &condition.type_);
        }
    }
}

fn conditions(it: &CertificateSigningRequest) -> &[Condition] {
    it.status.as_ref().and_then(|it| it.conditions.as_deref()).unwrap_or_default()
}

fn of_type<'a>(it: &'a CertificateSigningRequest, type_: &str) -> Vec<&'a Condition> {
    conditions(it).iter().filter(|it| it.type_ == type_).collect()
}

/// The approval as it stands, where as many conditions speak of it as before: `/status` does not own it.
fn keep_approval(status: &mut CertificateSigningRequestStatus, before: &CertificateSigningRequestStatus) {
    let Some(new) = &mut status.conditions else { return };
    let old = before.conditions.as_deref().unwrap_or_default();
    for type_ in ["Approved", "Denied"] {
        let standing: Vec<&Condition> = old.iter().filter(|it| it.type_ == type_).collect();
        let count = new.iter().filter(|it| it.type_ == type_).count();
        if count == standing.len() {
            for (place, kept) in new.iter_mut().filter(|it| it.type_ == type_).zip(standing) {
                place.clone_from(kept);
            }
        }
    }
}

/// Says since when each condition is so: as long as before if nothing changed, else since it was written, which the API server has filled in.
fn date(status: &mut CertificateSigningRequestStatus, before: &CertificateSigningRequestStatus) {
    let old = before.conditions.as_deref().unwrap_or_default();
    for condition in status.conditions.iter_mut().flatten().filter(|it| it.last_transition_time.is_none()) {
        let same = old.iter().find(|it| it.type_ == condition.type_ && it.status == condition.status);
        let since = same.and_then(|it| it.last_transition_time.clone());
        condition.last_transition_time = since.or_else(|| condition.last_update_time.clone());
    }
}

/// `Approved,Issued`: where a request stands.
fn condition(it: &serde_json::Value) -> Cell {
    let has = |type_: &str| cells::list(&it["status"]["conditions"]).iter().any(|it| it["type"] == type_);
    let mut text = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        text.push_str(",Failed");
    }
    if !cells::str_of(&it["status"]["certificate"]).is_empty() {
        text.push_str(",Issued");
    }
    Cell::Text(text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::kind::Part;
    use crate::kinds::tests::{admit, check, minimal};
    use crate::table::Cell;

    const PLURAL: &str = "certificatesigningrequests";

    #[test]
    fn requests_are_checked() {
        check(PLURAL, None, json!({"spec": {"usages": []}}), &["spec.usages: Required value"]);
        check(
            PLURAL,
            None,
            json!({"spec": {"usages": ["client auth", "client auth"], "expirationSeconds": 599}}),
            &[
                "spec.usages[1]: Duplicate value: \"client auth\"",
                "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)",
            ],
        );
        check(
            PLURAL,
            None,
            json!({"spec": {"request": "eA==", "signerName": "example/a"}}),
            &[
                "spec.request: Invalid value: \"eA==\": PEM block type must be CERTIFICATE REQUEST",
                "spec.signerName: Invalid value: \"example\": should be a domain with at least two segments separated by dots",
            ],
        );
        for (signer, why) in [
            ("", "spec.signerName: Required value"),
            (
                "x",
                "spec.signerName: Invalid value: \"x\": must be a fully qualified domain and path of the form 'example.com/signer-name'",
            ),
            (
                "kubernetes.io/legacy-unknown",
                "spec.signerName: Invalid value: \"kubernetes.io/legacy-unknown\": the legacy signerName is not allowed via this API version",
            ),
        ] {
            check(PLURAL, None, json!({"spec": {"signerName": signer}}), &[why]);
        }
    }

    #[test]
    fn approval_and_certificate_have_their_own_doors() {
        let approved = json!({"status": {"conditions": [{"type": "Approved", "status": "True"}]}});
        check(PLURAL, Some(Part::Approval), approved.clone(), &[]);
        check(
            PLURAL,
            Some(Part::Status),
            approved,
            &["status.conditions: Forbidden: updates may not add a condition of type \"Approved\""],
        );
        check(
            PLURAL,
            Some(Part::Approval),
            json!({"status": {"conditions": [
                {"type": "Approved", "status": "False"}, {"type": "Denied", "status": "True"}]}}),
            &[
                "status.conditions[0].status: Unsupported value: \"False\": supported values: \"True\"",
                "status.conditions[1].type: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive",
            ],
        );
        check(
            PLURAL,
            Some(Part::Status),
            json!({"status": {"certificate": "eA=="}}),
            &[
                "status.certificate: Invalid value: \"<certificate data>\": must contain at least one CERTIFICATE PEM block",
            ],
        );
        // Neither the request nor, by the main door, the status changes.
        check(PLURAL, Some(Part::Main), json!({"spec": {"usages": []}, "status": {"certificate": "eA=="}}), &[]);
    }

    #[test]
    fn a_row_says_where_a_request_stands() {
        let kind = crate::kinds::KINDS.iter().find(|it| it.names.plural == PLURAL).unwrap();
        let mut it = admit(kind, minimal(kind));
        let shown = |it: &Value| match (kind.columns[4].cell)(it) {
            Cell::Text(text) => text,
            _ => panic!("a text"),
        };
        assert_eq!(shown(&it), "Pending");
        it["status"] = json!({"conditions": [{"type": "Approved"}, {"type": "Failed"}]});
        assert_eq!(shown(&it), "Approved,Failed");
        it["status"] = json!({"conditions": [{"type": "Approved"}], "certificate": "eA=="});
        assert_eq!(shown(&it), "Approved,Issued");
    }
}
