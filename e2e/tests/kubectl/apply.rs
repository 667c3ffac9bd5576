//! Manifests and patches: what is merged, what is taken away, what is refused.

use anyhow::{Result, ensure};
use orlop_e2e::case::Case;

use super::{ROLL_LIMIT, WEB};

pub fn apply(it: &Case) -> Result<()> {
    it.prints_with("apply -f -", WEB, "deployment.apps/web created")?;
    it.prints_with("apply -f -", WEB, "deployment.apps/web unchanged")?;
    let three = WEB.replace("replicas: 2", "replicas: 3");
    let diff = it.kubectl.output(&it.arguments("diff -f -"), &three)?;
    ensure!(diff.code == 1 && diff.stdout.contains("-  replicas: 2\n+  replicas: 3"), "diff says {diff:?}");
    it.prints_with("apply -f -", &three, "deployment.apps/web configured")?;
    it.prints("get deployment web -o jsonpath={.spec.replicas}", "3")?;
    it.prints(
        &format!("rollout status deployment/web {ROLL_LIMIT}"),
        "...\ndeployment \"web\" successfully rolled out",
    )?;
    it.prints("get deployment web", "NAME READY UP-TO-DATE AVAILABLE AGE\nweb 3/3 3 3 *")?;
    // What the last manifest had and this one has not is taken away; what somebody else set stays.
    it.run("annotate deployment web mine=yes")?;
    let pruned = WEB.replace("labels: {app: web}\nspec", "labels: {tier: front}\nspec");
    it.prints_with("apply -f -", &pruned, "deployment.apps/web configured")?;
    it.prints("get deployment web -o jsonpath={.metadata.labels}", "{\"tier\":\"front\"}")?;
    it.prints("get deployment web -o jsonpath={.metadata.annotations.mine}", "yes")?;
    // A mistake in a field's name is found by the validation that is on by default.
    let wrong = WEB.replace("replicas: 2", "replicsa: 2");
    it.refused("apply -f -", &wrong, "...\n*strict decoding error: unknown field \"spec.replicsa\"")?;
    let two = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: two}\nstringData: {k: v}\n";
    it.prints_with("apply -f -", two, "configmap/one created\nsecret/two created")?;
    it.prints("get secret two -o jsonpath={.data.k}", "dg==")?;
    it.prints_with("delete -f - --wait", two, "configmap \"one\" deleted*\nsecret \"two\" deleted*")
}

pub fn patches(it: &Case) -> Result<()> {
    it.run_with("create -f -", &WEB.replace("replicas: 2", "replicas: 0"))?;
    let get = |path: &str, expected: &str| it.prints(&format!("get deployment web -o jsonpath={path}"), expected);
    it.prints(
        r#"patch deployment web --type=json -p '[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"registry.local/web:2"}]'"#,
        "deployment.apps/web patched",
    )?;
    get("{.spec.template.spec.containers[0].image}", "registry.local/web:2")?;
    it.prints(
        r#"patch deployment web --type=merge -p '{"metadata":{"labels":{"app":null,"by":"merge"}}}'"#,
        "deployment.apps/web patched",
    )?;
    get("{.metadata.labels}", "{\"by\":\"merge\"}")?;
    it.prints(
        r#"patch deployment web -p '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"registry.local/side:1"}]}}}}'"#,
        "deployment.apps/web patched",
    )?;
    get("{.spec.template.spec.containers[*].name}", "side web")?;
    it.prints(
        r#"patch deployment web -p '{"spec":{"template":{"spec":{"containers":[{"name":"side","$patch":"delete"}]}}}}'"#,
        "deployment.apps/web patched",
    )?;
    get("{.spec.template.spec.containers[*].name}", "web")?;
    it.prints(
        r#"patch deployment web -p '{"metadata":{"labels":{"by":"merge"}}}'"#,
        "deployment.apps/web patched (no change)",
    )?;
    it.prints(
        r#"patch deployment web --subresource=scale --type=merge -p '{"spec":{"replicas":0}}'"#,
        "deployment.apps/web patched*",
    )
    .or_else(|_| {
        it.prints(
            r#"patch deployment web --subresource=scale --type=merge -p '{"spec":{"replicas":0}}'"#,
            "scale.autoscaling/web patched*",
        )
    })?;
    it.refused(
        r#"patch deployment web --type=json -p '[{"op":"test","path":"/spec/replicas","value":7}]'"#,
        "",
        "The request is invalid: *",
    )?;
    it.prints("scale deployment web --replicas=1", "deployment.apps/web scaled")?;
    it.refused(
        "scale deployment web --current-replicas=5 --replicas=2",
        "",
        "error: Expected replicas to be 5, was 1",
    )?;
    it.prints(&format!("rollout status deployment/web {ROLL_LIMIT}"), "...\ndeployment \"web\" successfully rolled out")
}

pub fn server_side_apply(it: &Case) -> Result<()> {
    let config =
        |value: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: s}}\ndata: {{k: '{value}'}}\n");
    it.prints_with("apply --server-side -f -", &config("1"), "configmap/s serverside-applied")?;
    it.prints_with("apply --server-side -f -", &config("1"), "configmap/s serverside-applied")?;
    it.refused(
        "apply --server-side --field-manager=other -f -",
        &config("2"),
        "error: Apply failed with 1 conflict: conflict with \"kubectl\": .data.k\n...",
    )?;
    it.prints("get cm s -o jsonpath={.data.k}", "1")?;
    it.prints_with(
        "apply --server-side --field-manager=other --force-conflicts -f -",
        &config("2"),
        "configmap/s serverside-applied",
    )?;
    it.prints("get cm s -o jsonpath={.data.k}", "2")?;
    it.prints("get cm s --show-managed-fields -o jsonpath={.metadata.managedFields[*].manager}", "*other*")?;
    it.prints_with("apply --server-side -f -", WEB, "deployment.apps/web serverside-applied")?;
    it.run(&format!("rollout status deployment/web {ROLL_LIMIT}"))?;
    it.prints_with(
        "apply --server-side -f -",
        &WEB.replace("replicas: 2", "replicas: 1"),
        "deployment.apps/web serverside-applied",
    )?;
    it.prints("get deploy web -o jsonpath={.spec.replicas}", "1")
}
