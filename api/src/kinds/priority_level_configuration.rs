//! `PriorityLevelConfiguration`: what share of the server the requests of a level may have. They are kept and checked; no request is
//! weighed by them here.

use k8s_openapi::api::flowcontrol::v1::{
    ExemptPriorityLevelConfiguration, LimitResponse, LimitedPriorityLevelConfiguration, PriorityLevelConfiguration,
    PriorityLevelConfigurationSpec, PriorityLevelConfigurationStatus, QueuingConfiguration,
};
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Strategy, Sub};
use crate::kinds::cells::{self, AGE, NONE};
use crate::kinds::flow_schema::validate_types;
use crate::table::{Cell, Column};

const EXEMPT: &str = "exempt";
const CATCH_ALL: &str = "catch-all";
const SHARES: i32 = 30;
const QUEUES: i32 = 64;
const HAND_SIZE: i32 = 8;
const QUEUE_LENGTH_LIMIT: i32 = 50;
const QUEUES_LIMIT: i32 = 10_000_000;
/// How much of a hash a hand of queues may be dealt from.
const HASH_BITS: i32 = 60;

impl Strategy for PriorityLevelConfiguration {
    const NAMES: Names = Names {
        plural: "prioritylevelconfigurations",
        singular: "prioritylevelconfiguration",
        short: &[],
        categories: &[],
    };
    const SCOPE: Scope = Scope::Cluster;
    const SUBS: &'static [Sub] = &[Sub::Status];
    const STATUS_RESETS: &'static [&'static [&'static str]] = &[&["metadata"], &["spec"]];
    const COLUMNS: &'static [Column] = &[
        cells::text("Type", |it| cells::cell(&it["spec"]["type"])).doc(".spec.type"),
        cells::text("NominalConcurrencyShares", |it| number(&it["spec"]["limited"]["nominalConcurrencyShares"]))
            .doc(".spec.limited.nominalConcurrencyShares"),
        cells::text("Queues", |it| queuing(it, "queues")).doc(".spec.limited.limitResponse.queuing.queues"),
        cells::text("HandSize", |it| queuing(it, "handSize")).doc(".spec.limited.limitResponse.queuing.handSize"),
        cells::text("QueueLengthLimit", |it| queuing(it, "queueLengthLimit"))
            .doc(".spec.limited.limitResponse.queuing.queueLengthLimit"),
        AGE,
    ];

    fn default(&mut self) {
        let Some(spec) = &mut self.spec else { return };
        if let Some(exempt) = &mut spec.exempt {
            exempt.nominal_concurrency_shares.get_or_insert(0);
            exempt.lendable_percent.get_or_insert(0);
        }
        let Some(limited) = &mut spec.limited else { return };
        limited.nominal_concurrency_shares.get_or_insert(SHARES);
        limited.lendable_percent.get_or_insert(0);
        if let Some(queuing) = limited.limit_response.as_mut().and_then(|it| it.queuing.as_mut()) {
            for (number, default) in [
                (&mut queuing.hand_size, HAND_SIZE),
                (&mut queuing.queues, QUEUES),
                (&mut queuing.queue_length_limit, QUEUE_LENGTH_LIMIT),
            ] {
                *number = number.filter(|it| *it != 0).or(Some(default));
            }
        }
    }

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (_, None) => self.status = Some(PriorityLevelConfigurationStatus::default()),
            (Part::Status, Some(old)) => {
                let managed = self.metadata.managed_fields.take();
                self.metadata.clone_from(&old.metadata);
                self.metadata.managed_fields = managed;
                self.spec.clone_from(&old.spec);
            }
            (_, Some(old)) => self.status.clone_from(&old.status),
        }
    }

    fn generation_rises(&self, old: &Self) -> Option<bool> {
        Some(self.spec != old.spec)
    }

    fn validate(&self, part: Part, _old: Option<&Self>, errors: &mut Errors) {
        if part == Part::Main {
            let nothing = PriorityLevelConfigurationSpec::default();
            let name = self.metadata.name.as_deref().unwrap_or_default();
            validate_spec(name, self.spec.as_ref().unwrap_or(&nothing), &Path::new("spec"), errors);
        }
        let conditions = self.status.as_ref().and_then(|it| it.conditions.as_deref()).unwrap_or_default();
        let types: Vec<Option<&str>> = conditions.iter().map(|it| it.type_.as_deref()).collect();
        validate_types(&types, errors);
    }
}

/// What the level must say that every server has besides the exempt one.
fn catch_all() -> PriorityLevelConfigurationSpec {
    let limited = LimitedPriorityLevelConfiguration {
        nominal_concurrency_shares: Some(5),
        lendable_percent: Some(0),
        borrowing_limit_percent: None,
        limit_response: Some(LimitResponse { type_: "Reject".into(), queuing: None }),
    };
    PriorityLevelConfigurationSpec { type_: "Limited".into(), limited: Some(limited), exempt: None }
}

