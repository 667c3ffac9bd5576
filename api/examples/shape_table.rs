//! Writes the table of the built-in kinds' types: `cargo run -p orlop-api --example shape_table > api/src/shape/types.txt`.

use orlop_api::kinds::KINDS;
use orlop_api::shape::table;

fn main() {
    print!("{}", table::written(KINDS));
}
