//! Whether a toleration covers a taint (`k8s.io/component-helpers/scheduling/corev1`).

use k8s_openapi::api::core::v1::{Taint, Toleration};

/// Whether one of `tolerations` covers `taint`.
pub fn tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|it| covers(it, taint))
}

fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    let key = toleration.key.as_deref().unwrap_or_default();
    if !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("Equal") {
        // An empty key with Exists covers everything.
        "Exists" => true,
        "Equal" | "" => {
            !key.is_empty()
                && toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(toleration: &str, expected: bool) {
        let taint = Taint { key: "k".into(), value: Some("v".into()), effect: "NoSchedule".into(), time_added: None };
        assert_eq!(tolerated(&taint, &[serde_json::from_str(toleration).unwrap()]), expected, "{toleration}");
    }

    #[test]
    fn follows_operator_key_value_and_effect() {
        check(r#"{"operator":"Exists"}"#, true);
        check(r#"{"key":"k","operator":"Exists"}"#, true);
        check(r#"{"key":"k","value":"v"}"#, true);
        check(r#"{"key":"k","value":"w"}"#, false);
        check(r#"{"key":"other","operator":"Exists"}"#, false);
        check(r#"{"key":"k","operator":"Exists","effect":"NoExecute"}"#, false);
    }
}
