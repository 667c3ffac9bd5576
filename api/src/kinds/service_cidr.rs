//! `ServiceCIDR`: a range out of which services get their addresses.

use k8s_openapi::api::networking::v1::ServiceCIDR;
use serde_json::json;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Strategy, Sub};
use crate::kinds::addresses;
use crate::kinds::cells::{self, AGE, list, str_of};
use crate::table::{Cell, Column};

const IMMUTABLE: &str = "field is immutable";

impl Strategy for ServiceCIDR {
    const NAMES: Names = Names { plural: "servicecidrs", singular: "servicecidr", short: &[], categories: &[] };
    const SCOPE: Scope = Scope::Cluster;
    const SUBS: &'static [Sub] = &[Sub::Status];
    const COLUMNS: &'static [Column] = &[
        cells::text("CIDRs", |it| {
            let ranges: Vec<&str> = list(&it["spec"]["cidrs"]).iter().map(str_of).collect();
            Cell::Text(ranges.join(","))
        })
        .doc(".spec.cidrs"),
        AGE,
    ];

    // A status may be given with the object: Kubernetes takes it, too.
    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        if let (Part::Status, Some(old)) = (part, old) {
            self.spec.clone_from(&old.spec);
        }
    }

    fn validate(&self, part: Part, old: Option<&Self>, errors: &mut Errors) {
        if part == Part::Status {
            return;
        }
        let path = Path::new("spec").child("cidrs");
        let given = |it: &Self| it.spec.as_ref().and_then(|it| it.cidrs.clone());
        let new = given(self).unwrap_or_default();
        validate_spec(&new, &path, errors);
        let Some(before) = old.map(|it| given(it).unwrap_or_default()) else { return };
        match (before.as_slice(), new.as_slice()) {
            (before, new) if before.len() == new.len() => {
                for (at, _) in before.iter().zip(new).enumerate().filter(|(_, (before, new))| before != new) {
                    errors.invalid(path.index(at), &new[at], IMMUTABLE);
                }
            }
            // A second family may join the first.
            ([before], [kept, _]) if kept != before => errors.invalid(path.index(0), kept, IMMUTABLE),
            ([_], [_, _]) => {}
            _ => errors.invalid(path, given(self), IMMUTABLE),
        }
    }
}

fn validate_spec(ranges: &[String], path: &Path, errors: &mut Errors) {
    if ranges.is_empty() {
        return errors.required(path.clone(), "at least one CIDR required");
    }
    if ranges.len() > 2 {
        // Kubernetes shows the specification, in its internal form.
        return errors.invalid(path.clone(), json!({ "CIDRs": ranges }), "may only hold up to 2 values");
    }
    for (at, range) in ranges.iter().enumerate() {
        addresses::strict_range(range, || path.index(at), errors);
    }
    let families: Vec<bool> =
        ranges.iter().filter_map(|it| it.parse::<ipnet::IpNet>().ok()).map(|it| it.addr().is_ipv6()).collect();
    if families.len() == 2 && families[0] == families[1] {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.invalid(path.clone(), ranges, why);
    }
}
