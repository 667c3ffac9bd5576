//! `Secret`: what only some may read. Clients may write texts as `stringData`; they are kept, encoded, as `data`.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use crate::kind::{Names, Selectable, Strategy};
use crate::kinds::cells::{self, AGE};
use crate::table::{Cell, Column};

impl Strategy for Secret {
    const NAMES: Names = Names { plural: "secrets", singular: "secret", short: &[], categories: &[] };
    const FIELDS: &'static [Selectable] = &[Selectable { path: "type", absent: "" }];
    const COLUMNS: &'static [Column] = &[
        cells::text("Type", |it| cells::cell(&it["type"])),
        cells::text("Data", |it| Cell::Number(cells::count(&it["data"]))),
        AGE,
    ];

    fn default(&mut self) {
        if self.type_.as_deref().unwrap_or_default().is_empty() {
            self.type_ = Some("Opaque".into());
        }
        for (key, text) in self.string_data.take().unwrap_or_default() {
            self.data.get_or_insert_with(Default::default).insert(key, ByteString(text.into_bytes()));
        }
    }
}