fn validate_spec(name: &str, spec: &PriorityLevelConfigurationSpec, path: &Path, errors: &mut Errors) {
    let type_path = || path.child("type");
    if (name == EXEMPT) != (spec.type_ == "Exempt") {
        errors.invalid(type_path(), &spec.type_, "type must be 'Exempt' if and only if name is 'exempt'");
    }
    match (spec.type_.as_str(), &spec.exempt, &spec.limited) {
        ("Exempt", exempt, limited) => {
            if limited.is_some() {
                errors.forbidden(path.child("limited"), "must be nil if the type is not Limited");
            }
            match exempt {
                Some(exempt) => validate_exempt(exempt, &path.child("exempt"), errors),
                None => errors.required(path.child("exempt"), "must not be empty when type is Exempt"),
            }
        }
        ("Limited", exempt, limited) => {
            if exempt.is_some() {
                errors.forbidden(path.child("exempt"), "must be nil if the type is Limited");
            }
            match limited {
                Some(limited) => validate_limited(limited, &path.child("limited"), errors),
                None => errors.required(path.child("limited"), "must not be empty when type is Limited"),
            }
        }
        (other, _, _) => errors.not_supported(type_path(), other, &["Exempt", "Limited"]),
    }
    match name {
        // What the exempt level lends may be changed, and nothing else.
        EXEMPT if spec.type_ != "Exempt" || spec.limited.is_some() => {
            let why = format!("spec of '{name}' except the 'spec.exempt' field must equal the fixed value");
            errors.invalid(path.clone(), spec, why);
        }
        CATCH_ALL if *spec != catch_all() => {
            errors.invalid(path.clone(), spec, format!("spec of '{name}' must equal the fixed value"));
        }
        _ => {}
    }
}

fn validate_exempt(it: &ExemptPriorityLevelConfiguration, path: &Path, errors: &mut Errors) {
    validate_shares(it.nominal_concurrency_shares, path, errors);
    validate_lendable(it.lendable_percent, path, errors);
}

fn validate_shares(shares: Option<i32>, path: &Path, errors: &mut Errors) {
    if let Some(shares) = shares.filter(|it| *it < 0) {
        errors.invalid(path.child("nominalConcurrencyShares"), shares, "must be a non-negative integer");
    }
}

fn validate_lendable(lendable: Option<i32>, path: &Path, errors: &mut Errors) {
    if let Some(percent) = lendable.filter(|it| !(0..=100).contains(it)) {
        errors.invalid(path.child("lendablePercent"), percent, "must be between 0 and 100, inclusive");
    }
}

fn validate_limited(it: &LimitedPriorityLevelConfiguration, path: &Path, errors: &mut Errors) {
    validate_shares(it.nominal_concurrency_shares, path, errors);
    let nothing = LimitResponse::default();
    validate_response(it.limit_response.as_ref().unwrap_or(&nothing), &path.child("limitResponse"), errors);
    validate_lendable(it.lendable_percent, path, errors);
    if let Some(percent) = it.borrowing_limit_percent.filter(|it| *it < 0) {
        let why = "if specified, must be a non-negative integer";
        errors.invalid(path.child("borrowingLimitPercent"), percent, why);
    }
}

fn validate_response(response: &LimitResponse, path: &Path, errors: &mut Errors) {
    match (response.type_.as_str(), &response.queuing) {
        ("Reject", Some(_)) => {
            errors.forbidden(path.child("queuing"), "must be nil if limited.limitResponse.type is not Limited");
        }
        ("Reject", None) => {}
        ("Queue", None) => {
            errors.required(path.child("queuing"), "must not be empty if limited.limitResponse.type is Limited");
        }
        ("Queue", Some(queuing)) => validate_queuing(queuing, &path.child("queuing"), errors),
        (other, _) => errors.not_supported(path.child("type"), other, &["Queue", "Reject"]),
    }
}

fn validate_queuing(it: &QueuingConfiguration, path: &Path, errors: &mut Errors) {
    const POSITIVE: &str = "must be positive";
    let of = |number: Option<i32>| number.unwrap_or(0);
    let (length, queues, hand) = (of(it.queue_length_limit), of(it.queues), of(it.hand_size));
    if length <= 0 {
        errors.invalid(path.child("queueLengthLimit"), length, POSITIVE);
    }
    if queues <= 0 {
        errors.invalid(path.child("queues"), queues, POSITIVE);
    } else if queues > QUEUES_LIMIT {
        errors.invalid(path.child("queues"), queues, format!("must not be greater than {QUEUES_LIMIT}"));
    }
    let bits = entropy_bits(queues, hand);
    let why = match () {
        () if hand <= 0 => POSITIVE.to_owned(),
        () if hand > queues => format!("should not be greater than queues ({queues})"),
        () if bits > HASH_BITS => format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
        ),
        () => return,
    };
    errors.invalid(path.child("handSize"), hand, why);
}

/// How many bits it takes to deal a hand out of a deck.
fn entropy_bits(deck: i32, hand: i32) -> i32 {
    (f64::from(deck.max(1)).log2() * f64::from(hand)).ceil() as i32
}

fn number(value: &Value) -> Cell {
    value.as_i64().map_or_else(|| Cell::Text(NONE.to_owned()), Cell::Number)
}

fn queuing(it: &Value, field: &str) -> Cell {
    number(&it["spec"]["limited"]["limitResponse"]["queuing"][field])
}
