//! `PodTemplate`: a template for others to refer to. Nothing makes pods of it by itself.

use k8s_openapi::api::core::v1::PodTemplate;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Strategy};
use crate::kinds::cells;
use crate::kinds::pod_spec::{defaults, validation, warnings};
use crate::table::{Cell, Column};

impl Strategy for PodTemplate {
    const NAMES: Names = Names { plural: "podtemplates", singular: "podtemplate", short: &[], categories: &[] };
    const RETURNS_DELETED: bool = true;
    const COLUMNS: &'static [Column] = &[
        cells::text("Containers", |it| Cell::Text(cells::joined(&it["template"]["spec"]["containers"], "name")))
            .doc("Names of each container in the template."),
        cells::text("Images", |it| Cell::Text(cells::joined(&it["template"]["spec"]["containers"], "image")))
            .doc("Images referenced by each container in the template."),
        cells::text("Pod Labels", |it| Cell::Text(cells::labels(&it["template"]["metadata"]["labels"])))
            .doc("The labels for the pod template."),
    ];

    fn default(&mut self) {
        let template = self.template.get_or_insert_with(Default::default);
        defaults::default_spec(template.spec.get_or_insert_with(Default::default));
    }

    fn generation_rises(&self, old: &Self) -> Option<bool> {
        Some(self.template != old.template)
    }

    fn validate(&self, _part: Part, _old: Option<&Self>, errors: &mut Errors) {
        if let Some(template) = &self.template {
            validation::validate_template(template, &Path::new("template"), errors);
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let changed = old.is_none_or(|it| it.metadata.generation != self.metadata.generation);
        let template = self.template.as_ref().filter(|_| changed);
        template.map(|it| warnings::of_template(it, &Path::new("template"))).unwrap_or_default()
    }
}
